"""What to quantise: which nodes compute on codes, which values carry them, which share a scale."""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.scales import SIGNED_UNIT, UNIT, Scale
from ganglion.ops.base import Axes, Moves
from ganglion.ops.facts import (
    axes_of,
    is_even,
    is_inexact,
    is_op,
    is_pointwise,
    is_product,
    limits_of,
    movement,
    units_of,
)
from ganglion.ops.named import (
    ADD,
    CLIP,
    DIV,
    GEMM,
    MATMUL,
    PAD,
    REDUCE_MEAN,
    RELU,
    RESIZE,
)
from ganglion.passes.base import only_reader
from ganglion.passes.quantized.qdq import array_of, is_constant

FIXED: dict[tuple[float, float], Scale] = {(0, 1): UNIT, (-1, 1): SIGNED_UNIT}
"""Results with a data range of their own, whatever the calibration saw."""


@dataclass(frozen=True)
class Group:
    """Values with one scale. `symmetric`: zero point 0. `fixed`: known without calibration.

    `bounds`: no code may stand for a number outside (a Clip's range).
    """

    values: tuple[ir.Value, ...]
    symmetric: bool
    fixed: Scale | None
    bounds: tuple[float, float]


@dataclass
class _Groups:
    """Union of values that share a scale."""

    parent: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def root(self, value: ir.Value) -> ir.Value:
        while self.parent.setdefault(value, value) is not value:
            value = self.parent[value]
        return value

    def join(self, a: ir.Value, b: ir.Value) -> None:
        self.parent[self.root(b)] = self.root(a)


def is_activation(value: ir.Value | None) -> bool:
    """A float32 value that depends on the network's inputs."""
    return (value is not None and not is_constant(value) and value.dtype == ir.DataType.FLOAT)


def integer_nodes(graph: ir.Graph) -> dict[ir.Node, None]:
    """The nodes that will compute on codes, in order.

    Products always; the others where everything they read is an input or comes from such a node,
    so that an island of float operators (a layer normalisation, an LSTM) stays whole. A run of
    nodes that only move numbers between float operators is left out: codes would gain nothing.
    """
    chosen: dict[ir.Node, None] = {}
    for node in graph:
        if node.domain != "":
            continue
        if is_product(node):
            if _product_fits(node):
                chosen[node] = None
            continue
        reads = [v for v in node.inputs if is_activation(v)]
        known = [v for v in reads if v is not None
                 and (v.producer() is None or v.producer() in chosen)]
        if reads and len(known) == len(reads) and _supported(node):
            chosen[node] = None
    useful = {node for run in _runs(chosen) if any(not moves(n) for n in run)
              for node in run}
    return {node: None for node in chosen if node in useful}


def moves(node: ir.Node) -> bool:
    """Whether the node hands elements on as they are, so that codes pass through it."""
    return is_even(node) and movement(node) is not None


def _runs(chosen: dict[ir.Node, None]) -> list[list[ir.Node]]:
    """The chosen nodes, those that hand values to each other together."""
    run_of: dict[ir.Node, list[ir.Node]] = {}
    for node in chosen:
        mine = [node]
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if maker is not None and maker in run_of and run_of[maker] is not mine:
                mine = [*run_of[maker], *mine]
                run_of.update(dict.fromkeys(mine, mine))
        run_of.update(dict.fromkeys(mine, mine))
    return list({id(run): run for run in run_of.values()}.values())


def _supported(node: ir.Node) -> bool:
    if not all(is_activation(v) for v in node.outputs if v.name):
        return False
    if is_op(node, DIV) and not is_constant(node.inputs[1]):
        return False
    if is_op(node, RESIZE) and not moves(node):
        return False
    if is_op(node, PAD):
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        return fill is None or (is_constant(fill) and not array_of(fill).any())
    if is_op(node, REDUCE_MEAN):
        return _over_space(node)
    return is_even(node)


def _over_space(node: ir.Node) -> bool:
    x = node.inputs[0]
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or not is_constant(axes) or x is None or x.shape is None:
        return False
    rank = len(x.shape)
    reduced = {int(a) % rank for a in array_of(axes).reshape(-1)}
    return rank >= 3 and 0 not in reduced and len(reduced) == rank - 2


def _product_fits(node: ir.Node) -> bool:
    """Whether one input is an activation and the bias, if any, a constant."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_constant(bias):
        return False
    if is_op(node, GEMM):
        alpha, beta = (node.attributes.get(n) for n in ("alpha", "beta"))
        if any(a is not None and a.as_float() != 1.0 for a in (alpha, beta)):
            return False
    if not is_op(node, MATMUL) and not is_constant(node.inputs[1]):
        return False
    return is_activation(node.inputs[0])


def bias_add(node: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The Add of a constant row [N] behind a MatMul by constant weights, and that constant."""
    if not is_op(node, MATMUL) or not is_constant(node.inputs[1]):
        return None
    add = only_reader(node.outputs[0])
    if add is None or not is_op(add, ADD):
        return None
    other = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    weights = node.inputs[1]
    if other is None or weights is None or not is_constant(other):
        return None
    shape, columns = array_of(other).shape, array_of(weights).shape[-1]
    fits = len(shape) > 0 and shape[-1] == columns and all(d == 1 for d in shape[:-1])
    return (add, other) if fits and array_of(weights).ndim == 2 else None


def interior(chosen: dict[ir.Node, None]) -> set[ir.Value]:
    """Values inside an island, which never become codes.

    A product's result before its bias, Relu or Clip; an element-wise result that one other
    element-wise node reads, as long as the island stays exact: with a function in it that targets
    round differently, it may read one tensor only (constants of many elements count), so that it
    becomes a table.
    """
    inside: set[ir.Value] = set()
    sources: dict[ir.Value, set[ir.Value]] = {}
    curved: set[ir.Value] = set()
    fused: set[ir.Node] = set()
    for node in chosen:
        y = node.outputs[0]
        if is_product(node):
            followers = _fused(node, chosen)
            inside.update(n.outputs[0] for n in (node, *followers)[:len(followers)])
            fused.update(followers)
        elif is_even(node) and is_pointwise(node) and node not in fused:
            reads = [v for v in node.inputs if v is not None and _varies(v)]
            inner = [v for v in reads if v in sources and only_reader(v) is node]
            found = set().union(*(sources[v] if v in inner else {v} for v in reads))
            bends = is_inexact(node) or any(v in curved for v in inner)
            if bends and len(found) > 1:
                inner = [v for v in inner if v not in curved and not is_inexact(node)]
                found = set().union(*(sources[v] if v in inner else {v} for v in reads))
                bends = is_inexact(node)
            inside.update(inner)
            sources[y] = found
            if bends:
                curved.add(y)
    return inside


def _varies(value: ir.Value) -> bool:
    """Whether its elements differ from one position to another."""
    return is_activation(value) or (is_constant(value) and array_of(value).size > 1)


def _fused(node: ir.Node, chosen: dict[ir.Node, None]) -> list[ir.Node]:
    """The nodes that a product's integer kernel takes over: the bias, then a clamp."""
    found: list[ir.Node] = []
    add = bias_add(node)
    if add is not None and add[0] in chosen:
        found.append(add[0])
    clamp = only_reader((found or [node])[-1].outputs[0])
    if clamp is not None and _clamps(clamp, chosen):
        found.append(clamp)
    return found


def _clamps(node: ir.Node, chosen: dict[ir.Node, None]) -> bool:
    return (node in chosen and is_op(node, RELU, CLIP)
            and all(v is None or is_constant(v) for v in node.inputs[1:]))


def carriers(chosen: dict[ir.Node, None]) -> list[ir.Value]:
    """The values that become codes: read or written by a chosen node and not interior."""
    inside = interior(chosen)
    found: dict[ir.Value, None] = {}
    for node in chosen:
        for value in (*node.inputs, *node.outputs):
            if value is not None and is_activation(value) and value not in inside:
                found[value] = None
    return list(found)


def groups(values: list[ir.Value], chosen: dict[ir.Node, None]) -> list[Group]:
    """The carriers, those that must share a scale together."""
    union, wanted, symmetric = _Groups(), set(values), set()
    for value in values:
        union.root(value)
    for node in chosen:
        ends = [v for v in node.outputs if v in wanted]
        if moves(node):
            several = movement(node) is Moves.JOIN
            ends += [v for v in (node.inputs if several else node.inputs[:1])
                     if v is not None and v in wanted]
        for other in ends[1:]:
            union.join(ends[0], other)
        if is_op(node, MATMUL) and node.inputs[1] in wanted:
            symmetric.add(node.inputs[1])
    members: dict[ir.Value, list[ir.Value]] = {}
    for value in values:
        members.setdefault(union.root(value), []).append(value)
    return [Group(tuple(m), any(v in symmetric for v in m), _fixed(m), _bounds(m))
            for m in members.values()]


def _origins(members: list[ir.Value]) -> list[ir.Node | None]:
    """The nodes that make a group's numbers, None for an input of the network."""
    made = [v.producer() for v in members]
    return [n for n in made if n is None or not moves(n)]


def _fixed(members: list[ir.Value]) -> Scale | None:
    scales = {FIXED.get(limits_of(n)) for n in _origins(members)}
    return scales.pop() if len(scales) == 1 else None


def _bounds(members: list[ir.Value]) -> tuple[float, float]:
    found = [_clip_bounds(n) for n in _origins(members)]
    if not found:
        return (-np.inf, np.inf)
    return min(b[0] for b in found), max(b[1] for b in found)


def _clip_bounds(node: ir.Node | None) -> tuple[float, float]:
    """What a node's results cannot leave."""
    if node is None or not is_op(node, CLIP):
        return limits_of(node)
    ends = [*node.inputs[1:], None, None][:2]
    lo, hi = (float(array_of(v).reshape(())) if v is not None and is_constant(v) else None
              for v in ends)
    return (-np.inf if lo is None else lo, np.inf if hi is None else hi)


def weight_axis(node: ir.Node) -> int | None:
    """The axis of output channels in a product's second input; None where one scale must do."""
    weights = node.inputs[1]
    if weights is None or not is_constant(weights):
        return None
    if axes_of(node) is Axes.SPREAD and node.attributes.get_int("group", 1) != 1:
        return None
    rank = array_of(weights).ndim
    return None if is_op(node, MATMUL) and rank != 2 else units_of(node) % rank
