"""A quantised network as one of floats that learns: its float shadow."""

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_coding, is_op
from ganglion.ops.graph import infer_types
from ganglion.ops.marks import TRAINABLE
from ganglion.ops.named import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from ganglion.passes.base import Pass, sweep
from ganglion.passes.infer import InferShapes
from ganglion.passes.quantized.qdq import Editor, array_of, is_constant
from ganglion.passes.quantized.rounding import (
    learned_scale,
    rounding_node,
    row_elements,
)

CODES = {ir.DataType.INT8: (-128, 127), ir.DataType.UINT8: (0, 255),
         ir.DataType.INT16: (-32768, 32767)}
HIGH = 127
"""The greatest code of a weight."""


class FloatShadow(Pass):
    """x → QuantizeLinear → DequantizeLinear  ⇒  x → FakeQuantize
    DequantizeLinear(int8 constant)  ⇒  FakeQuantize(float constant)
    DequantizeLinear(int32 constant)  ⇒  float constant

    What moves codes moves the numbers that they stand for; inputs and outputs of codes become
    float32. Marks of what is trained are dropped with the weights that carried them, so the role
    of a constant decides. The same function, up to float32 rounding of scales; an activation
    with several scales is no longer rounded.
    """

    def rewrite(self, model: ir.Model) -> bool:
        nodes = [n for n in model.graph if is_coding(n)]
        edit = Editor.extending(model)
        for value in model.graph.inputs:
            _float_input(edit, value)
        for node in nodes:
            if is_op(node, QUANTIZE_LINEAR):
                _replace(edit, node, _rounded(edit, node, node.inputs[0]))
            elif is_constant(node.inputs[0]):
                _replace(edit, node, _weight(edit, node))
            else:
                _replace(edit, node, _real(node))
        if nodes:
            for value in model.graph.initializers.values():
                value.metadata_props.pop(TRAINABLE, None)
            sweep(model)
            for node in model.graph:
                if any(v.dtype in CODES for v in node.outputs):
                    infer_types(node)
            InferShapes()(model)
        return bool(nodes)


def is_quantised(model: ir.Model) -> bool:
    """Whether the Model holds QuantizeLinear or DequantizeLinear."""
    return any(is_coding(n) for n in model.graph)


def float_shadow(model: ir.Model) -> ir.Model:
    """The Model itself when it is float, else a copy by `FloatShadow`."""
    if not is_quantised(model):
        return model
    copy = model.clone(deep_copy=True)
    FloatShadow()(copy)
    return copy


def _replace(edit: Editor, node: ir.Node, new: ir.Value) -> None:
    old = node.outputs[0]
    old.type = ir.TensorType(ir.DataType.FLOAT)
    if old is not new:
        edit.replace(old, new)
    edit.graph.remove(node, safe=True)


def _parameters(node: ir.Node) -> tuple[np.ndarray, np.ndarray, tuple[int, int]] | None:
    """Constant scale and zero point, and the range of the codes; None for others."""
    scale = node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    codes = node.outputs[0] if is_op(node, QUANTIZE_LINEAR) else node.inputs[0]
    dtype = zero.dtype if zero is not None else codes.dtype if codes is not None else None
    if dtype not in CODES or scale is None or not is_constant(scale):
        return None
    if zero is not None and not is_constant(zero):
        return None
    points = array_of(zero) if zero is not None else np.zeros((), np.int8)
    return array_of(scale), points.astype(np.int64), CODES[dtype]


def _rounded(edit: Editor, node: ir.Node, x: ir.Value | None) -> ir.Value:
    """FakeQuantize of x by the scale of a node, x itself where it has no single constant one."""
    known = _parameters(node)
    if x is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}) has no input; expected a value")
    if known is None or known[0].size != 1 or known[1].size != 1:
        return x
    scale, zero, (low, high) = known
    learned, _ = learned_scale(edit, str(x.name), scale.reshape(1))
    step = rounding_node(edit, x, learned, (int(zero.reshape(())), low, high), row_elements(x))
    return edit.behind(x.producer() or learned.producer(), step)


def _real(node: ir.Node) -> ir.Value:
    """What codes stand for: rounded where they were made, or where the caller gives them."""
    x = node.inputs[0]
    if x is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}) has no input; expected a value")
    return x


def _float_input(edit: Editor, value: ir.Value) -> None:
    """An input of codes ⇒ one of floats, rounded by the scale of the node that reads it."""
    reader = _dequantized_by(value)
    if value.dtype not in CODES or reader is None:
        return
    uses = list(value.uses())
    value.type = ir.TensorType(ir.DataType.FLOAT)
    value.metadata_props.clear()
    real = _rounded(edit, reader, value)
    for use in uses:
        use.node.replace_input_with(use.idx, real)


def _dequantized_by(value: ir.Value) -> ir.Node | None:
    """The first DequantizeLinear behind codes, which others may move on the way."""
    for use in value.uses():
        if is_op(use.node, DEQUANTIZE_LINEAR) and use.idx == 0:
            return use.node
        for out in use.node.outputs:
            found = _dequantized_by(out) if out.dtype in CODES else None
            if found is not None:
                return found
    return None


def _weight(edit: Editor, node: ir.Node) -> ir.Value:
    """The constant as floats; one of 8 bits rounded to symmetric codes, as `quantize` stores it.

    Scales grow where codes leave -127 .. 127, as those of uint8 weights may.
    """
    codes = node.inputs[0]
    arrays = [None if v is None else array_of(v) for v in node.inputs]
    value = edit.constant(np.asarray(evaluate_node(node, arrays)[0], np.float32),
                          f"{node.outputs[0].name}_float")
    known, block = _parameters(node), node.attributes.get("block_size")
    if known is None or codes is None or (block is not None and block.as_int()):
        return value
    real, scale = array_of(value), known[0].reshape(-1)
    if scale.size > 1:
        axis = node.attributes.get_int("axis", 1) % real.ndim
        scale = scale.reshape([-1 if i == axis else 1 for i in range(real.ndim)])
    axes = tuple(i for i in range(real.ndim) if scale.size == 1 or scale.shape[i] == 1)
    most = np.abs(real).max(axis=axes, keepdims=True, initial=0.0).reshape(scale.shape)
    scale = np.maximum(scale, most / HIGH)
    learned, _ = learned_scale(edit, str(value.name), scale)
    step = rounding_node(edit, value, learned, (0, -HIGH, HIGH), real.size / scale.size)
    return edit.behind(learned.producer(), step)
