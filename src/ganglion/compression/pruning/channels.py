"""Following channels through a network: which units of which layers stand or fall together.

Every output unit of a convolution or dense layer is an atom. A value carries atoms along at most
one axis (`Line`); operators move, join or stop them. What cannot be followed freezes its atoms.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Axes
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import axes_of, units_of, worked_along
from ganglion.ops.values import static_shape
from ganglion.passes.infer import fix_shapes, require_static
from ganglion.passes.quantized.qdq import array_of, is_constant

FIXED = 0
"""The atom of every unit that must stay."""


@dataclass(frozen=True)
class Line:
    """The atoms of a value along one axis; all else about the value does not depend on them."""

    axis: int
    atoms: np.ndarray


@dataclass(frozen=True)
class Cut:
    """A constant input whose slices along `axis` belong to atoms."""

    node: ir.Node
    place: int
    axis: int
    atoms: np.ndarray


@dataclass(frozen=True)
class Layer:
    """A layer that makes atoms: one a unit, weights along `axis` of input 1."""

    node: ir.Node
    axis: int
    atoms: np.ndarray


@dataclass
class Channels:
    """All atoms of a network (a union-find), and what must be cut when some of them go.

    `sizes`: every value's shape by its name. `depthwise`: grouped convolutions whose `group`
    counts atoms. `reshapes`: nodes whose constant shape counts those of their output.
    """

    sizes: Mapping[str, list[int]]
    parent: list[int] = field(default_factory=lambda: [FIXED])
    reasons: dict[int, str] = field(default_factory=lambda: {
        FIXED: "it is added to, or multiplied with, a tensor whose size is fixed"})
    lines: dict[ir.Value, Line] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    depthwise: list[tuple[ir.Node, np.ndarray]] = field(default_factory=list)
    reshapes: list[tuple[ir.Node, Line]] = field(default_factory=list)

    def root(self, atom: int) -> int:
        while self.parent[atom] != atom:
            self.parent[atom] = self.parent[self.parent[atom]]
            atom = self.parent[atom]
        return atom

    def roots(self, atoms: np.ndarray) -> np.ndarray:
        return np.array([self.root(int(a)) for a in atoms], np.int64)

    def new(self, count: int) -> np.ndarray:
        """Fresh atoms; a single unit cannot be taken away and is fixed."""
        if count == 1:
            return np.array([FIXED])
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        """From now on a[i] and b[i] stay or go together."""
        for one, other in zip(a, b):
            x, y = self.root(int(one)), self.root(int(other))
            if x == y:
                continue
            x, y = min(x, y), max(x, y)
            self.parent[y] = x
            if y in self.reasons:
                self.reasons.setdefault(x, self.reasons[y])

    def freeze(self, line: Line | None, reason: str) -> None:
        """The atoms must stay."""
        if line is not None:
            for atom in np.unique(self.roots(line.atoms)):
                self.reasons.setdefault(int(atom), reason)

    def dims(self, value: ir.Value | None) -> list[int]:
        """The shape of a value; that of an input left out is []."""
        return [] if value is None else self.sizes[value.name or ""]

    def line(self, value: ir.Value | None) -> Line | None:
        return None if value is None else self.lines.get(value)

    def put(self, value: ir.Value, line: Line | None) -> None:
        if line is not None and (line.atoms != FIXED).any():
            self.lines[value] = line

    def cut(self, node: ir.Node, place: int, axis: int, atoms: np.ndarray) -> bool:
        """Notes that a constant input is to be cut with these atoms; freezes them if it cannot."""
        value = node.inputs[place] if len(node.inputs) > place else None
        if value is None:
            return True
        tied = is_constant(value) and array_of(value).ndim > 1 and len(value.uses()) > 1
        if not is_constant(value) or tied:
            what = "is used by several nodes" if tied else "is not a constant"
            self.freeze(Line(0, atoms), f"input {value.name!r} of node {node.name!r} {what}")
            return False
        self.cuts.append(Cut(node, place, axis, atoms))
        return True


Rule = Callable[[Channels, ir.Node], None]


def trace(model: ir.Model) -> Channels:
    """Follows all channels. Raises ModelError where an inner dimension is not a number."""
    found = Channels(_sizes(model))
    for node in model.graph:
        RULES.get(axes_of(node), _stop)(found, node)
    for value in model.graph.outputs:
        found.freeze(found.line(value), "its units are an output of the network")
    return found


def _sizes(model: ir.Model) -> dict[str, list[int]]:
    """The shape of every value by its name, for a batch of one where the batch is open."""
    fixed = model.clone()
    fix_shapes(fixed, batch=1)
    require_static(fixed)
    values = [*fixed.graph.inputs, *fixed.graph.initializers.values(),
              *(v for node in fixed.graph for v in node.outputs)]
    return {v.name or "": list(static_shape(v)) for v in values if v.name}


def _stop(found: Channels, node: ir.Node) -> None:
    """An operator that is not followed: what it reads must stay as it is."""
    for value in node.inputs:
        found.freeze(found.line(value), f"it feeds node {node.name!r} ({node.op_type}), through "
                                        "which channels cannot be followed")


def _on_axis(found: Channels, node: ir.Node, place: int, axis: int) -> Line | None:
    """The input's line if it runs along `axis`; another one is frozen."""
    line = found.line(node.inputs[place])
    if line is not None and line.axis != axis % len(found.dims(node.inputs[place])):
        found.freeze(line, f"node {node.name!r} ({node.op_type}) mixes its other axes")
        return None
    return line


def _layer(found: Channels, node: ir.Node, line: Line | None, into: int, out: int,
           count: int, out_axis: int) -> None:
    """Weights cut along `into` by what is read; fresh atoms along `out` of the weights."""
    if line is not None:
        found.cut(node, 1, into, line.atoms)
    atoms = found.new(count)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    found.cut(node, 1, out, atoms)
    if bias is not None and (not is_constant(bias) or array_of(bias).size > 1):
        found.cut(node, 2, len(found.dims(bias)) - 1, atoms)
    found.layers.append(Layer(node, out, atoms))
    found.put(node.outputs[0], Line(out_axis, atoms))


def _conv(found: Channels, node: ir.Node) -> None:
    weights, groups = found.dims(node.inputs[1]), node.attributes.get_int("group", 1)
    line = _on_axis(found, node, 0, 1)
    if groups == 1:
        _layer(found, node, line, 1, 0, weights[0], 1)
        return
    if line is None or weights[1] != 1 or groups != len(line.atoms):
        _stop(found, node)
        return
    atoms = np.repeat(line.atoms, weights[0] // groups)
    found.cut(node, 1, 0, atoms)
    found.cut(node, 2, 0, atoms)
    found.depthwise.append((node, line.atoms))
    found.put(node.outputs[0], Line(1, atoms))


def _conv_transpose(found: Channels, node: ir.Node) -> None:
    if node.attributes.get_int("group", 1) != 1:
        _stop(found, node)
        return
    _layer(found, node, _on_axis(found, node, 0, 1), 0, 1, found.dims(node.inputs[1])[1], 1)


def _gemm(found: Channels, node: ir.Node) -> None:
    if node.attributes.get_int("transA", 0) or not is_constant(node.inputs[1]):
        _stop(found, node)
        return
    out = units_of(node)
    units = found.dims(node.inputs[1])[out]
    _layer(found, node, _on_axis(found, node, 0, 1), 1 - out, out, units, 1)


def _matmul(found: Channels, node: ir.Node) -> None:
    if not is_constant(node.inputs[1]) or len(found.dims(node.inputs[1])) != 2:
        _stop(found, node)
        return
    last = len(found.dims(node.inputs[0])) - 1
    _layer(found, node, _on_axis(found, node, 0, last), 0, 1, found.dims(node.inputs[1])[1], last)


def _channelwise(found: Channels, node: ir.Node) -> None:
    """Batch and instance normalisation: one number a channel in every constant."""
    line = _on_axis(found, node, 0, 1)
    for place in range(1, len(node.inputs)):
        if line is not None:
            found.cut(node, place, 0, line.atoms)
    found.put(node.outputs[0], line)


def _same(found: Channels, node: ir.Node) -> None:
    """Dropout: channels pass."""
    found.put(node.outputs[0], found.line(node.inputs[0]))


def _pooled(found: Channels, node: ir.Node) -> None:
    """Windows over the axes behind the channels: these pass."""
    found.put(node.outputs[0], _on_axis(found, node, 0, 1))


def _elementwise(found: Channels, node: ir.Node) -> None:
    """Atoms that meet are joined; constants are cut along with them."""
    rank = len(found.dims(node.outputs[0]))
    shifted = [(v, rank - len(found.dims(v))) for v in node.inputs if v is not None]
    lines = [(found.lines[v], shift) for v, shift in shifted if v in found.lines]
    if not lines:
        return
    axis = lines[0][0].axis + lines[0][1]
    atoms = lines[0][0].atoms
    for line, shift in lines[1:]:
        if line.axis + shift != axis:
            _stop(found, node)
            return
        found.join(atoms, line.atoms)
    for place, value in enumerate(node.inputs):
        if value is None or value in found.lines:
            continue
        own = axis - (rank - len(found.dims(value)))
        if own < 0 or found.dims(value)[own] == 1:
            continue
        if is_constant(value):
            found.cut(node, place, own, atoms)
        else:
            found.join(np.full(len(atoms), FIXED), atoms)
    found.put(node.outputs[0], Line(axis, atoms))


def _concat(found: Channels, node: ir.Node) -> None:
    axis = node.attributes.get_int("axis", 0) % len(found.dims(node.outputs[0]))
    lines = [found.line(v) for v in node.inputs]
    if any(line is not None and line.axis != axis for line in lines):
        _stop(found, node)
        return
    parts = [np.full(found.dims(v)[axis], FIXED) if line is None else line.atoms
             for v, line in zip(node.inputs, lines)]
    for place, (value, part) in enumerate(zip(node.inputs, parts)):
        if is_constant(value):
            found.cut(node, place, axis, part)
    found.put(node.outputs[0], Line(axis, np.concatenate(parts)))


def _rearranged(found: Channels, node: ir.Node) -> None:
    """Reshape, Transpose ...: the operator itself is run on the atoms' numbers."""
    line = found.line(node.inputs[0])
    if line is None:
        return
    rest = node.inputs[1:]
    if not all(v is None or is_constant(v) for v in rest):
        _stop(found, node)
        return
    shape = found.dims(node.inputs[0])
    along = line.atoms.reshape([-1 if k == line.axis else 1 for k in range(len(shape))])
    numbers = np.ascontiguousarray(np.broadcast_to(along, shape))
    moved = evaluate_node(node, [numbers, *(None if v is None else array_of(v) for v in rest)])[0]
    varying = [k for k in range(moved.ndim) if (moved != moved.take([0], axis=k)).any()]
    if len(varying) != 1:
        found.freeze(line, f"node {node.name!r} ({node.op_type}) spreads its units over "
                           f"{len(varying)} axes")
        return
    kept = moved[tuple(slice(None) if k == varying[0] else 0 for k in range(moved.ndim))]
    result = Line(varying[0], np.ascontiguousarray(kept))
    if axes_of(node) is Axes.RESHAPED and len(node.inputs) > 1:
        found.reshapes.append((node, result))
    found.put(node.outputs[0], result)


def _beside(found: Channels, node: ir.Node) -> None:
    """Pad, Slice, Resize: channels pass where only other axes change."""
    line = found.line(node.inputs[0])
    if line is None:
        return
    before, after = found.dims(node.inputs[0]), found.dims(node.outputs[0])
    sizes = axes_of(node) is Axes.SCALED and len(node.inputs) > 3
    constant = all(v is None or is_constant(v) for v in node.inputs[1:])
    if sizes or not constant or before[line.axis] != after[line.axis]:
        _stop(found, node)
        return
    found.put(node.outputs[0], line)


def _reduce(found: Channels, node: ir.Node) -> None:
    line = found.line(node.inputs[0])
    if line is None:
        return
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or not is_constant(axes):
        _stop(found, node)
        return
    rank = len(found.dims(node.inputs[0]))
    gone = {int(a) % rank for a in array_of(axes).reshape(-1)}
    if line.axis in gone:
        _stop(found, node)
        return
    keep = node.attributes.get_int("keepdims", 1)
    shift = 0 if keep else sum(a < line.axis for a in gone)
    found.put(node.outputs[0], Line(line.axis - shift, line.atoms))


def _along(found: Channels, node: ir.Node) -> None:
    """Softmax, Split: channels pass where another axis is worked along."""
    line, axis = found.line(node.inputs[0]), worked_along(node)
    if line is None:
        return
    if axis is None or line.axis == axis % len(found.dims(node.inputs[0])):
        _stop(found, node)
        return
    for value in node.outputs:
        found.put(value, line)


def _inner(found: Channels, node: ir.Node) -> None:
    """Layer normalisation: channels pass where axes behind them are normalised."""
    line = found.line(node.inputs[0])
    if line is None:
        return
    if line.axis >= node.attributes.get_int("axis", -1) % len(found.dims(node.inputs[0])):
        _stop(found, node)
        return
    found.put(node.outputs[0], line)


def _recurrent(found: Channels, node: ir.Node) -> None:
    """The features that a recurrent layer reads may shrink; its own units stay."""
    line = _on_axis(found, node, 0, 2) if not node.attributes.get_int("layout", 0) else None
    if line is None:
        _stop(found, node)
        return
    found.cut(node, 1, 2, line.atoms)


RULES: Mapping[Axes | None, Rule] = {
    Axes.CONVOLVED: _conv, Axes.SPREAD: _conv_transpose, Axes.ROWS: _gemm, Axes.PRODUCT: _matmul,
    Axes.CHANNELS: _channelwise, Axes.PLANES: _channelwise, Axes.POOLED: _pooled,
    Axes.SAME: _same, Axes.BROADCAST: _elementwise, Axes.JOINED: _concat,
    Axes.RESHAPED: _rearranged, Axes.PERMUTED: _rearranged, Axes.SQUEEZED: _rearranged,
    Axes.UNSQUEEZED: _rearranged, Axes.PADDED: _beside, Axes.CUT: _beside, Axes.SCALED: _beside,
    Axes.REDUCED: _reduce, Axes.ALONG: _along, Axes.INNER: _inner, Axes.STEPS: _recurrent}
"""What becomes of channels, by how axes pass through a node; they stop at any other."""


def atom_sets(found: Channels, layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers that share atoms, together (the branches of a residual network)."""
    sets: list[tuple[set[int], list[Layer]]] = []
    for layer in layers:
        roots = {int(r) for r in found.roots(layer.atoms)} - {FIXED}
        touching = [s for s in sets if s[0] & roots]
        merged = (roots.union(*(s[0] for s in touching)),
                  [*(each for s in touching for each in s[1]), layer])
        sets = [s for s in sets if not s[0] & roots]
        sets.append(merged)
    return [members for _, members in sets]
