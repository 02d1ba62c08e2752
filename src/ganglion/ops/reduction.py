"""Reductions along axes."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_int, get_ints
from ganglion.ops.base import Array, Attrs, Kernel, Op, Reference, Vjp
from ganglion.ops.building import Builder
from ganglion.ops.gradients import (
    constant_ints,
    optional,
    rank,
    scatter_elements,
    source,
    stops,
    target,
)
from ganglion.ops.values import attributes, static_shape

Slope = Callable[[Builder, ir.Value, ir.Value, ir.Value, list[int]], ir.Value]
"""`slope(g, x, y, dy, axes) -> dx`; y and dy have the reduced axes as 1."""


def reduced_axes(node: ir.Node) -> list[int]:
    """The axes that the node reduces, from 0 up; constant ones only (ModelError otherwise)."""
    count = rank(source(node, 0))
    attrs = attributes(node)
    if node.op_type in ("ArgMax", "ArgMin"):
        return [get_int(attrs, "axis", 0) % count]
    if optional(node, 1) is None:
        axes = get_ints(attrs, "axes", [])
    else:
        axes = constant_ints(node, 1)
    if not axes and get_int(attrs, "noop_with_empty_axes", 0):
        return []
    return sorted(a % count for a in axes) if axes else list(range(count))


def _reference(compute: Callable[..., Array]) -> Reference:
    """A reduction from `compute(x, axis=, keepdims=)`; over no axis with noop_with_empty_axes
    (squares and the like are still taken)."""
    def reference(attrs: Attrs, x: Array, axes: Array | None = None) -> tuple[Array, ...]:
        chosen = None if axes is None or axes.size == 0 else tuple(int(a) for a in axes)
        if chosen is None and get_int(attrs, "noop_with_empty_axes", 0):
            chosen = ()
        keep = bool(get_int(attrs, "keepdims", 1))
        return (np.asarray(compute(x, axis=chosen, keepdims=keep), dtype=x.dtype),)
    return reference


def _vjp(slope: Slope) -> Vjp:
    def vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        x, y, dy = source(node, 0), node.outputs[0], dys[0]
        rest: list[ir.Value | None] = [None] * (len(node.inputs) - 1)
        axes = reduced_axes(node)
        if dy is None:
            return [None, *rest]
        if rank(y) != rank(x):
            dy, y = (g.op("Unsqueeze", v, g.ints(*axes)) for v in (dy, y))
        return [slope(g, x, y, dy, axes), *rest]
    return vjp


def _mean_slope(g: Builder, x: ir.Value, y: ir.Value, dy: ir.Value, axes: list[int]
                ) -> ir.Value:
    count = prod(static_shape(x)[a] for a in axes)
    return g.op("Expand", g.mul(dy, 1 / count), target(g, x))


def _extreme_slope(g: Builder, x: ir.Value, y: ir.Value, dy: ir.Value, axes: list[int]
                   ) -> ir.Value:
    """Elements that share the extreme share the gradient."""
    if not axes:
        return dy
    wins = g.where(g.op("Equal", x, y), g.scalar(1, x), g.scalar(0, x))
    count = g.op("Max", g.total(wins, axes), g.scalar(1, x))
    return g.mul(wins, g.div(dy, count))


ARG_SOURCE = "ONNX {}-13 (the first index wins)"


def _arg(compute: Callable[..., Array]) -> Reference:
    def reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
        axis = get_int(attrs, "axis", 0)
        if get_int(attrs, "select_last_index", 0):
            found = x.shape[axis] - 1 - compute(np.flip(x, axis), axis=axis)
        else:
            found = compute(x, axis=axis)
        if get_int(attrs, "keepdims", 1):
            found = np.expand_dims(found, axis)
        return (np.asarray(found, np.int64),)
    return reference


Axes = tuple[int, ...] | None


def _sum(x: Array, axis: Axes, keepdims: bool) -> Array:
    """Integers add up modulo their own width."""
    return np.asarray(x.sum(axis=axis, keepdims=keepdims, dtype=x.dtype))


def _prod(x: Array, axis: Axes, keepdims: bool) -> Array:
    return np.asarray(x.prod(axis=axis, keepdims=keepdims, dtype=x.dtype))


def _mean(x: Array, axis: Axes, keepdims: bool) -> Array:
    """Of integers the sum, modulo their width, divided towards zero; of no floats NaN."""
    total = _sum(x, axis, keepdims)
    count = prod(x.shape[a] for a in (range(x.ndim) if axis is None else axis))
    if x.dtype.kind not in "iu":
        return np.asarray(total / np.asarray(count, x.dtype))
    if count == 0:
        raise ModelError(f"the mean of no integers, of shape {list(x.shape)}, is no integer")
    wide = total.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
    parts = wide.dtype.type(count)
    return np.asarray((wide - np.fmod(wide, parts)) // parts)


def _extreme(compute: Callable[..., Array], largest: bool) -> Callable[..., Array]:
    def reduced(x: Array, axis: Axes, keepdims: bool) -> Array:
        return np.asarray(compute(x, axis=axis, keepdims=keepdims,
                                  initial=identity("max" if largest else "min", x.dtype)))
    return reduced


def _l2(x: Array, axis: Axes, keepdims: bool) -> Array:
    if x.dtype.kind in "iu":
        raise UnsupportedOp(f"ReduceL2 of {x.dtype}: the root of integers is no integer; cast to "
                            "float32 first")
    return np.asarray(np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims)))


def _sum_square(x: Array, axis: Axes, keepdims: bool) -> Array:
    return np.asarray(np.square(x).sum(axis=axis, keepdims=keepdims, dtype=x.dtype))


def identity(mode: str, dtype: np.dtype[np.generic]) -> float | int | bool:
    """What a reduction ("sum", "prod", "max" ...) of no elements gives: what changes no other.
    The mean of none is NaN."""
    if mode in ("max", "min"):
        if dtype.kind == "b":
            return mode == "min"
        if dtype.kind in "iu":
            limits = np.iinfo(str(dtype))
            return int(limits.min if mode == "max" else limits.max)
        return -np.inf if mode == "max" else np.inf
    return {"mean": np.nan, "prod": 1}.get(mode, 0)


def _top_k(attrs: Attrs, x: Array, count: Array) -> tuple[Array, ...]:
    """NaN counts as the largest; of equals the first comes first, also without `sorted`."""
    axis, k = get_int(attrs, "axis", -1), int(count.reshape(-1)[0])
    if get_int(attrs, "largest", 1):
        order = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - order
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    places = np.take(order, range(k), axis)
    return np.take_along_axis(x, places, axis), places.astype(np.int64)


def _top_k_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
               ) -> list[ir.Value | None]:
    x, dy = source(node, 0), dys[0]
    if dy is None:
        return [None, None]
    places = g.add_outputs(node, 2)[1]
    return [scatter_elements(g, dy, places, get_int(attributes(node), "axis", -1) % rank(x), x),
            None]


REDUCE_READS = ("keepdims", "noop_with_empty_axes")
ARG_READS = ("axis", "keepdims", "select_last_index")

ROWS = (
    Op("ReduceSum", source="ONNX ReduceSum-13",
       reads=REDUCE_READS,
       lower=Kernel("reduce", "sum"), reference=_reference(_sum),
       vjp=_vjp(lambda g, x, y, dy, axes: g.op("Expand", dy, target(g, x)))),
    Op("ReduceMean", source="ONNX ReduceMean-18", even=True,
       reads=REDUCE_READS,
       lower=Kernel("reduce", "mean"), reference=_reference(_mean),
       vjp=_vjp(_mean_slope)),
    Op("ReduceMax", source="ONNX ReduceMax-20",
       reads=REDUCE_READS,
       lower=Kernel("reduce", "max"), reference=_reference(_extreme(np.max, True)),
       vjp=_vjp(_extreme_slope)),
    Op("ReduceMin", source="ONNX ReduceMin-20",
       reads=REDUCE_READS,
       lower=Kernel("reduce", "min"), reference=_reference(_extreme(np.min, False)),
       vjp=_vjp(_extreme_slope)),
    Op("ReduceProd", source="ONNX ReduceProd-18 (gradient for factors other than 0)",
       reads=REDUCE_READS,
       lower=Kernel("reduce", "prod"),
       reference=_reference(_prod),
       vjp=_vjp(lambda g, x, y, dy, axes: g.div(g.mul(dy, y), x))),
    Op("ReduceSumSquare", source="ONNX ReduceSumSquare-18",
       reads=REDUCE_READS,
       lower=Kernel("reduce", "sumsq"),
       reference=_reference(_sum_square),
       vjp=_vjp(lambda g, x, y, dy, axes: g.mul(x, g.mul(dy, 2)))),
    Op("ReduceL2", source="ONNX ReduceL2-18 (no gradient at norm 0)",
       reads=REDUCE_READS,
       lower=Kernel("reduce", "l2"),
       reference=_reference(_l2),
       vjp=_vjp(lambda g, x, y, dy, axes: g.mul(x, g.where(g.greater(y, 0), g.div(dy, y), 0)))),
    Op("ArgMax", source=ARG_SOURCE.format("ArgMax"),
       reads=ARG_READS,
       lower=Kernel("reduce", "argmax"), vjp=stops,
       reference=_arg(np.argmax)),
    Op("ArgMin", source=ARG_SOURCE.format("ArgMin"),
       reads=ARG_READS,
       lower=Kernel("reduce", "argmin"), vjp=stops,
       reference=_arg(np.argmin)),
    Op("TopK", source="ONNX TopK-11", reads=("axis", "largest", "sorted"), along=-1,
       lower=Kernel("top_k"), vjp=_top_k_vjp, reference=_top_k),
)
