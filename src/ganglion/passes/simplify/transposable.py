"""How each operator looks when a Transpose moves from before it to behind it.

A rule answers for a node one of whose inputs is Transpose(a, perm): what the node reads instead
(`a` itself, other operands brought into a's order), which attributes it gets, and the permutation
behind each output. None means: not through this node.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Axes
from ganglion.ops.facts import axes_of, is_op, worked_along
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.movement import permutation
from ganglion.ops.named import TRANSPOSE
from ganglion.ops.values import known_shape
from ganglion.passes.base import Pass, before, elements

Perm = tuple[int, ...]


@dataclass(frozen=True)
class Moved:
    """The node's new inputs, new or changed attributes, and the perm behind its outputs."""

    inputs: list[ir.Value | None]
    perm: Perm
    attrs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """One reader of a transposed value: input `index` of `node` is Transpose(`source`, `perm`)."""

    g: GraphBuilder
    reads: Pass
    node: ir.Node
    index: int
    source: ir.Value
    perm: Perm

    def axis(self, k: int) -> int:
        """Axis k of the transposed value, as an axis of the source."""
        return self.perm[k % len(self.perm)]

    def inputs(self) -> list[ir.Value | None]:
        """The node's inputs with the source in place of its transpose."""
        inputs = list(self.node.inputs)
        inputs[self.index] = self.source
        return inputs

    def ints(self, index: int) -> list[int] | None:
        """A constant list of integers among the inputs."""
        value = self.node.inputs[index] if len(self.node.inputs) > index else None
        array = self.reads.constant(value)
        return None if array is None else [int(n) for n in array.reshape(-1)]


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes `perm`.

    >>> inverse((0, 2, 3, 1))
    (0, 3, 1, 2)
    """
    return tuple(int(k) for k in np.argsort(perm))


def without(perm: Perm, axes: list[int]) -> Perm:
    """What is left of `perm` when the transposed value loses `axes`.

    >>> without((0, 2, 3, 1), [1, 2])
    (0, 1)
    """
    left = [p for k, p in enumerate(perm) if k not in axes]
    return tuple(sorted(left).index(p) for p in left)


def _first(site: Site) -> Moved | None:
    """What gives back its first input: Identity, Dropout."""
    if site.index != 0:
        return None
    return Moved(site.inputs(), site.perm)


def _broadcast(site: Site) -> Moved | None:
    """f(x, y ...) with broadcasting: every operand must be brought into the source's order."""
    out = site.node.outputs[0].shape
    if out is None or len(out) != len(site.perm):
        return None
    inputs = [_ordered(site, value) for value in site.node.inputs]
    lost = any(v is None and given is not None for v, given in zip(inputs, site.node.inputs))
    return None if lost else Moved(inputs, site.perm)


def _ordered(site: Site, value: ir.Value | None) -> ir.Value | None:
    """The value v with Transpose(v, perm) = `value`, None where that would cost too much."""
    if value is None:
        return None
    node = value.producer()
    if node is not None and is_op(node, TRANSPOSE) and permutation(node) == site.perm:
        return node.inputs[0]
    shape, rank = known_shape(value), len(site.perm)
    if shape is not None and elements(shape) == 1:
        return value
    array = site.reads.constant(value)
    if array is not None:
        full = array.reshape((1,) * (rank - array.ndim) + array.shape)
        return site.g.constant(full.transpose(inverse(site.perm)), f"{value.name}_t", share=False)
    whole = known_shape(site.source)
    if shape is None or whole is None or len(shape) != rank \
            or 2 * elements(shape) > elements(whole):
        return None
    return before(site.node, site.g.op("Transpose", value, perm=list(inverse(site.perm))))


def _concat(site: Site) -> Moved | None:
    inputs = [_ordered_whole(site, value) for value in site.node.inputs]
    if any(v is None for v in inputs):
        return None
    return Moved(inputs, site.perm, {"axis": site.axis(site.node.attributes.get_int("axis", 0))})


def _ordered_whole(site: Site, value: ir.Value | None) -> ir.Value | None:
    """As `_ordered`, but not for values that broadcasting alone would fit."""
    shape = known_shape(value)
    if shape is not None and len(shape) != len(site.perm):
        return None
    return _ordered(site, value)


def _pad(site: Site) -> Moved | None:
    pads, rank = site.ints(1), len(site.perm)
    inputs = site.inputs()
    if site.index != 0 or pads is None:
        return None
    if len(inputs) > 3 and inputs[3] is not None:
        axes = site.ints(3)
        if axes is None:
            return None
        inputs[3] = site.g.ints(*[site.axis(a) for a in axes])
    else:
        q = inverse(site.perm)
        inputs[1] = site.g.ints(*[pads[k] for k in q], *[pads[rank + k] for k in q])
    return Moved(inputs, site.perm)


def _reduce(site: Site) -> Moved | None:
    """Reduce…(x, axes): the axes are renamed; without keepdims the permutation shrinks."""
    if site.index != 0 or site.node.attributes.get_int("noop_with_empty_axes", 0) != 0:
        return None
    inputs, keep = site.inputs(), site.node.attributes.get_int("keepdims", 1)
    if len(inputs) > 1 and inputs[1] is not None:
        given = site.ints(1)
        if given is None:
            return None
        axes = [a % len(site.perm) for a in given] or list(range(len(site.perm)))
        inputs[1] = site.g.ints(*[site.perm[a] for a in axes])
    else:
        axes = list(range(len(site.perm)))
    return Moved(inputs, site.perm if keep else without(site.perm, axes))


def _squeeze(site: Site) -> Moved | None:
    axes, inputs = site.ints(1), site.inputs()
    if site.index != 0 or axes is None:
        return None
    axes = [a % len(site.perm) for a in axes]
    inputs[1] = site.g.ints(*[site.perm[a] for a in axes])
    return Moved(inputs, without(site.perm, axes))


def _slice(site: Site) -> Moved | None:
    inputs = site.inputs()
    starts = known_shape(inputs[1])
    given = len(inputs) > 3 and inputs[3] is not None
    axes = site.ints(3) if given else list(range(starts[0])) if starts else None
    if site.index != 0 or axes is None:
        return None
    inputs += [None] * (4 - len(inputs))
    inputs[3] = site.g.ints(*[site.axis(a) for a in axes])
    return Moved(inputs, site.perm)


def _tile(site: Site) -> Moved | None:
    repeats, inputs = site.ints(1), site.inputs()
    if site.index != 0 or repeats is None:
        return None
    inputs[1] = site.g.ints(*[repeats[k] for k in inverse(site.perm)])
    return Moved(inputs, site.perm)


def _along(site: Site) -> Moved | None:
    """Operators with one `axis`: Softmax, Split."""
    axis = worked_along(site.node)
    if site.index != 0 or axis is None:
        return None
    return Moved(site.inputs(), site.perm, {"axis": site.axis(axis)})


def _quantise(site: Site) -> Moved | None:
    """QuantizeLinear and DequantizeLinear, per tensor or along an axis, not in blocks."""
    scale = known_shape(site.node.inputs[1])
    blocks = site.node.attributes.get_int("block_size", 0)
    if site.index != 0 or scale is None or len(scale) > 1 or blocks:
        return None
    attrs = {"axis": site.axis(site.node.attributes.get_int("axis", 1))} if scale else {}
    return Moved(site.inputs(), site.perm, attrs)


RULES: Mapping[Axes | None, Callable[[Site], Moved | None]] = {
    Axes.SAME: _first, Axes.BROADCAST: _broadcast, Axes.ALONG: _along, Axes.REDUCED: _reduce,
    Axes.ROUNDED: _quantise, Axes.JOINED: _concat, Axes.PADDED: _pad, Axes.CUT: _slice,
    Axes.SQUEEZED: _squeeze, Axes.REPEATED: _tile}


def rule_of(node: ir.Node) -> Callable[[Site], Moved | None] | None:
    """The rule for an operator of ONNX's own; None where a Transpose stays before it."""
    return RULES.get(axes_of(node)) if node.domain == "" else None
