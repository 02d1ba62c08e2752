"""What the passes share: the contract, constants, replacing, inserting and sweeping."""

import abc
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

from ganglion.errors import ModelError
from ganglion.ops.base import Array
from ganglion.ops.facts import shows
from ganglion.ops.graph import GraphBuilder, infer_types
from ganglion.ops.values import known_shape

MAX_ROUNDS = 50
"""Far more than any network needs; more means that two passes undo each other."""


class Pass(InPlacePass):
    """A rewrite of the Model in place: valid before, valid after, a second run changes nothing.

    Values that nothing reads any more are swept away after a change.
    """

    @abc.abstractmethod
    def rewrite(self, model: ir.Model) -> bool:
        """Rewrites the graph; returns whether anything changed."""

    def call(self, model: ir.Model) -> PassResult:
        modified = self.rewrite(model)
        if modified:
            sweep(model)
        return PassResult(model, modified)

    def constant(self, value: ir.Value | None) -> Array | None:
        """The array of a value that no call changes, else None. State and defaults are inputs."""
        if value is None or value.const_value is None or not value.is_initializer():
            return None
        if value.is_graph_input():
            return None
        return value.const_value.numpy()


def sweep(model: ir.Model) -> bool:
    """Removes nodes and initializers that no output needs; inputs and outputs stay."""
    graph, changed = model.graph, False
    for node in reversed(graph):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
            changed = True
    for name, value in list(graph.initializers.items()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            del graph.initializers[name]
            changed = True
    return changed


def redirect(old: ir.Value, new: ir.Value) -> bool:
    """Lets all readers of `old` read `new`. Output names are kept.

    False, and nothing done, where `old` is an output of the graph and `new` cannot take its place,
    being itself an input, an initializer or another output.
    """
    if old.is_graph_output():
        if new.is_graph_input() or new.is_initializer() or new.is_graph_output():
            return False
        names = {v.name for v in _values(old)}
        name, aside = old.name, f"{old.name}_before"
        while aside in names:
            aside += "_"
        old.name, new.name = aside, name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    return True


def _values(value: ir.Value) -> Iterable[ir.Value]:
    """Every value of the graph that holds `value`."""
    graph = value.graph
    if graph is None:
        return []
    return [*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs)]


def before(anchor: ir.Node, value: ir.Value) -> ir.Value:
    """Moves the node that makes `value`, newly appended, to before `anchor`; returns `value`."""
    node, graph = value.producer(), anchor.graph
    if node is not None and graph is not None:
        graph.remove(node)
        graph.insert_before(anchor, node)
    return value


def put(g: GraphBuilder, anchor: ir.Node, node: ir.Node) -> ir.Node:
    """Inserts a node of any kind before `anchor`, its outputs named and typed; returns it."""
    for k, value in enumerate(node.outputs):
        value.name = g.fresh(f"{node.name}_out" if k == 0 else f"{node.name}_out{k}")
    infer_types(node)
    g.graph.insert_before(anchor, node)
    return node


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads `value`, through one input; None if others, or callers, do too."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    return uses[0].node


def elements(shape: tuple[int, ...]) -> int:
    """How many elements a tensor of this shape has."""
    return int(np.prod(shape, dtype=object)) if shape else 1


def bytes_of(value: ir.Value) -> int:
    """What a value of known shape takes in memory."""
    size = 0 if value.dtype is None else value.dtype.itemsize
    return int(elements(known_shape(value) or ()) * size)


def shown(model: ir.Model) -> dict[ir.Value, ir.Value]:
    """The values that only show another one's bytes in another shape or order, and which."""
    found: dict[ir.Value, ir.Value] = {}
    for node in model.graph:
        if shows(node) and node.inputs and node.inputs[0] is not None:
            found[node.outputs[0]] = found.get(node.inputs[0], node.inputs[0])
    return found


def run(model: ir.Model, passes: Sequence[Pass]) -> bool:
    """Runs the passes in order, again and again, until a round changes nothing.

    Returns whether anything changed. Raises ModelError when it does not come to rest.
    """
    for rounds in range(MAX_ROUNDS):
        changes = [each(model).modified for each in passes]
        if not any(changes):
            return rounds > 0
    raise ModelError(f"the passes {[type(p).__name__ for p in passes]} still change graph "
                     f"{model.graph.name!r} after {MAX_ROUNDS} rounds; please report the model")
