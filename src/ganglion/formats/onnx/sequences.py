"""Sequences that only stand between a split and its parts, as torch.export's chunk and split do."""

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder
from ganglion.passes.base import redirect

MOST = 1 << 31
"""No size or place of a network's is as large."""


def read_parts(model: ir.Model) -> None:
    """SequenceAt(SplitToSequence(x, split), i) ⇒ Slice(x), in place. Exact.

    Needs a constant split and constant places; where a part counts from the end, a list of sizes.
    Other sequences stay, for the check of operators to name.
    """
    g = GraphBuilder.extending(model)
    for node in list(model.graph):
        bounds = _bounds(node)
        if bounds is None:
            continue
        source, *numbers = bounds
        part = ir.Node("", "Slice", [source, *map(g.ints, numbers)],
                       name=g.fresh(f"{node.name}_part"))
        part.outputs[0].name = g.fresh(f"{part.name}_out")
        part.outputs[0].type, part.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        model.graph.insert_before(node, part)
        redirect(node.outputs[0], part.outputs[0])
        model.graph.remove(node, safe=True)
    for node in list(model.graph):
        parts = node.outputs[0] if _is(node, "SplitToSequence") else None
        if parts is not None and not parts.uses() and not parts.is_graph_output():
            model.graph.remove(node, safe=True)


def _is(node: ir.Node, name: str) -> bool:
    return node.domain == "" and node.op_type == name


def _bounds(node: ir.Node) -> tuple[ir.Value, int, int, int] | None:
    """What a SequenceAt takes a part of, from where to where, and on which axis; None where that
    is not known."""
    first = node.inputs[0] if _is(node, "SequenceAt") and len(node.inputs) == 2 else None
    split = None if first is None else first.producer()
    if split is None or not _is(split, "SplitToSequence") or len(split.inputs) < 2:
        return None
    source, sizes, place = split.inputs[0], _numbers(split.inputs[1]), _numbers(node.inputs[1])
    if source is None or sizes is None or place is None or place.size != 1:
        return None
    k = int(place.reshape(()))
    axis = split.attributes.get_int("axis", 0)
    if sizes.ndim == 0:
        return (source, k * int(sizes), (k + 1) * int(sizes), axis) if k >= 0 else None
    if not -len(sizes) <= k < len(sizes):
        return None
    end = int(np.cumsum(sizes)[k])
    return source, end - int(sizes[k]), end, axis


def _numbers(value: ir.Value | None) -> np.ndarray | None:
    """A constant's whole numbers, where they may be sizes or places."""
    if value is None or not value.is_initializer() or value.is_graph_input():
        return None
    found = None if value.const_value is None else value.const_value.numpy()
    if found is None or found.dtype.kind not in "iu":
        return None
    return found if (found < MOST).all() and (found > -MOST).all() else None
