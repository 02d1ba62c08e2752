"""What rounding may do to a network, measured on the network itself.

Every node's result is disturbed by noise of the size that float32 rounding has there:
4 · 2^-24 · |y| for an element-wise node, 4 · 2^-24 · sqrt(k) · max|y| for one that adds k terms,
which may cancel (rounding errors of a sum grow as the square root of its length, Higham and Mary,
"A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41, 2019). It is the
idea of Monte Carlo arithmetic (Parker 1997).

Where a node decides by a float (a code, a comparison, the place of a maximum), noise of that size
would rarely show what stands on the edge. So what such nodes read is pushed besides, by `SAFETY`
times the noise, every element up or down by chance, and in the next draw the other way.
"""

from collections.abc import Mapping, Sequence
from math import prod, sqrt

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Array, Axes
from ganglion.ops.facts import (
    axes_of,
    divides,
    family_of,
    is_pointwise,
    is_reduction,
    kind_of,
    movement,
    statistics_of,
)
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.ops.limits import jumps
from ganglion.ops.values import static_shape

Arrays = Mapping[str, np.ndarray]

SAFETY = 8.0
UNIT = 2.0 ** -24
HALF_UNITS: Mapping[ir.DataType | None, float] = {ir.DataType.FLOAT16: 2.0 ** -11,
                                                  ir.DataType.BFLOAT16: 2.0 ** -8}
"""The rounding of floats narrower than float32."""
CELLS = ("recurrent", "recurrent_grad")
MOVED_LEAST, MOVED_SHARE = 4, 1e-3
"""How many elements of a FakeQuantize the noise moves by a step."""
STEP = 2.0 ** -8 * 4 / SAFETY
"""What 256 codes for the input do to a product that the build takes in int8
(`passes.quantized.hybrid`), as a share of its largest element; four times this are allowed: each
input may be half a code off by its own rounding and half by that of the zero point, and the
outputs' largest may have cancelled."""


class Noise:
    """One draw: `before` and `after` for `Reference.run`.

    `push`: 1 or -1, the direction of the pushes, 0 for none; both directions of one draw share a
    generator of signs. `hybrid`: values that the build takes from int8 products. `exact`: values
    that are known.
    """

    def __init__(self, seed: tuple[int, ...], push: int, hybrid: frozenset[str],
                 exact: frozenset[str]) -> None:
        self._noise = np.random.default_rng((*seed, 1 + push))
        self._signs = np.random.default_rng((*seed, 7))
        self._push, self._hybrid, self._exact = push, hybrid, exact
        self._relative: dict[str, float] = {}
        self._steps: dict[ir.Value, Array] = {}
        self._reduced: dict[ir.Value | None, float] = {}
        self._moved: set[ir.Value] = set()

    def before(self, node: ir.Node, arrays: list[Array | None]) -> list[Array | None]:
        """Pushes what a node decides by. What nobody has computed yet is disturbed where it is
        first computed with: a node that takes a mean off it rounds by its size, which its own
        results no longer show."""
        if self._push and jumps(node, arrays, _integer(node)):
            x = arrays[0]
            size = SAFETY * self._size_of(node.inputs[0])
            own = 4 * UNIT if divides(node) else 0.0
            if x is None or is_fake_quantize(node) or not (size or own):
                return arrays
            signs = self._signs.choice(np.array([-1.0, 1.0]), x.shape)
            with np.errstate(invalid="ignore"):
                reach = np.maximum(size * largest(x), own * np.abs(x))
                return [x + self._push * reach * signs, *arrays[1:]]
        if movement(node) is not None:
            return arrays
        return [a if a is None or a.dtype.kind != "f" or not self._as_given(v)
                else self._disturb(a, np.abs(a), 4 * UNIT) for v, a in zip(node.inputs, arrays)]

    def after(self, node: ir.Node, arrays: list[Array | None], outputs: tuple[Array, ...]
              ) -> tuple[Array, ...]:
        """Disturbs what a node gives."""
        shapes = [a.shape for a in arrays if a is not None]
        count = _terms(node, shapes, [y.shape for y in outputs])
        size = 4 * UNIT * sqrt(count)
        if any(v.name in self._hybrid for v in node.outputs):
            size = max(size, STEP)
        if is_fake_quantize(node) and self._push:
            outputs = (self._rounded_otherwise(node, outputs[0]),)
        for value, y in zip(node.outputs, outputs):
            if any(is_fake_quantize(u.node) and u.idx == 1 for u in value.uses()):
                self._steps[value] = y
            if any(_share(u.node, 1) is not None for u in value.uses()):
                sizes = np.abs(y[np.isfinite(y)])
                self._reduced[value] = float(sizes.mean()) if sizes.size else 0.0
        inherited = max((self._size_of(v) for v in node.inputs), default=0.0)
        if movement(node) is not None and not inherited:
            if self._as_given(node.inputs[0]):
                self._moved.update(node.outputs)
            return outputs
        return tuple(self._disturbed(node, v, y, size, inherited, count)
                     for v, y in zip(node.outputs, outputs))

    def _disturbed(self, node: ir.Node, value: ir.Value, y: Array, size: float, inherited: float,
                   count: int) -> Array:
        if y.dtype.kind != "f" or not y.size or value.name in self._exact:
            return y
        size = max(size, HALF_UNITS.get(value.dtype, 0.0))
        self._relative[value.name or ""] = max(size, inherited)
        if is_pointwise(node):
            return self._disturb(y, np.abs(y), size)
        return self._disturb(y, max(largest(y), self._least(node, count)), size)

    def _as_given(self, value: ir.Value | None) -> bool:
        """Whether this is what the caller gave, moved at most."""
        return value is not None and (value in self._moved or (
            value.is_graph_input() and value.const_value is None))

    def _size_of(self, value: ir.Value | None) -> float:
        return 0.0 if value is None else self._relative.get(value.name or "", 0.0)

    def _least(self, node: ir.Node, count: int) -> float:
        """What the result of a node is at least of the size of, as rounding goes.

        A cell's state is a mixture by gates: what 1 - gate loses is of the size of 1. All sums may
        cancel at once (the means of standardised data); their terms round still.
        """
        share = _share(node, count)
        if share is not None:
            return self._reduced.get(node.inputs[0], 0.0) * share
        return 1.0 if family_of(node) in CELLS else 0.0

    def _rounded_otherwise(self, node: ir.Node, y: Array) -> Array:
        """A few elements one step up or down: what stands between two codes may go either way,
        and noise of a rounding's size would rarely show it."""
        scale = node.inputs[1]
        if scale is None or not y.size:
            return y
        constant = scale.const_value
        step = self._steps.get(scale) if constant is None else constant.numpy()
        if step is None:
            return y
        moved = np.array(y, np.float64)
        count = max(MOVED_LEAST, int(MOVED_SHARE * y.size))
        at = np.unravel_index(self._noise.integers(0, y.size, count), y.shape)
        moved[at] += self._noise.choice([-1.0, 1.0], count) * np.broadcast_to(step, y.shape)[at]
        return moved

    def _disturb(self, y: Array, scale: Array | float, size: float) -> Array:
        """Infinity, as in a mask, stays what it is."""
        noise = self._noise.uniform(-1, 1, y.shape)
        with np.errstate(invalid="ignore"):
            return np.where(np.isinf(y), y, y.astype(np.float64) + size * scale * noise)


def _share(node: ir.Node, k: int) -> float | None:
    """The weight of a mean term in a node's sums of k, less the factor sqrt(k) that the noise has
    anyway; None for a node that takes no such sums."""
    if statistics_of(node):
        return 1 - node.attributes.get_float("momentum", 0.9)
    if not is_reduction(node):
        return None
    return {"mean": 1 / sqrt(k), "sum": sqrt(k)}.get(kind_of(node))


def largest(array: Array) -> float:
    """The largest finite element, by its size."""
    if array.dtype.kind != "f" or not array.size:
        return 0.0
    size = np.abs(array)
    most = float(size.max())
    return most if np.isfinite(most) else float(size[np.isfinite(size)].max(initial=0.0))


def terms(node: ir.Node) -> int:
    """How many terms the sums of a node have (1 for element-wise ones), by its values' shapes."""
    return _terms(node, [static_shape(v) for v in node.inputs if v is not None],
                  [static_shape(v) for v in node.outputs if v.shape is not None])


def _terms(node: ir.Node, read: Sequence[tuple[int, ...]], made: Sequence[tuple[int, ...]]) -> int:
    axes = axes_of(node)
    if axes in (Axes.CONVOLVED, Axes.SPREAD) and len(read) > 1:
        return max(1, prod(read[1][1:]))
    if axes in (Axes.PRODUCT, Axes.ROWS) and read and read[0]:
        return max(1, read[0][-1])
    return max(1, max((prod(s) for s in read), default=1) // max(
        1, max((prod(s) for s in made), default=1)))


def work(node: ir.Node, arrays: Sequence[Array | None], outputs: Sequence[Array]) -> int:
    """About how many operations the node takes: elements made, times the terms of their sums."""
    made = [y.shape for y in outputs]
    count = _terms(node, [a.shape for a in arrays if a is not None], made)
    return sum(prod(s) for s in made) * count


def _integer(node: ir.Node) -> bool:
    """Whether a conversion gives something else than floats, as far as its attributes say."""
    to = node.attributes.get("to")
    return to is None or not ir.DataType(to.as_int()).is_floating_point()
