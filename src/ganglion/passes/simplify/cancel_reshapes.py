"""Nodes that give back their input, and chains of reshapes."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Axes
from ganglion.ops.facts import axes_of, is_copy, is_op, is_view
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.movement import permutation
from ganglion.ops.named import CAST
from ganglion.ops.values import known_shape
from ganglion.passes.base import Pass, before, redirect


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
            if _gives_back(self, node) and _only_first_output(node):
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


def _gives_back(reads: Pass, node: ir.Node) -> bool:
    """Whether the node's first output is its first input."""
    if is_op(node, CAST):
        x = node.inputs[0]
        to = node.attributes.get_int("to", 0)
        return x is not None and x.dtype is not None and x.dtype.value == to
    rule = SAME.get(axes_of(node))
    if rule is None:
        return is_copy(node)
    return rule(reads, node)


def _not_training(reads: Pass, node: ir.Node) -> bool:
    """Dropout-13: without `training_mode`, or with a constant false one, it is the identity, as
    Identity is."""
    if not is_view(node):
        return False
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
    return rank > 0 and list(permutation(node)) == list(range(rank))


def _single(reads: Pass, node: ir.Node) -> bool:
    return len(node.inputs) == 1


SAME: Mapping[Axes | None, Callable[[Pass, ir.Node], bool]] = {
    Axes.SAME: _not_training, Axes.RESHAPED: _same_shape, Axes.SQUEEZED: _same_shape,
    Axes.UNSQUEEZED: _same_shape, Axes.PADDED: _pads_nothing, Axes.CUT: _slices_forward,
    Axes.PERMUTED: _keeps_order, Axes.JOINED: _single, Axes.EXPANDED: _same_shape,
    Axes.REPEATED: _same_shape}
"""When a node gives back its first input, by how axes pass through it."""
