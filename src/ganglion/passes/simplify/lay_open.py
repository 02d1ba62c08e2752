"""Operators that are made of others, written out."""

from collections.abc import Callable

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.base import Made
from ganglion.ops.building import Builder
from ganglion.ops.facts import row_of
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.inference import UNFIT
from ganglion.passes.base import Pass, redirect, sweep


class LayOpen(Pass):
    """InstanceNormalization(x, scale, bias)  ⇒  Add(Mul(Div(Sub(x, mean), root), scale), bias)

    By the row's `made_of`; waits for sizes that it needs. Rounds as its pieces do. Raises
    ModelError for inputs and attributes that make no sense.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        while sum(_made(model, node) for node in list(model.graph)):
            changed = True
            sweep(model)  # what was made may be made of others in its turn
        return changed


def _made(model: ir.Model, node: ir.Node) -> bool:
    row = row_of(node)
    return row is not None and row.made_of is not None and write_out(model, node, row.made_of)


def write_out(model: ir.Model, node: ir.Node,
              made_of: Callable[[Builder, ir.Node], Made]) -> bool:
    """Puts what the node is made of in its place; False where it is not, or not yet.

    Raises ModelError for inputs and attributes that make no sense."""
    last = model.graph[-1]
    try:
        made = made_of(GraphBuilder.extending(model), node)
    except UNFIT as error:
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs or "
                         f"attributes: {error}") from error
    fresh = _behind(model.graph, last)
    for each in fresh:
        model.graph.remove(each)
    if made is None:
        return False
    model.graph.insert_before(node, fresh)
    used = [(old, new) for old, new in zip(node.outputs, made) if old.uses() or
            old.is_graph_output()]
    return sum(redirect(old, _own(model, node, new)) for old, new in used) > 0


def _behind(graph: ir.Graph, last: ir.Node) -> list[ir.Node]:
    """The nodes behind one that was the last."""
    found = []
    for node in reversed(graph):
        if node is last:
            break
        found.append(node)
    return found[::-1]


def _own(model: ir.Model, node: ir.Node, value: ir.Value) -> ir.Value:
    """A value that may become an output: not one that the node read."""
    if value not in node.inputs:
        return value
    own = GraphBuilder.extending(model).op("Identity", value)
    made = own.producer()
    if made is not None:
        model.graph.remove(made)
        model.graph.insert_before(node, made)
    return own
