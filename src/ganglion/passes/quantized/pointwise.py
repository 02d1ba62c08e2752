"""Pooling, softmax and one-argument functions on codes. See `passes.quantized.integer`."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Pointwise
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.named import DEQUANTIZE_LINEAR
from ganglion.ops.registry import find
from ganglion.passes.quantized.moves import table
from ganglion.passes.quantized.products import Goal
from ganglion.passes.quantized.qdq import Codes, Editor, array_of, is_constant, producer


def _source(edit: Editor, node: ir.Node, goal: Goal) -> Codes | None:
    """The codes of the first input, where they have the goal's dtype and no clamp follows."""
    x = edit.codes(producer(node.inputs[0], DEQUANTIZE_LINEAR))
    return x if x is not None and x.dtype == goal.codes.dtype and not goal.clamps else None


def average_pool(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ → AveragePool → Q  ⇒  ai.ganglion::QLinearAveragePool

    Not with both ceil_mode and count_include_pad: versions of ONNX disagree on what they count.
    """
    x = _source(edit, node, goal)
    if x is None or (node.attributes.get_int("ceil_mode", 0) != 0
                     and node.attributes.get_int("count_include_pad", 0) != 0):
        return None
    return edit.own(goal.node, "QLinearAveragePool",
                    [x.value, *x.parameters, *goal.codes.parameters], goal.output,
                    goal.codes.dtype, list(node.attributes.values()))


def global_average_pool(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ → GlobalAveragePool → Q  ⇒  ai.ganglion::QLinearGlobalAveragePool"""
    x = _source(edit, node, goal)
    if x is None:
        return None
    return edit.own(goal.node, "QLinearGlobalAveragePool",
                    [x.value, *x.parameters, *goal.codes.parameters], goal.output,
                    goal.codes.dtype)


def reduce_mean(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ → ReduceMean over all axes but the first and one more → Q

    ⇒  [Transpose →] ai.ganglion::QLinearGlobalAveragePool [→ Reshape]
    """
    x = _source(edit, node, goal)
    axes = _axes(node)
    if x is None or axes is None or x.value is None or x.value.shape is None:
        return None
    dims = list(x.value.shape)
    rank = len(dims)
    reduced = sorted({a % rank for a in axes})
    kept = [a for a in range(rank) if a not in reduced]
    if len(kept) != 2 or kept[0] != 0 or rank < 3:
        return None
    order = [*kept, *reduced]
    image = x.value
    if order != list(range(rank)):
        image = edit.insert(goal.node, "Transpose", [x.value], x.dtype,
                            ir.Shape([dims[a] for a in order]),
                            attributes=[ir.AttrInt64s("perm", order)])
    if len(reduced) > 2:
        # An average over one axis as long as all of them: images have two at most.
        image = _one_axis(edit, goal, x, image, [dims[0], dims[kept[1]]])
        reduced_axes = 1
    else:
        reduced_axes = len(reduced)
    pooled = edit.own(goal.node, "QLinearGlobalAveragePool",
                      [image, *x.parameters, *goal.codes.parameters], goal.output,
                      goal.codes.dtype)
    pooled.shape = ir.Shape([dims[0], dims[kept[1]], *[1] * reduced_axes])
    want = goal.output.shape
    if want is not None and list(want) == list(pooled.shape):
        return pooled
    # 0 keeps the batch, which may be symbolic.
    shape = [0 if a == 0 else 1 if a in reduced else -1 for a in range(rank)]
    if not node.attributes.get_int("keepdims", 1):
        shape = [0, -1]
    target = edit.constant(np.asarray(shape, np.int64), "pooled_shape")
    return edit.insert(goal.node, "Reshape", [pooled, target], goal.codes.dtype, want)


def _one_axis(edit: Editor, goal: Goal, x: Codes, image: ir.Value,
              ends: Sequence[int | ir.SymbolicDim]) -> ir.Value:
    """[N, C, axes...] as [N, C, all of them]."""
    target = edit.constant(np.asarray([0, 0, -1], np.int64), "flat_shape")
    sizes = [] if image.shape is None else list(image.shape)[2:]
    known = [n for n in sizes if isinstance(n, int)]
    whole = prod(known) if len(known) == len(sizes) else None
    return edit.insert(goal.node, "Reshape", [image, target], x.dtype, ir.Shape([*ends, whole]))


def _axes(node: ir.Node) -> list[int] | None:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return [int(a) for a in array_of(node.inputs[1])] if is_constant(node.inputs[1]) else None
    attr = node.attributes.get("axes")
    return None if attr is None else [int(a) for a in attr.as_ints()]


def softmax(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ → Softmax → Q  ⇒  ai.ganglion::QLinearSoftmax. Changes rounding: see `ops.integer`."""
    x = _source(edit, node, goal)
    if x is None:
        return None
    return edit.own(goal.node, "QLinearSoftmax", [x.value, *x.parameters, *goal.codes.parameters],
                    goal.output, goal.codes.dtype, axis=node.attributes.get_int("axis", -1))


def one_argument(edit: Editor, quantize: ir.Node, goal: Codes) -> ir.Value | None:
    """DQ → element-wise operators with scalar constants → Q  ⇒  ai.ganglion::Table

    Exact: every entry is what the float operators give for that code. All numbers between must be
    used inside the island only.
    """
    island = _island(edit, quantize)
    if island is None:
        return None
    x, nodes = island
    result = quantize.inputs[0]
    if x.value is None or result is None or result.dtype != ir.DataType.FLOAT:
        return None
    if result.shape is None or x.value.shape is None or list(result.shape) != list(x.value.shape):
        return None

    def function(real: np.ndarray) -> np.ndarray:
        values: dict[ir.Value, np.ndarray] = {}
        for node in nodes:
            arrays = [None if v is None else values.get(v, real) if not is_constant(v)
                      else array_of(v).reshape(()) for v in node.inputs]
            values[node.outputs[0]] = evaluate_node(node, arrays)[0]
        return values[result]

    return table(edit, quantize, x, goal, function)


def _island(edit: Editor, quantize: ir.Node) -> tuple[Codes, list[ir.Node]] | None:
    """The one tensor of codes that a QuantizeLinear depends on through element-wise nodes only,
    and those nodes in order; None where there is more than that."""
    source: ir.Node | None = None
    found: dict[ir.Node, None] = {}

    def visit(value: ir.Value | None) -> bool:
        nonlocal source
        if value is None or (is_constant(value) and array_of(value).size == 1):
            return True
        node = value.producer()
        if node is None or value.is_graph_output():
            return False
        if producer(value, DEQUANTIZE_LINEAR) is not None:
            first = source is None or node is source
            source = node
            return first
        if node in found:
            return True
        row = find(node.domain, node.op_type)
        if row is None or not isinstance(row.lower, Pointwise) or len(node.outputs) != 1:
            return False
        good = all(visit(v) for v in node.inputs)
        found[node] = None
        return good

    if not visit(quantize.inputs[0]) or source is None or not found:
        return None
    inside = {*found, quantize}
    if any(u.node not in inside for n in found for u in n.outputs[0].uses()):
        return None
    codes = edit.codes(source)
    return None if codes is None or is_constant(codes.value) else (codes, list(found))
