"""Where each value of a sequence network has its time axis, and that no operator mixes steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.base import Axes
from ganglion.ops.facts import axes_of, is_recurrent, worked_along
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.movement import permutation
from ganglion.ops.values import known_shape
from ganglion.passes.base import Pass

Axis = int | None


@dataclass
class Walk:
    """The time axis of every value that has one, of `steps` steps, found in order of the nodes.

    `shapes` collects, for each Reshape, its constant shape with one step in place of all;
    `last` the nodes that take the last step.
    """

    reads: Pass
    steps: int
    axes: dict[ir.Value, int]
    shapes: dict[ir.Node, tuple[int, ...]] = field(default_factory=dict)
    last: list[ir.Node] = field(default_factory=list)

    def visit(self, node: ir.Node) -> None:
        """Finds the axes of the node's outputs; UnsupportedOp where it mixes time steps."""
        if not any(v in self.axes for v in node.inputs if v is not None):
            if is_recurrent(node):
                raise self.refusal(node, "reads no time step")
            return
        rule = RULES.get(axes_of(node))
        if rule is None:
            raise self.refusal(node, "mixes time steps, or is not known not to")
        axis = rule(self, node)
        if axis is not None:
            outputs = node.outputs[:1] if is_recurrent(node) else node.outputs
            self.axes.update(dict.fromkeys(outputs, axis))

    def refusal(self, node: ir.Node, what: str) -> UnsupportedOp:
        return UnsupportedOp(f"node {node.name!r} ({node.op_type}) {what}, so the network cannot "
                             "run one time step at a time; compile it for whole sequences instead")

    def axis(self, node: ir.Node, index: int = 0) -> Axis:
        value = node.inputs[index] if len(node.inputs) > index else None
        return None if value is None else self.axes.get(value)

    def rank(self, value: ir.Value | None) -> int:
        return 0 if value is None or value.shape is None else len(value.shape)

    def ints(self, node: ir.Node, index: int) -> list[int] | None:
        value = node.inputs[index] if len(node.inputs) > index else None
        array = self.reads.constant(value)
        return None if array is None else [int(n) for n in np.reshape(array, -1)]

    def only_first(self, node: ir.Node) -> int:
        """The first input's axis; the other inputs must have no time."""
        axis = self.axis(node)
        if axis is None or any(self.axis(node, k) is not None for k in range(1, len(node.inputs))):
            raise self.refusal(node, "has time in an operand that is the same for all steps")
        return axis


def _elementwise(walk: Walk, node: ir.Node) -> Axis:
    """All operands agree on the axis, counted from the right; the others are the same for all."""
    rank = walk.rank(node.outputs[0])
    from_end = {walk.axes[v] - walk.rank(v) for v in node.inputs if v in walk.axes}
    if len(from_end) != 1:
        raise walk.refusal(node, "joins values whose time axes differ")
    back = from_end.pop()
    for value in node.inputs:
        shape = known_shape(value)
        if value is None or value in walk.axes or (shape is not None and len(shape) < -back):
            continue
        if shape is None or shape[back] != 1:
            raise walk.refusal(node, f"joins steps with {value.name!r}, which differs among them")
    return rank + back


def _transpose(walk: Walk, node: ir.Node) -> Axis:
    return permutation(node).index(walk.only_first(node))


def _matmul(walk: Walk, node: ir.Node) -> Axis:
    axis = walk.only_first(node)
    if walk.rank(node.inputs[1]) != 2 or axis == walk.rank(node.inputs[0]) - 1:
        raise walk.refusal(node, "mixes time steps")
    return axis


def _gemm(walk: Walk, node: ir.Node) -> Axis:
    axis = walk.only_first(node)
    bias = known_shape(node.inputs[2]) if len(node.inputs) > 2 else ()
    if axis != 0 or node.attributes.get_int("transA", 0) != 0 or bias is None \
            or (len(bias) == 2 and bias[0] != 1):
        raise walk.refusal(node, "mixes time steps")
    return axis


def _not_along(walk: Walk, node: ir.Node) -> Axis:
    """One axis is worked along: Softmax, Split. It must not be time."""
    axis, along = walk.only_first(node), worked_along(node)
    if along is None or along % walk.rank(node.inputs[0]) == axis:
        raise walk.refusal(node, "works along time")
    return axis


def _quantise(walk: Walk, node: ir.Node) -> Axis:
    axis, rank = walk.only_first(node), walk.rank(node.inputs[0])
    if known_shape(node.inputs[1]) != () and node.attributes.get_int("axis", 1) % rank == axis:
        raise walk.refusal(node, "has a scale for each time step")
    return axis


def _concat(walk: Walk, node: ir.Node) -> Axis:
    axes = {walk.axis(node, k) for k in range(len(node.inputs))}
    axis = axes.pop()
    along = node.attributes.get_int("axis", 0) % walk.rank(node.outputs[0])
    if axes or axis is None or along == axis:
        raise walk.refusal(node, "joins along time, or steps with what is no step")
    return axis


def _reduce(walk: Walk, node: ir.Node) -> Axis:
    axis, axes = walk.only_first(node), walk.ints(node, 1)
    if axes is None or not axes or axis in (axes := _positive(walk, node, axes)):
        raise walk.refusal(node, "reduces over time")
    return axis if node.attributes.get_int("keepdims", 1) else axis - sum(a < axis for a in axes)


def _squeeze(walk: Walk, node: ir.Node) -> Axis:
    axis, axes = walk.only_first(node), walk.ints(node, 1)
    if axes is None or axis in (axes := _positive(walk, node, axes)):
        raise walk.refusal(node, "removes the time axis")
    return axis - sum(a < axis for a in axes)


def _unsqueeze(walk: Walk, node: ir.Node) -> Axis:
    axis, axes = walk.only_first(node), walk.ints(node, 1)
    if axes is None:
        raise walk.refusal(node, "has computed axes")
    rank = walk.rank(node.outputs[0])
    return [k for k in range(rank) if k not in [a % rank for a in axes]][axis]


def _positive(walk: Walk, node: ir.Node, axes: list[int]) -> list[int]:
    return [a % walk.rank(node.inputs[0]) for a in axes]


def _layer_norm(walk: Walk, node: ir.Node) -> Axis:
    axis = walk.only_first(node)
    if axis >= node.attributes.get_int("axis", -1) % walk.rank(node.inputs[0]):
        raise walk.refusal(node, "normalises over time")
    return axis


def _batch_norm(walk: Walk, node: ir.Node) -> Axis:
    axis = walk.only_first(node)
    if axis == 1 or node.attributes.get_int("training_mode", 0) != 0:
        raise walk.refusal(node, "normalises over time")
    return axis


def _gather(walk: Walk, node: ir.Node) -> Axis:
    """An embedding keeps the time of its indices; taking the last step has no time any more."""
    along = node.attributes.get_int("axis", 0) % max(1, walk.rank(node.inputs[0]))
    if walk.axis(node) is None:
        return along + (walk.axis(node, 1) or 0)
    axis, taken = walk.only_first(node), walk.ints(node, 1)
    if along != axis:
        return axis if axis < along else axis - 1 + walk.rank(node.inputs[1])
    if taken in ([-1], [walk.steps - 1]) and walk.rank(node.inputs[1]) == 0:
        walk.last.append(node)
        return None
    raise walk.refusal(node, "picks time steps")


def _slice(walk: Walk, node: ir.Node) -> Axis:
    axis, starts = walk.only_first(node), known_shape(node.inputs[1])
    given = len(node.inputs) > 3 and node.inputs[3] is not None
    axes = walk.ints(node, 3) if given else list(range(starts[0])) if starts else None
    if axes is None or axis in _positive(walk, node, axes):
        raise walk.refusal(node, "picks time steps")
    return axis


def _pad(walk: Walk, node: ir.Node) -> Axis:
    axis, pads, rank = walk.only_first(node), walk.ints(node, 1), walk.rank(node.inputs[0])
    if pads is None or len(pads) != 2 * rank or pads[axis] or pads[axis + rank]:
        raise walk.refusal(node, "pads time")
    return axis


def _reshape(walk: Walk, node: ir.Node) -> Axis:
    """Time stays an axis of its own: as many elements before it, and as many steps."""
    axis = walk.only_first(node)
    before, after = known_shape(node.inputs[0]), known_shape(node.outputs[0])
    if before is None or after is None:
        raise walk.refusal(node, "has a dynamic shape")
    outer = int(np.prod(before[:axis]))
    for k, size in enumerate(after):
        if size == walk.steps and int(np.prod(after[:k])) == outer:
            walk.shapes[node] = (*after[:k], 1, *after[k + 1:])
            return k
    raise walk.refusal(node, "merges time with another axis")


def _recurrent(walk: Walk, node: ir.Node) -> Axis:
    """Y has its steps where X has them; Y_h and Y_c are what the step leaves."""
    direction = node.attributes.get("direction")
    found = "forward" if direction is None else direction.as_string()
    if found != "forward":
        raise walk.refusal(node, f"is {found}: it needs the steps to come")
    if walk.only_first(node) != 0 or node.attributes.get_int("layout", 0) != 0:
        raise walk.refusal(node, "does not have time first (layout 0)")
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        raise walk.refusal(node, "has sequence_lens")
    return 0


RULES: Mapping[Axes | None, Callable[[Walk, ir.Node], Axis]] = {
    Axes.SAME: Walk.only_first, Axes.BROADCAST: _elementwise, Axes.ALONG: _not_along,
    Axes.INNER: _layer_norm, Axes.CHANNELS: _batch_norm, Axes.ROUNDED: _quantise,
    Axes.PRODUCT: _matmul, Axes.ROWS: _gemm, Axes.PERMUTED: _transpose, Axes.JOINED: _concat,
    Axes.RESHAPED: _reshape, Axes.SQUEEZED: _squeeze, Axes.UNSQUEEZED: _unsqueeze,
    Axes.REDUCED: _reduce, Axes.PICKED: _gather, Axes.CUT: _slice, Axes.PADDED: _pad,
    Axes.STEPS: _recurrent}
"""The time axis of the outputs, by how axes pass through a node that works on each step alone;
others mix steps, or are not known not to."""


def one_step(walk: Walk, g: GraphBuilder) -> None:
    """Writes one step in place of all into constant shapes and indices."""
    for node, shape in walk.shapes.items():
        if len(node.inputs) > 1:
            node.replace_input_with(1, g.ints(*shape))
            node.attributes.pop("allowzero", None)
    for node in walk.last:
        node.replace_input_with(1, g.constant(np.asarray(0, np.int64)))
