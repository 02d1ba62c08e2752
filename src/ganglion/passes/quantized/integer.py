"""Quantised islands ⇒ integer operators with an exactly defined meaning."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.ops import marks
from ganglion.ops.base import Op
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_op, row_of
from ganglion.ops.named import (
    ADD,
    AVERAGE_POOL,
    CLIP,
    CONV,
    CONV_TRANSPOSE,
    DEQUANTIZE_LINEAR,
    GEMM,
    GLOBAL_AVERAGE_POOL,
    MATMUL,
    QLINEAR_CONV,
    QUANTIZE_LINEAR,
    REDUCE_MEAN,
    RELU,
    SOFTMAX,
)
from ganglion.passes.base import Pass, only_reader, sweep
from ganglion.passes.quantized import moves as moves
from ganglion.passes.quantized import pointwise as pointwise
from ganglion.passes.quantized import products as products
from ganglion.passes.quantized.products import Goal
from ganglion.passes.quantized.qdq import Codes, Editor, array_of, is_constant, producer

Rule = Callable[[Editor, ir.Node, Goal], ir.Value | None]

RULES: Mapping[Op, Rule] = {
    CONV: products.convolution, CONV_TRANSPOSE: products.transposed,
    GEMM: products.gemm, MATMUL: products.matmul, ADD: products.biased_matmul,
    AVERAGE_POOL: pointwise.average_pool, GLOBAL_AVERAGE_POOL: pointwise.global_average_pool,
    REDUCE_MEAN: pointwise.reduce_mean, SOFTMAX: pointwise.softmax,
}
"""By the operator in front of the QuantizeLinear (and its Relu or Clip)."""


class ToInteger(Pass):
    """DequantizeLinear → operator → [Relu | Clip] → QuantizeLinear  ⇒  integer operator

    - Conv, ConvTranspose, Gemm, MatMul (+ bias), AveragePool, GlobalAveragePool, ReduceMean over
      space, Softmax ⇒ `ai.ganglion::QLinear...` (rows in `ops.quantization`);
    - operators that only move numbers, maximum pooling among them ⇒ the same on codes;
    - element-wise functions of one tensor ⇒ `ai.ganglion::Table`;
    - element-wise nodes of several tensors stay between their DequantizeLinear and
      QuantizeLinear: the planner makes one loop of them with float32 meaning;
    - everything else stays float.

    Rounding changes by at most one code where a sum of products or an average was taken in
    float32. Run it after constant folding and with shapes known. Raises ModelError when a sum
    could leave int32. A second run changes nothing.
    """

    def rewrite(self, model: ir.Model) -> bool:
        edit = Editor.extending(model)
        modified = False
        while _round(edit):
            modified = True
        sweep(model)
        return modified


def _round(edit: Editor) -> bool:
    """One attempt at every node; whether anything changed."""
    changed = False
    for node in list(edit.graph):
        if node.graph is None:
            continue
        if is_op(node, QUANTIZE_LINEAR):
            changed |= _end(edit, node)
        elif is_op(node, QLINEAR_CONV):
            changed |= _swap(edit, node, products.adopt_convolution(edit, node))
        else:
            changed |= moves.sink_dequantize(edit, node) or moves.sink_through_concat(edit, node)
    return changed


def _swap(edit: Editor, node: ir.Node, new: ir.Value | None) -> bool:
    """Puts `new` in the place of the node's output; False when there is nothing new."""
    if new is None:
        return False
    edit.replace(node.outputs[0], new)
    edit.graph.remove(node, safe=True)
    _drop_unused(edit, [v.producer() for v in node.inputs if v is not None])
    return True


def _drop_unused(edit: Editor, nodes: list[ir.Node | None]) -> None:
    """Removes nodes that nothing reads any more, and what only they read."""
    for node in nodes:
        if node is None or node.graph is None:
            continue
        if any(v.uses() or v.is_graph_output() for v in node.outputs):
            continue
        above = [v.producer() for v in node.inputs if v is not None]
        edit.graph.remove(node, safe=True)
        _drop_unused(edit, above)


def _end(edit: Editor, quantize: ir.Node) -> bool:
    """Tries every rewrite that starts at a QuantizeLinear."""
    value = quantize.inputs[0]
    if value is not None and is_constant(value):
        arrays = [None if v is None else array_of(v) for v in quantize.inputs]
        codes = evaluate_node(quantize, arrays)[0]
        return _swap(edit, quantize, edit.constant(codes, f"{value.name}_codes"))
    target = edit.target(quantize)
    if target is None or value is None:
        return False
    twin = _twin(edit, quantize, target)
    if twin is not None:
        return _swap(edit, quantize, twin)
    source = edit.codes(producer(value, DEQUANTIZE_LINEAR))
    if source is not None and source.value is not None:
        same = source.matches(target)
        return _swap(edit, quantize, source.value if same
                     else moves.requantized(edit, quantize, source, target))
    new = _by_rule(edit, quantize, target) or pointwise.one_argument(edit, quantize, target)
    return _swap(edit, quantize, new) or moves.raise_quantize(edit, quantize)


def _twin(edit: Editor, quantize: ir.Node, target: Codes) -> ir.Value | None:
    """An earlier QuantizeLinear that gives the same codes."""
    value = quantize.inputs[0]
    for use in () if value is None else value.uses():
        other = use.node
        if other is quantize:
            return None
        if is_op(other, QUANTIZE_LINEAR):
            codes = edit.target(other)
            if codes is not None and codes.matches(target):
                return other.outputs[0]
    return None


def _by_rule(edit: Editor, quantize: ir.Node, target: Codes) -> ir.Value | None:
    value = quantize.inputs[0]
    if value is None or only_reader(value) is None:
        return None
    goal = Goal(quantize, target, *target.limits)
    node = value.producer()
    clamp = producer(value, RELU, CLIP)
    if clamp is not None:
        narrowed = _clamped(goal, clamp)
        inner = clamp.inputs[0]
        if narrowed is None or inner is None or only_reader(inner) is None:
            return None
        goal, node = narrowed, inner.producer()
    row = row_of(node)
    rule = None if row is None else RULES.get(row)
    if node is None or rule is None:
        return None
    return _known_as(edit, node, rule(edit, node, goal))


def _known_as(edit: Editor, old: ir.Node, new: ir.Value | None) -> ir.Value | None:
    """Names the node that makes `new` after the one it replaces, for reports and messages."""
    made = None if new is None else new.producer()
    if made is not None and old.name:
        made.name = edit.fresh(old.name)
        if marks.LAYER in old.metadata_props:
            made.metadata_props[marks.LAYER] = old.metadata_props[marks.LAYER]
    return new


def _clamped(goal: Goal, clamp: ir.Node) -> Goal | None:
    """The goal with a Relu's or Clip's bounds as codes; exact, as quantising is monotone."""
    lo, hi = goal.lo, goal.hi
    if is_op(clamp, RELU):
        return Goal(goal.node, goal.codes, max(lo, goal.codes.zero_point), hi)
    bounds = [*clamp.inputs[1:], None, None][:2]
    for bound in bounds:
        if bound is not None and (not is_constant(bound) or np.isnan(array_of(bound)).any()):
            return None
    if bounds[0] is not None:
        lo = goal.codes.nearest(float(array_of(bounds[0]).reshape(())))
    if bounds[1] is not None:
        hi = goal.codes.nearest(float(array_of(bounds[1]).reshape(())))
    return Goal(goal.node, goal.codes, min(lo, hi), hi)
