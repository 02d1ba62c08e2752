"""Float products with int8 weights ⇒ hybrid operators, which quantise their input on the fly."""

import numpy as np
import onnx_ir as ir

from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_op
from ganglion.ops.named import CONV, DEQUANTIZE_LINEAR, GEMM, MATMUL
from ganglion.ops.values import attributes, known_shape
from ganglion.passes.base import Pass, sweep
from ganglion.passes.quantized.products import Weights, weights
from ganglion.passes.quantized.qdq import Editor, array_of, is_constant, producer
from ganglion.passes.quantized.sums import INT32_MAX


class ToHybrid(Pass):
    """operator(x, DequantizeLinear(int8 constant))  ⇒  ai.ganglion::Hybrid...(x, int8 constant)

    - Conv ⇒ HybridConv; depthwise ones stay float: they have as many inputs to quantise as
      products to save, and gain nothing;
    - MatMul, Gemm (alpha = beta = 1) with a matrix of weights ⇒ HybridGemm.

    Weights with another zero point than 0 are shifted where they fit int8. What cannot be proved to
    stay in int32 stays float. Not exact: x is rounded to 255 steps of its own range (`ops.hybrid`).
    Run it behind `passes.quantized.integer.ToInteger`, which takes what has scales for its
    activations. A second run changes nothing.
    """

    def rewrite(self, model: ir.Model) -> bool:
        edit = Editor.extending(model)
        changed = False
        for node in list(model.graph):
            made = None
            if is_op(node, CONV):
                made = _convolution(edit, node)
            elif is_op(node, MATMUL, GEMM):
                made = _product(edit, node)
            if made is not None:
                _name_after(edit, made, node)
                edit.replace(node.outputs[0], made)
                edit.graph.remove(node, safe=True)
                changed = True
        sweep(model)
        return changed


def _name_after(edit: Editor, made: ir.Value, old: ir.Node) -> None:
    node = made.producer()
    if node is not None and old.name:
        node.name = edit.fresh(old.name)
        node.metadata_props.update(old.metadata_props)


def _convolution(edit: Editor, node: ir.Node) -> ir.Value | None:
    x, w = _float(node.inputs[0]), weights(edit, node.inputs[1], 0)
    if x is None or w is None:
        return None
    codes = array_of(w.value)
    groups = node.attributes.get_int("group", 1)
    depthwise = groups > 1 and codes.shape[1] == 1
    if depthwise or not _fits(codes.reshape(codes.shape[0], -1)):
        return None
    return edit.own(node, "HybridConv", [x, w.value, w.scale, _bias(edit, node)],
                    node.outputs[0], ir.DataType.FLOAT, list(node.attributes.values()))


def _product(edit: Editor, node: ir.Node) -> ir.Value | None:
    attrs = attributes(node)
    trans_b = bool(attrs.get("transB", 0))
    a, w = _float(node.inputs[0]), weights(edit, node.inputs[1], 0 if trans_b else 1)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    plain = attrs.get("alpha", 1.0) == 1.0 and (given is None or attrs.get("beta", 1.0) == 1.0)
    shape = known_shape(a)
    if a is None or w is None or shape is None or len(shape) < 2 or not plain:
        return None
    if attrs.get("transA", 0) or array_of(w.value).ndim != 2:
        return None
    w = _columns(edit, w) if trans_b else w
    columns = array_of(w.value).shape[1]
    if not _fits(array_of(w.value).T) or (
            given is not None and known_shape(given) not in ((columns,), (1, columns))):
        return None
    return edit.own(node, "HybridGemm", [a, w.value, w.scale, _bias(edit, node)],
                    node.outputs[0], ir.DataType.FLOAT)


def _float(value: ir.Value | None) -> ir.Value | None:
    """An activation in float32, else None."""
    if value is None or is_constant(value) or value.dtype != ir.DataType.FLOAT:
        return None
    return value


def _fits(per_output: np.ndarray) -> bool:
    """Whether no sum leaves int32, whatever the codes: 255 · Σ|w| ≤ 2^31 - 1."""
    return bool((255 * np.abs(per_output.astype(np.int64)).sum(axis=1) <= INT32_MAX).all())


def _columns(edit: Editor, w: Weights) -> Weights:
    """[N, K] as [K, N]."""
    return Weights(edit.constant(array_of(w.value).T, f"{w.value.name}_t"), w.scale, w.zero)


def _bias(edit: Editor, node: ir.Node) -> ir.Value | None:
    """The bias; one stored as int32 becomes float32."""
    given = node.inputs[2] if len(node.inputs) > 2 else None
    stored = producer(given, DEQUANTIZE_LINEAR)
    if stored is None or not all(is_constant(v) for v in stored.inputs):
        return given
    arrays = [None if v is None else array_of(v).reshape(-1) for v in stored.inputs]
    real = evaluate_node(stored, arrays)[0]
    return edit.constant(real, f"{stored.name}_real")
