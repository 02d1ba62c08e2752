"""Linear operators seen alike: where their output channels are in weight and bias.

Shared by the passes that fold a following scale or shift into them.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Array, Axes
from ganglion.ops.facts import axes_of, is_op, units_of
from ganglion.ops.named import ADD, CONV, CONV_TRANSPOSE, GEMM, MATMUL
from ganglion.ops.values import known_shape
from ganglion.passes.base import Pass, only_reader


@dataclass(frozen=True)
class Linear:
    """y = x ∗ weight + bias, output channel c scaled by scaling weight along `channels`.

    `end` makes the value that is y; it is `node`, or the Add behind a MatMul. `axis` is where y
    has its channels.
    """

    node: ir.Node
    end: ir.Node
    weight: Array
    bias: Array
    channels: int
    axis: int

    def scaled(self, scale: Array) -> Array:
        """The weight times `scale` [channels], in float64."""
        weight: Array = self.weight.astype(np.float64)
        units = units_of(self.node)
        if axes_of(self.node) is Axes.SPREAD:
            # [C, O / group, kh, kw]: the rows of one group share its part of the outputs.
            group = self.node.attributes.get_int("group", 1)
            weight = weight.reshape(group, -1, *weight.shape[1:])
            weight *= scale.reshape(group, 1, -1, *[1] * (weight.ndim - 3))
        else:
            weight *= scale.reshape(-1, *[1] * (weight.ndim - 1 - units % weight.ndim))
        return weight.reshape(self.weight.shape)


def linear_before(value: ir.Value | None, reads: Pass) -> Linear | None:
    """The linear operator whose result is `value`, when it may be changed: constant weight and
    bias, and nobody else reads what it gives."""
    end = value.producer() if value is not None else None
    if end is None or value is None or only_reader(value) is None:
        return None
    if is_op(end, CONV, CONV_TRANSPOSE, GEMM):
        return _with_own_bias(end, reads)
    if is_op(end, MATMUL):
        return _matmul(end, end, None, reads)
    if is_op(end, ADD):
        for k in (0, 1):
            product = end.inputs[k]
            node = product.producer() if product is not None else None
            if product is not None and node is not None and is_op(node, MATMUL) \
                    and only_reader(product) is end:
                return _matmul(node, end, end.inputs[1 - k], reads)
    return None


def _with_own_bias(node: ir.Node, reads: Pass) -> Linear | None:
    weight = reads.constant(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = reads.constant(given)
    if weight is None or (given is not None and bias is None) or weight.dtype != np.float32:
        return None
    if is_op(node, GEMM):
        alpha, beta = (node.attributes.get(n) for n in ("alpha", "beta"))
        if any(a is not None and a.as_float() != 1.0 for a in (alpha, beta)):
            return None
    channels = weight.shape[units_of(node)]
    if axes_of(node) is Axes.SPREAD:
        channels *= node.attributes.get_int("group", 1)
    if bias is None:
        bias = np.zeros(channels, np.float32)
    elif bias.size not in (1, channels) or (bias.size > 1 and bias.shape[-1] != channels):
        return None
    return Linear(node, node, weight, np.broadcast_to(bias.reshape(-1), (channels,)), channels, 1)


def _matmul(node: ir.Node, end: ir.Node, given: ir.Value | None, reads: Pass) -> Linear | None:
    weight, bias = reads.constant(node.inputs[1]), reads.constant(given)
    shape = known_shape(end.outputs[0])
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or shape is None:
        return None
    channels = weight.shape[1]
    if given is not None and (bias is None or bias.size not in (1, channels)
                              or (bias.size > 1 and bias.shape[-1] != channels)
                              or bias.ndim > len(shape)):
        return None
    row = np.zeros(1, np.float32) if bias is None else bias.reshape(-1)
    return Linear(node, end, weight, np.broadcast_to(row, (channels,)), channels, len(shape) - 1)
