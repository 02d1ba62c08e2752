"""Making FakeQuantize nodes whose scales are learned."""

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import GANGLION_DOMAIN
from ganglion.ops.fake_quantization import NAME
from ganglion.passes.quantized.qdq import Editor


def learned_scale(edit: Editor, name: str, scale: np.ndarray) -> tuple[ir.Value, ir.Value]:
    """exp(z), in front of the graph, and its constant z, which is to be trained."""
    logarithm = edit.constant(np.log(scale.astype(np.float64)).astype(np.float32),
                              f"{name}.log_scale")
    node = ir.Node("", "Exp", [logarithm], num_outputs=1, name=edit.fresh(f"{name}_scale_exp"))
    node.outputs[0].name = edit.fresh(f"{name}_scale")
    node.outputs[0].type, node.outputs[0].shape = logarithm.type, logarithm.shape
    return edit.behind(None, node), logarithm


def rounding_node(edit: Editor, value: ir.Value, scale: ir.Value, codes: tuple[int, int, int],
                  elements: float) -> ir.Node:
    """FakeQuantize of `value`, not yet in the graph; `codes`: zero point, lowest, highest.

    `elements`: how many of them, of one row or one channel, the scale serves. The gain is
    1 / sqrt(elements · steps), so that a scale moves as fast as a weight does (Esser et al.,
    ICLR 2020, section 2.2).
    """
    zero, low, high = codes
    gain = 1.0 / np.sqrt(max(elements, 1.0) * max(high - zero, zero - low))
    attributes = [ir.AttrInt64("zero_point", zero), ir.AttrInt64("low", low),
                  ir.AttrInt64("high", high), ir.AttrFloat32("gain", float(gain))]
    node = ir.Node(GANGLION_DOMAIN, NAME, [value, scale], attributes, num_outputs=1,
                   name=edit.fresh(f"{value.name}_rounding"))
    node.outputs[0].name = edit.fresh(f"{value.name}_rounded")
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), value.shape
    return node


def row_elements(value: ir.Value) -> float:
    """The elements of one row; dimensions that are not numbers count as one."""
    return float(np.prod([d for d in list(value.shape or [])[1:] if isinstance(d, int)]))
