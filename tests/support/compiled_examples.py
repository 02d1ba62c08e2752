"""Which examples of rows compile, and which of their gradients; all of them as one network."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from tests.support.op_examples import Example, all_examples

from ganglion.ops.base import GANGLION_DOMAIN, Kernel
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import find
from ganglion.plan.lowering import LOWERINGS


def compiled_examples() -> list[Example]:
    """The examples that the planner takes."""
    return [e for e in all_examples()
            if (row := find(e.domain, e.op)) is not None and row.lower]


def gradient_compiles(example: Example) -> bool:
    """Whether the planner takes the row's gradient too."""
    row, own = find("", example.op), find(GANGLION_DOMAIN, f"{example.op}Grad")
    return (row is not None and row.vjp is not None
            and (own is None or not isinstance(own.lower, Kernel)
                 or own.lower.family in LOWERINGS))


def prefix(example: Example) -> str:
    """What the names of an example's values begin with in `network`."""
    return f"{str(example).lower().replace('-', '_')}_"


def network(examples: Sequence[Example]) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """The examples and their gradients side by side, and what to feed."""
    g = GraphBuilder("rows")
    feeds: dict[str, np.ndarray] = {}
    for example in examples:
        node = example.add_to(g, prefix(example))
        feeds |= example.feeds(prefix(example))
        if gradient_compiles(example):
            drawn, _ = example.add_gradient(g, node, prefix(example))
            feeds |= {k: a.astype(np.float32) for k, a in drawn.items()}
    return g.model(), feeds
