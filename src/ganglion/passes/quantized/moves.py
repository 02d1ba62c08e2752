"""Operators that only move numbers work on the codes themselves. See `passes.quantized.integer`."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Moves
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_even, is_op, movement
from ganglion.ops.named import (
    CONCAT,
    DEQUANTIZE_LINEAR,
    EXPAND,
    GLOBAL_MAX_POOL,
    MAX_POOL,
    PAD,
    QUANTIZE_LINEAR,
    TILE,
)
from ganglion.ops.values import attributes
from ganglion.passes.base import only_reader
from ganglion.passes.quantized.qdq import Codes, Editor, array_of, is_constant, producer


def carries(node: ir.Node | None) -> bool:
    """Whether every number that the node gives is one of its first input's, or a padding zero.

    Quantising is monotone, so a maximum may be taken before or after it."""
    return is_even(node) and movement(node) in (Moves.VIEW, Moves.PLACE, Moves.FILL, Moves.PICK)


def _commutes(node: ir.Node) -> bool:
    """Whether a node that `carries` gives the same on codes as on numbers."""
    attrs = attributes(node)
    if is_op(node, MAX_POOL):
        return len([v for v in node.outputs if v.uses() or v.is_graph_output()]) == 1
    if is_op(node, GLOBAL_MAX_POOL):
        return _spatial(node) is not None
    if movement(node) is Moves.FILL and attrs.get("mode", "constant") == "constant":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        return fill is None or (is_constant(fill) and not array_of(fill).any())
    return True


def _spatial(node: ir.Node) -> list[int] | None:
    value = node.inputs[0]
    dims = [] if value is None or value.shape is None else list(value.shape)[2:]
    sizes = [d for d in dims if isinstance(d, int)]
    return sizes if sizes and len(sizes) == len(dims) else None


def _on_codes(edit: Editor, node: ir.Node, codes: Codes) -> list[ir.Value]:
    """The node once more, in front of itself, reading and giving codes."""
    name, inputs = node.op_type, [codes.value, *node.inputs[1:]]
    attrs = list(node.attributes.values())
    if is_op(node, GLOBAL_MAX_POOL):
        name, attrs = MAX_POOL.name, [ir.AttrInt64s("kernel_shape", _spatial(node) or [])]
    if is_op(node, PAD):
        fill = edit.constant(np.asarray(codes.zero_point, codes.dtype.numpy()), "pad_code")
        inputs = [*inputs[:2], fill, *inputs[3:]]
    first = edit.insert(node, name, inputs, codes.dtype, node.outputs[0].shape,
                        attributes=attrs, outputs=len(node.outputs))
    made = first.producer()
    outputs = [first] if made is None else list(made.outputs)
    for old, new in zip(node.outputs, outputs):
        new.dtype, new.shape = codes.dtype, old.shape
    return outputs


def sink_dequantize(edit: Editor, node: ir.Node) -> bool:
    """DQ → move  ⇒  move on codes → DQ. Exact."""
    if not carries(node) or not _commutes(node):
        return False
    codes = edit.codes(producer(node.inputs[0], DEQUANTIZE_LINEAR))
    if codes is None or (is_constant(codes.value) and is_op(node, EXPAND, TILE)):
        return False
    outputs = _on_codes(edit, node, codes)
    constant = all(v is None or is_constant(v) for v in [codes.value, *node.inputs[1:]])
    for i, old in enumerate(node.outputs):
        new = outputs[i]
        if constant:
            made = new.producer()
            if made is not None:
                new = edit.constant(evaluate_node(made, _constants(made))[i], f"{old.name}_codes")
        _dequantized(edit, node, new, codes, old)
    edit.graph.remove(node, safe=True)
    return True


def _constants(node: ir.Node) -> list[np.ndarray | None]:
    return [None if v is None else array_of(v) for v in node.inputs]


def _dequantized(edit: Editor, before: ir.Node, value: ir.Value, codes: Codes,
                 old: ir.Value) -> None:
    if not old.uses() and not old.is_graph_output():
        return
    real = edit.insert(before, "DequantizeLinear", [value, *codes.parameters],
                       old.dtype or ir.DataType.FLOAT, old.shape)
    edit.replace(old, real)


def sink_through_concat(edit: Editor, node: ir.Node) -> bool:
    """DQ, DQ ... → Concat  ⇒  Concat of codes → DQ. Exact.

    Parts of differing scale are first requantised by a Table to the scale that every
    QuantizeLinear behind the Concat wants; where these disagree nothing is done.
    """
    if not is_op(node, CONCAT):
        return False
    parts = [edit.codes(producer(v, DEQUANTIZE_LINEAR)) for v in node.inputs]
    known = [p for p in parts if p is not None]
    if len(known) != len(parts) or any(is_constant(p.value) for p in known):
        return False
    common = known[0]
    if not all(p.matches(common) for p in known):
        targets = _targets(edit, node.outputs[0])
        if not targets or not all(t.matches(targets[0]) for t in targets):
            return False
        common = targets[0]
    inputs = [p.value if p.matches(common) else requantized(edit, node, p, common) for p in known]
    joined = edit.insert(node, "Concat", inputs, common.dtype, node.outputs[0].shape,
                         attributes=list(node.attributes.values()))
    _dequantized(edit, node, joined, common, node.outputs[0])
    edit.graph.remove(node, safe=True)
    return True


def _targets(edit: Editor, value: ir.Value) -> list[Codes]:
    """What the QuantizeLinears reading `value` write; empty when anything else reads it."""
    found = [edit.target(u.node) for u in value.uses() if is_op(u.node, QUANTIZE_LINEAR)]
    known = [t for t in found if t is not None]
    return known if len(known) == len(value.uses()) and not value.is_graph_output() else []


def requantized(edit: Editor, before: ir.Node, x: Codes, y: Codes) -> ir.Value:
    """DQ → Q with differing scales  ⇒  ai.ganglion::Table"""
    return table(edit, before, x, y, lambda real: real)


def table(edit: Editor, before: ir.Node, x: Codes, y: Codes,
          function: Callable[[np.ndarray], np.ndarray]) -> ir.Value:
    """codes of x → codes of y by a table of `function` over all 256 codes; NaN gives y's zero."""
    lo, hi = x.limits
    real = (np.arange(lo, hi + 1) - x.zero_point).astype(np.float32) * np.float32(x.step)
    with np.errstate(all="ignore"):
        numbers = np.broadcast_to(function(real), real.shape).astype(np.float32)
        codes = np.rint(numbers / np.float32(y.step)) + np.float32(y.zero_point)
    codes = np.where(np.isnan(codes), y.zero_point, codes)
    entries = np.clip(codes, *y.limits).astype(y.dtype.numpy())
    if x.value is None:
        raise ValueError("a table needs codes to look up")
    return edit.own(before, "Table", [x.value, edit.constant(entries, "table")], x.value, y.dtype)


def raise_quantize(edit: Editor, quantize: ir.Node) -> bool:
    """move → Q  ⇒  Q → move on codes. Exact; so the operator above the move can end in integers."""
    goal = edit.target(quantize)
    move = None if quantize.inputs[0] is None else quantize.inputs[0].producer()
    if goal is None or move is None or not carries(move) or len(move.outputs) > 1 \
            or not _commutes(move):
        return False
    source = move.inputs[0]
    if only_reader(move.outputs[0]) is None or source is None or source.producer() is None:
        return False
    if only_reader(source) is None:
        return False
    lifted = edit.insert(move, "QuantizeLinear", [source, *goal.parameters], goal.dtype,
                         source.shape)
    moved = _on_codes(edit, move, Codes(lifted, goal.scale, goal.zero, goal.dtype))[0]
    edit.replace(quantize.outputs[0], moved)
    edit.graph.remove([quantize, move], safe=True)
    return True
