"""Nodes that give back their input, and chains of reshapes."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.ops.facts import is_view
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.base import (
    Pass,
    before,
    integer,
    integers,
    known_shape,
    redirect,
)


class CancelReshapes(Pass):
    """Reshape(Flatten(x))  ⇒  Reshape(x);   Reshape(x), Pad(x, 0), Cast(x), Dropout(x) that change
    nothing  ⇒  x

    A chain of views becomes one Reshape to a constant shape, where that is static, or nothing.
    An Identity that gives an input or a constant the name of an output stays. Dropout goes only
    out of training mode. Exact.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if node.domain != "" or not node.inputs or node.inputs[0] is None:
                continue
            if not (node.outputs[0].uses() or node.outputs[0].is_graph_output()):
                continue
            rule = SAME.get(node.op_type)
            same = _same_shape if rule is None and is_view(node) else rule
            if same is not None and same(self, node) and _only_first_output(node):
                changed |= redirect(node.outputs[0], node.inputs[0])
            elif is_view(node):
                changed |= self._merge(model, node)
        return changed

    def _merge(self, model: ir.Model, node: ir.Node) -> bool:
        """View(View(x))  ⇒  Reshape(x, shape); only where the inner view has no other reader or
        costs nothing anyway: views move no bytes, so each reader may have its own."""
        inner = node.inputs[0].producer() if node.inputs[0] is not None else None
        shape = known_shape(node.outputs[0])
        if inner is None or not is_view(inner) or shape is None or 0 in shape:
            return False
        source = inner.inputs[0]
        if source is None:
            return False
        if known_shape(source) == shape and redirect(node.outputs[0], source):
            return True
        g = GraphBuilder.extending(model)
        made = before(node, g.op("Reshape", source, g.ints(*shape), hint=node.name))
        return redirect(node.outputs[0], made)


def _only_first_output(node: ir.Node) -> bool:
    return not any(v.uses() or v.is_graph_output() for v in node.outputs[1:])


def _same_shape(reads: Pass, node: ir.Node) -> bool:
    """The output has the input's shape, each dimension a number or the same name."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or y.shape is None or len(x.shape) != len(y.shape):
        return False
    return all(a == b and (isinstance(a, int) or a.value is not None)
               for a, b in zip(x.shape, y.shape))


def _always(reads: Pass, node: ir.Node) -> bool:
    return True


def _same_type(reads: Pass, node: ir.Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.dtype is not None and integer(node, "to", 0) == x.dtype.value


def _not_training(reads: Pass, node: ir.Node) -> bool:
    """Dropout-13: without `training_mode`, or with a constant false one, it is the identity."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    mode = reads.constant(node.inputs[2])
    return mode is not None and not mode.any()


def _pads_nothing(reads: Pass, node: ir.Node) -> bool:
    pads = reads.constant(node.inputs[1])
    return pads is not None and not pads.any()


def _slices_forward(reads: Pass, node: ir.Node) -> bool:
    """All of every axis, in order: same shape and no negative step."""
    steps = reads.constant(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
    return steps is not None and bool((steps > 0).all()) and _same_shape(reads, node)


def _keeps_order(reads: Pass, node: ir.Node) -> bool:
    x = node.inputs[0]
    rank = len(x.shape) if x is not None and x.shape is not None else 0
    return rank > 0 and integers(node, "perm", reversed(range(rank))) == list(range(rank))


def _single(reads: Pass, node: ir.Node) -> bool:
    return len(node.inputs) == 1


SAME: Mapping[str, Callable[[Pass, ir.Node], bool]] = {
    "Identity": _always, "Dropout": _not_training, "Cast": _same_type, "Pad": _pads_nothing,
    "Slice": _slices_forward, "Transpose": _keeps_order, "Concat": _single, "Sum": _single,
    "Max": _single, "Min": _single, "Mean": _single,
    "Expand": _same_shape, "Tile": _same_shape}
"""When an operator gives back its first input; a view does where the shape is the same."""
