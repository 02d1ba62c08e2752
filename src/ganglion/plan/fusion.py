"""Which nodes become one loop: element-wise nodes are gathered into groups before lowering."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from ganglion.ops.bindings import bindings
from ganglion.ops.values import static_shape


@dataclass(eq=False)
class Unit:
    """Nodes that are lowered together: one node, or a group of element-wise ones in order.

    `result_shape`: for a group, the shape that its loop runs over.
    """

    nodes: list[ir.Node]
    pointwise: bool
    result_shape: tuple[int, ...] = ()
    needs: set["Unit"] = field(default_factory=set)

    def inputs(self) -> list[ir.Value]:
        """Values from outside, each once, in order of first use."""
        inside = {v for n in self.nodes for v in n.outputs}
        found: dict[ir.Value, None] = {}
        for node in self.nodes:
            for value in node.inputs:
                if value is not None and value not in inside:
                    found[value] = None
        return list(found)

    def results(self) -> list[ir.Value]:
        """Values that somebody outside reads: other nodes or the graph's outputs."""
        inside = set(self.nodes)
        return [v for n in self.nodes for v in n.outputs
                if v.is_graph_output() or any(u.node not in inside for u in v.uses())]


def group(nodes: Sequence[ir.Node], pointwise: Mapping[ir.Node, bool]) -> list[Unit]:
    """Units in topological order.

    An element-wise node joins the group of its consumers when they all are in one and loop over
    the same shape: then nothing outside can stand between, and only a value that somebody else
    reads too is written to memory.
    """
    unit_of: dict[ir.Node, Unit] = {}
    units: list[Unit] = []
    for node in reversed(nodes):
        shape = static_shape(node.outputs[0]) if pointwise[node] else ()
        consumers = {unit_of[u.node] for v in node.outputs for u in v.uses() if u.node in unit_of}
        home = next(iter(consumers)) if len(consumers) == 1 else None
        if home is None or not pointwise[node] or not home.pointwise or home.result_shape != shape:
            home = Unit([], pointwise[node], shape)
            units.append(home)
        home.nodes.insert(0, node)
        unit_of[node] = home
    for node in nodes:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and unit_of[producer] is not unit_of[node]:
                unit_of[node].needs.add(unit_of[producer])
    return _topological(units[::-1])


def absorb(kernel: Unit, epilogue: Unit, units: list[Unit]) -> None:
    """Makes a group part of the unit whose result it reads."""
    kernel.nodes += epilogue.nodes
    kernel.needs |= epilogue.needs - {kernel}
    units.remove(epilogue)
    for unit in units:
        if epilogue in unit.needs:
            unit.needs.discard(epilogue)
            unit.needs.add(kernel)


def schedule(units: Sequence[Unit], model: ir.Model, views: Mapping[ir.Value, ir.Value]
             ) -> list[Unit]:
    """An order of execution: data flow, and updates of bound state behind its last reader.

    `views` maps a value to the one whose bytes it shows, so that a reader of a transposed weight
    counts as a reader of the weight. An update that would have to wait for itself is left free:
    it is computed aside and copied at the end.
    """
    producer = {v: u for u in units for n in u.nodes for v in n.outputs}
    readers: dict[ir.Value, list[Unit]] = {}
    for unit in units:
        for value in unit.inputs():
            while value in views:
                value = views[value]
            readers.setdefault(value, []).append(unit)
    named = {v.name: v for v in [*model.graph.inputs, *model.graph.outputs]}
    for binding in bindings(model):
        source = named[binding.output]
        while source in views:
            source = views[source]
        writer = producer.get(source)
        if writer is None:
            continue
        for reader in readers.get(named[binding.input], []):
            if reader is not writer and not _reaches(writer, reader):
                writer.needs.add(reader)
    return _topological(units)


def _reaches(source: Unit, goal: Unit) -> bool:
    """Whether `goal` needs `source`, directly or not."""
    seen, stack = set(), [goal]
    while stack:
        unit = stack.pop()
        if unit is source:
            return True
        if unit not in seen:
            seen.add(unit)
            stack.extend(unit.needs)
    return False


def _topological(units: Sequence[Unit]) -> list[Unit]:
    place = {unit: i for i, unit in enumerate(units)}
    waiting = {unit: len(unit.needs) for unit in units}
    followers: dict[Unit, list[Unit]] = {unit: [] for unit in units}
    for unit in units:
        for need in unit.needs:
            followers[need].append(unit)
    heap = [place[u] for u in units if not waiting[u]]
    heapq.heapify(heap)
    order = []
    while heap:
        unit = units[heapq.heappop(heap)]
        order.append(unit)
        for follower in followers[unit]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(heap, place[follower])
    return order
