"""Activations that the backward pass needs, computed a second time instead of kept.

The forward nodes (those that the loss depends on) are cut into segments. What a later segment reads
is kept; everything else that the backward pass reads is computed again, segment by segment, from
what was kept in front of it, right before the backward pass first asks for it. Chen, Xu, Zhang and
Guestrin, "Training Deep Nets with Sublinear Memory Cost" (2016), section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops import marks
from ganglion.ops.bindings import bindings
from ganglion.ops.facts import is_op, is_random
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import BATCH_NORMALIZATION
from ganglion.passes.base import bytes_of, shown


@dataclass(frozen=True)
class Buffer:
    """The bytes of one forward value: made by forward node `made`, last read by forward node
    `read`; `needed` by the backward pass, and whether it may be `dropped`."""

    value: ir.Value
    made: int
    read: int
    nbytes: int
    needed: bool
    dropped: bool


@dataclass(frozen=True)
class Forward:
    """The forward nodes of a training step, in order, and their buffers."""

    nodes: tuple[ir.Node, ...]
    buffers: tuple[Buffer, ...]
    roots: dict[ir.Value, ir.Value]


def forward_part(model: ir.Model, loss: str, keep: Callable[[ir.Node], bool] | None = None
                 ) -> Forward:
    """What the output `loss` depends on. `keep`: nodes whose results are kept whatever the cuts.

    Raises ModelError when there is no such output.
    """
    result = next((v for v in model.graph.outputs if v.name == loss), None)
    if result is None:
        raise ModelError(f"the graph has no output {loss!r}; it has "
                         f"{[v.name for v in model.graph.outputs]}")
    needed_by = _ancestors(result)
    nodes = [n for n in model.graph if n in needed_by]
    index = {node: k for k, node in enumerate(nodes)}
    roots = shown(model)
    last: dict[ir.Value, int] = {}
    backward: set[ir.Value] = set()
    for node in model.graph:
        if any(v in roots for v in node.outputs):
            continue
        for root in {roots.get(v, v) for v in node.inputs if v is not None}:
            if node in index:
                last[root] = index[node]
            else:
                backward.add(root)
    fixed = {roots.get(v, v) for v in model.graph.outputs}
    moved = {b.output for b in bindings(model)}
    buffers = []
    for k, node in enumerate(nodes):
        if any(v in roots for v in node.outputs):
            continue
        may = not (is_random(node) or (keep is not None and keep(node))
                   or (any(v.name in moved for v in node.outputs) and not _normalises(node)))
        buffers += [Buffer(v, k, last.get(v, k), bytes_of(v), v in backward, may and v not in fixed)
                    for v in node.outputs if v.uses()]
    return Forward(tuple(nodes), tuple(buffers), roots)


def recompute(model: ir.Model, loss: str, cuts: Sequence[int],
              keep: Callable[[ir.Node], bool] | None = None) -> bool:
    """y = f(x); ...; g(y)  ⇒  y = f(x); ...; y' = f(x); g(y')

    `cuts`: numbers of the forward nodes that begin a segment; the last segment keeps everything.
    The Model must be prepared and its nodes in the order of execution. Exact: what is computed
    again is computed alike. Returns whether anything changed; ModelError as `forward_part`.
    """
    part = forward_part(model, loss, keep)
    edges = [0, *sorted({c for c in cuts if 0 < c < len(part.nodes)})]
    changes = []
    for number, (begin, end) in enumerate(pairwise(edges)):
        changes.append(_again(model, part, begin, end, number))
    return any(changes)


def _again(model: ir.Model, part: Forward, begin: int, end: int, number: int) -> bool:
    """Lets the backward pass read second copies of what the segment [begin, end) does not keep."""
    forward = {node: k for k, node in enumerate(part.nodes)}
    dropped = {b.value for b in part.buffers
               if begin <= b.made < end and b.read < end and b.dropped}

    def read(node: ir.Node) -> list[ir.Value]:
        return [v for v in node.inputs if v is not None and part.roots.get(v, v) in dropped
                and v.producer() in forward]

    readers = [n for n in model.graph if n not in forward and marks.AGAIN not in n.metadata_props
               and read(n)]
    wanted = [v for n in readers for v in read(n)]
    order = sorted(_sources(wanted, part, dropped), key=forward.__getitem__)
    if not order:
        return False
    g = GraphBuilder.extending(model)
    copies: dict[ir.Value, ir.Value] = {}
    for node in order:
        copy = _copy(g, node, copies, number)
        model.graph.insert_before(readers[0], copy)
        copies |= dict(zip(node.outputs, copy.outputs))
    for node in readers:
        for k, value in enumerate(node.inputs):
            if value in copies:
                node.replace_input_with(k, copies[value])
    return True


def _sources(wanted: Sequence[ir.Value], part: Forward, dropped: set[ir.Value]) -> set[ir.Node]:
    """The nodes that make these values from what is kept."""
    found: set[ir.Node] = set()
    stack = list(wanted)
    while stack:
        value = stack.pop()
        node = value.producer()
        if node is None or node in found or part.roots.get(value, value) not in dropped:
            continue
        found.add(node)
        stack.extend(v for v in node.inputs if v is not None)
    return found


def _copy(g: GraphBuilder, node: ir.Node, copies: dict[ir.Value, ir.Value],
          number: int) -> ir.Node:
    inputs = [None if v is None else copies.get(v, v) for v in node.inputs]
    if _normalises(node):
        # Their batch's result does not depend on the running statistics, which move meanwhile.
        inputs[3:5] = [_zeros(g, v) for v in inputs[3:5]]
    copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()),
                   num_outputs=len(node.outputs), name=g.fresh(f"{node.name}.again"))
    copy.metadata_props.update(node.metadata_props)
    copy.metadata_props[marks.AGAIN] = str(number)
    for old, new in zip(node.outputs, copy.outputs):
        new.name = g.fresh(f"{old.name}.again") if old.name else ""
        new.type, new.shape = old.type, old.shape
    return copy


def _zeros(g: GraphBuilder, like: ir.Value | None) -> ir.Value | None:
    if like is None or like.dtype is None or like.shape is None:
        return like
    return g.constant(np.zeros(like.shape.numpy(), like.dtype.numpy()), "no_statistics")


def _normalises(node: ir.Node) -> bool:
    """Whether the node is a BatchNormalization that learns its running statistics."""
    return is_op(node, BATCH_NORMALIZATION) and len(node.outputs) > 1


def _ancestors(value: ir.Value) -> set[ir.Node]:
    found: set[ir.Node] = set()
    stack = [value]
    while stack:
        node = stack.pop().producer()
        if node is not None and node not in found:
            found.add(node)
            stack.extend(v for v in node.inputs if v is not None)
    return found
