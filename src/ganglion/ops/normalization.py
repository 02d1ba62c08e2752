"""Batch and layer normalisation."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.attr import get_float, get_int
from ganglion.ops.base import Array, Attrs, Axes, Kernel, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import optional, rank, source, unbroadcast
from ganglion.ops.values import attributes, static_shape


def _along_channels(x: Array, like: Array) -> Array:
    """[C] shaped to broadcast over [N, C, *spatial]."""
    return x.reshape(-1, *[1] * (like.ndim - 2))


def batch_normalization(attrs: Attrs, x: Array, scale: Array, bias: Array, mean: Array, var: Array
                        ) -> tuple[Array, ...]:
    """x: [N, C, *spatial], the rest [C]. With training_mode the batch's own statistics are used
    (the variance is the mean of squares, not the unbiased one) and three outputs given:
    y, mean·momentum + batch mean·(1 - momentum), and the same of the variance."""
    training = get_int(attrs, "training_mode", 0)
    momentum, epsilon = get_float(attrs, "momentum", 0.9), get_float(attrs, "epsilon", 1e-5)
    running: tuple[Array, ...] = ()
    if training:
        axes = (0, *range(2, x.ndim))
        batch_mean = x.mean(axis=axes)
        batch_var = x.var(axis=axes)
        running = ((mean * momentum + batch_mean * (1 - momentum)).astype(mean.dtype),
                   (var * momentum + batch_var * (1 - momentum)).astype(var.dtype))
        mean, var = batch_mean, batch_var
    factor = scale / np.sqrt(var + epsilon)
    y = (x - _along_channels(mean, x)) * _along_channels(factor, x) + _along_channels(bias, x)
    return (y.astype(x.dtype), *running)


def _batch_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
               ) -> list[ir.Value | None]:
    """The running statistics take no gradient in training mode."""
    x, scale, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None] * 5
    attrs = attributes(node)
    epsilon = get_float(attrs, "epsilon", 1e-5)
    axes = [0, *range(2, rank(x))]
    tail = g.ints(*range(1, rank(x) - 1))

    def wide(value: ir.Value) -> ir.Value:
        return g.op("Unsqueeze", value, tail) if rank(x) > 2 else value

    training = get_int(attrs, "training_mode", 0)
    if training:
        centred = g.sub(x, g.op("ReduceMean", x, g.ints(*axes), keepdims=1))
        var = g.op("ReduceMean", g.mul(centred, centred), g.ints(*axes), keepdims=1)
        inverse = g.div(1, g.op("Sqrt", g.add(var, epsilon)))
    else:
        centred = g.sub(x, wide(source(node, 3)))
        inverse = g.div(1, g.op("Sqrt", g.add(wide(source(node, 4)), epsilon)))
    unit = g.mul(centred, inverse)
    dbias = g.total(dy, axes)
    dscale = g.total(g.mul(dy, unit), axes)
    factor = g.mul(inverse, wide(scale))

    def narrow(value: ir.Value) -> ir.Value:
        return g.op("Reshape", value, g.ints(-1))

    if training:
        count = prod(static_shape(x)[k] for k in axes)
        mean_part = g.add(g.mul(unit, g.mul(dscale, 1 / count)), g.mul(dbias, 1 / count))
        return [g.mul(factor, g.sub(dy, mean_part)), narrow(dscale), narrow(dbias), None, None]
    dmean = g.op("Neg", g.mul(dbias, factor))
    dvar = g.mul(g.mul(dscale, factor), g.mul(inverse, -0.5))
    return [g.mul(dy, factor), narrow(dscale), narrow(dbias), narrow(dmean), narrow(dvar)]


def first_axis(attrs: Attrs, rank: int) -> int:
    """Where the axes begin that LayerNormalization takes together."""
    axis = get_int(attrs, "axis", -1)
    if not -rank <= axis < rank:
        raise ModelError(f"LayerNormalization with axis {axis} of an input with {rank} axes")
    return axis % rank


def layer_normalization(attrs: Attrs, x: Array, scale: Array, bias: Array | None = None
                        ) -> tuple[Array, ...]:
    """y, mean and 1 / sqrt(variance + epsilon), the last two with the axes from `axis` on as 1."""
    axes = tuple(range(first_axis(attrs, x.ndim), x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    var = np.square(centred).mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(var + get_float(attrs, "epsilon", 1e-5))
    y = centred * inverse * scale
    return ((y if bias is None else y + bias).astype(x.dtype), mean, inverse.astype(x.dtype))


def _layer_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
               ) -> list[ir.Value | None]:
    """Uses the outputs Mean and InvStdDev, which the node is given if it lacks them."""
    x, scale, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    _, mean, inverse = g.add_outputs(node, 3)
    axes = g.ints(*range(get_int(attributes(node), "axis", -1) % rank(x), rank(x)))
    unit = g.mul(g.sub(x, mean), inverse)
    scaled = g.mul(dy, scale)
    level = g.op("ReduceMean", scaled, axes, keepdims=1)
    slope = g.op("ReduceMean", g.mul(scaled, unit), axes, keepdims=1)
    dx = g.mul(inverse, g.sub(g.sub(scaled, level), g.mul(unit, slope)))
    found: list[ir.Value | None] = [dx, unbroadcast(g, g.mul(dy, unit), scale)]
    if len(node.inputs) > 2:
        bias = optional(node, 2)
        found.append(None if bias is None else unbroadcast(g, dy, bias))
    return found


ROWS = (
    Op("BatchNormalization", source="ONNX BatchNormalization-15", axes=Axes.CHANNELS,
       statistics=(3, 4),
       reads=("epsilon", "momentum", "training_mode"),
       lower=Kernel("batch_norm"), added=(2,), learned=(1, 2),
       vjp=_batch_vjp, reference=batch_normalization),
    Op("LayerNormalization", source="ONNX LayerNormalization-17", axes=Axes.INNER,
       reads=("axis", "epsilon"),
       lower=Kernel("layer_norm"), added=(2,), learned=(1, 2),
       vjp=_layer_vjp, reference=layer_normalization),
)
