"""Which scale and zero point each tensor of codes has, told by the pairs around it."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.formats.tflite.write.flat import Quant
from ganglion.ops.facts import is_coding, is_op
from ganglion.ops.named import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from ganglion.passes.quantized.qdq import array_of, is_constant

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)
SHIFT = 128
"""Between a uint8 code and the int8 code of the same number."""


def codes_of(model: ir.Model) -> Mapping[ir.Value, Quant]:
    """The quantisation of every int8 and uint8 value that no constant holds.

    A node between codes and codes (Transpose, MaxPool ...) only moves them, so what is known of
    one of its values holds for the others. Raises UnsupportedOp for parameters that are computed.
    """
    known: dict[ir.Value, Quant] = {}
    for node in model.graph:
        if is_op(node, QUANTIZE_LINEAR):
            known[node.outputs[0]] = parameters(node, node.outputs[0].dtype)
        elif is_op(node, DEQUANTIZE_LINEAR) and not is_constant(node.inputs[0]):
            coded = node.inputs[0]
            if coded is not None and coded.dtype in BYTES:
                known.setdefault(coded, parameters(node, coded.dtype))
    movers = [n for n in model.graph if not is_coding(n)]
    for node in [*movers, *reversed(movers)]:
        values = [v for v in (*node.inputs, *node.outputs)
                  if v is not None and v.dtype in BYTES and not is_constant(v)]
        found = next((known[v] for v in values if v in known), None)
        if found is not None:
            for value in values:
                known.setdefault(value, found)
    return known


def parameters(node: ir.Node, dtype: ir.DataType | None) -> Quant:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear, as the file will hold them:
    those of uint8 codes are moved to int8."""
    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    if scale is None or not is_constant(scale) or (zero is not None and not is_constant(zero)):
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) computes its scale or zero "
                            "point; a .tflite file holds them as constants. Quantise with "
                            "ganglion.quantize")
    if node.attributes.get_int("block_size", 0):
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) quantises in blocks; a .tflite "
                            "file has one scale a tensor or a channel")
    scales = array_of(scale).astype(np.float32).reshape(-1)
    zeros = (np.zeros(scales.shape, np.int64) if zero is None
             else array_of(zero).astype(np.int64).reshape(-1))
    if dtype == ir.DataType.UINT8:
        zeros = zeros - SHIFT
    axis = node.attributes.get_int("axis", 1) if scales.size > 1 else 0
    return Quant(tuple(map(float, scales)), tuple(map(int, zeros)), axis)
