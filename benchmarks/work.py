"""What a Model has to do, counted from its nodes alone, whatever kernels later do it."""

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.ops.values import static_shape


def macs(model: ir.Model) -> int:
    """Multiply-adds of the products of one call, shapes known; sums, pools and activations are
    left out."""
    return sum(COUNTS[node.op_type](node) for node in model.graph if node.op_type in COUNTS)


def weight_bytes(model: ir.Model) -> int:
    """Bytes of the constants that a call reads, in the form in which the Model stores them.

    Integer constants beyond 8 bits are shapes and axes, or quantised biases: left out.
    """
    kept = (ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.FLOAT16)
    return sum(v.const_value.nbytes for v in model.graph.initializers.values()
               if v.const_value is not None and v.dtype in kept)


def _product(node: ir.Node) -> int:
    """MatMul and Gemm: every output element sums over the shared axis."""
    shape = _shape(node, 0)
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", 0)
    return math.prod(static_shape(node.outputs[0])) * shape[-2 if transposed else -1]


def _convolution(node: ir.Node) -> int:
    return math.prod(static_shape(node.outputs[0])) * math.prod(_shape(node, 1)[1:])


def _transposed(node: ir.Node) -> int:
    return math.prod(_shape(node, 0)) * math.prod(_shape(node, 1)[1:])


def _recurrent(node: ir.Node) -> int:
    """X [T, N, in], W [D, G u, in], R [D, G u, u]."""
    steps, rows, _ = _shape(node, 0)
    return steps * rows * (math.prod(_shape(node, 1)) + math.prod(_shape(node, 2)))


def _shape(node: ir.Node, index: int) -> tuple[int, ...]:
    value = node.inputs[index]
    return () if value is None else static_shape(value)


COUNTS: Mapping[str, Callable[[ir.Node], int]] = {
    "MatMul": _product, "Gemm": _product, "Conv": _convolution, "ConvTranspose": _transposed,
    "LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent}
"""Operator → multiply-adds of a node."""
