"""Fewer values alive at once, by the order of the nodes alone."""

from collections.abc import Mapping

import onnx_ir as ir

from ganglion.ops.bindings import bindings
from ganglion.passes.base import Pass, bytes_of, shown


class ShortenLives(Pass):
    """every gradient, then every update  ⇒  each update right behind its gradient

    Walks the nodes in their order; whatever can be computed by then without holding more memory
    than before (a gradient that was the last reader of a large activation, the update that was the
    last reader of that gradient) comes first. An update of bound state waits for all readers of the
    old value, so that it is done in place. Exact: no node changes.

    Updating as soon as a gradient is there: Lv et al., "Full Parameter Fine-tuning for Large
    Language Models with Limited Resources" (ACL 2024), section 3.2; Lin et al., "On-Device Training
    Under 256KB Memory" (NeurIPS 2022), section 2.3.
    """

    def rewrite(self, model: ir.Model) -> bool:
        before = list(model.graph)
        order = _Walk(model).order()
        if order == before:
            return False
        for node in order:
            model.graph.remove(node)
            model.graph.append(node)
        return True


class _Walk:
    """The walk: what each node waits for, and which buffers it was the last to read."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = list(model.graph)
        self.place = {node: k for k, node in enumerate(self.nodes)}
        self.roots = shown(model)
        self.left: dict[ir.Value, int] = {}
        self.waits = {node: len(_producers(node)) for node in self.nodes}
        self.followers: dict[ir.Node, list[ir.Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for producer in _producers(node):
                self.followers[producer].append(node)
            for root in self._read(node):
                self.left[root] = self.left.get(root, 0) + 1
        for value in model.graph.outputs:
            root = self.roots.get(value, value)
            self.left[root] = self.left.get(root, 0) + 1
        self._hold_back(model)

    def order(self) -> list[ir.Node]:
        done: dict[ir.Node, None] = {}
        ready: dict[ir.Node, None] = dict.fromkeys(n for n in self.nodes if not self.waits[n])
        for node in self.nodes:
            while node not in done:
                free = [n for n in ready if self._growth(n) <= 0]
                chosen = min(free, key=self.place.__getitem__, default=node)
                done[chosen] = None
                ready.pop(chosen, None)
                for root in self._read(chosen):
                    self.left[root] -= 1
                for follower in self.followers[chosen]:
                    self.waits[follower] -= 1
                    if not self.waits[follower]:
                        ready[follower] = None
        return list(done)

    def _growth(self, node: ir.Node) -> int:
        """Bytes alive after the node less those before it."""
        made = sum(bytes_of(v) for v in node.outputs
                   if self.roots.get(v, v) is v and self.left.get(v))
        return made - sum(bytes_of(r) for r in self._read(node) if self.left[r] == 1)

    def _read(self, node: ir.Node) -> set[ir.Value]:
        """The buffers that a node reads, inputs and constants left out."""
        roots = {self.roots.get(v, v) for v in node.inputs if v is not None}
        return {r for r in roots if r.producer() is not None}

    def _hold_back(self, model: ir.Model) -> None:
        """Lets what makes a bound output wait for the readers of the input that it replaces."""
        named = {v.name: v for v in [*model.graph.inputs, *model.graph.outputs]}
        for binding in bindings(model):
            writer = named[binding.output].producer()
            if writer is None:
                continue
            for reader in _readers(named[binding.input], self.roots):
                if reader is not writer and self.place[reader] < self.place[writer]:
                    self.followers[reader].append(writer)
                    self.waits[writer] += 1


def _producers(node: ir.Node) -> set[ir.Node]:
    return {p for v in node.inputs if v is not None and (p := v.producer()) is not None}


def _readers(value: ir.Value, roots: Mapping[ir.Value, ir.Value]) -> set[ir.Node]:
    """The nodes that read a value or what shows its bytes."""
    found, stack = set(), [value]
    while stack:
        for use in stack.pop().uses():
            found.add(use.node)
            stack.extend(v for v in use.node.outputs if v in roots)
    return found
