"""State of a graph under construction: bound inputs, and what each becomes at the next call."""

from copy import copy

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Array
from ganglion.ops.bindings import Binding, set_bindings
from ganglion.ops.graph import GraphBuilder


class State:
    """Collects bindings while a graph is built.

    The following value is made a graph output at once and kept by its name, because a gradient
    rule may put another node in the place of the one that gives it (`GraphBuilder.take_over`).
    """

    def __init__(self, g: GraphBuilder) -> None:
        self.g = g
        self._next: dict[ir.Value, str | None] = {}
        self._mask: ir.Value | None = None

    def when(self, mask: ir.Value) -> "State":
        """The same state, through which values change in calls where `mask`, a bool of shape [],
        holds, and stay as they are in others."""
        gated = copy(self)
        gated._mask = mask
        return gated

    def tensor(self, name: str, initial: Array) -> ir.Value:
        """A new bound input that starts as `initial`."""
        return self.adopt(self.g.constant(initial, name, share=False))

    def adopt(self, value: ir.Value) -> ir.Value:
        """Makes an initializer of the graph a bound input, with its tensor as the first value."""
        if not value.is_graph_input():
            self.g.graph.inputs.append(value)
        self._next[value] = None
        return value

    def becomes(self, value: ir.Value, following: ir.Value) -> None:
        """`following` is what `value` will be at the next call; said once for each value."""
        if self._mask is not None:
            following = self.g.where(self._mask, following, value)
        self._next[value] = self.g.output(f"{value.name}.next", following).name

    def finish(self, model: ir.Model) -> None:
        """Puts the bound outputs behind all others, in the order of their inputs, and writes the
        bindings. A value that becomes nothing stays as it is."""
        for value, name in self._next.items():
            if name is None:
                self.becomes(value, value)
        by_name = {v.name: v for v in model.graph.outputs}
        bound = [by_name[name] for name in self._next.values()]
        others = [v for v in model.graph.outputs if v not in bound]
        model.graph.outputs.clear()
        model.graph.outputs.extend([*others, *bound])
        set_bindings(model, [Binding(str(name), str(value.name))
                             for value, name in self._next.items()])


def zeros_like(value: ir.Value) -> Array:
    """float32 zeros of the value's shape, as most optimiser slots start."""
    shape = [] if value.shape is None else [int(d) for d in value.shape if isinstance(d, int)]
    return np.zeros(shape, np.float32)
