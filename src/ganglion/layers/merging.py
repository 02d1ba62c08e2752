"""Layers that join several tensors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from ganglion.layers.base import Emitter, Layer, Tensor, dims, is_float, static
from ganglion.layers.core import reshape


@dataclass(frozen=True, eq=False)
class _Merge(Layer):
    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        if isinstance(inputs, Tensor):
            raise self.error("called on one tensor; it joins a list of tensors: "
                             f"{type(self).__name__}()([a, b])")
        return self.call(inputs)[0]


@dataclass(frozen=True, eq=False)
class _Elementwise(_Merge):
    """Joins by a binary operator, broadcasting; a tensor of fewer axes gains them after the
    batch."""

    operator: ClassVar[str] = "Add"

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        if len(xs) < 2 or (len(xs) > 2 and self.operator == "Sub"):
            want = "exactly two" if self.operator == "Sub" else "two or more"
            raise e.error(f"joins {want} tensors, found {len(xs)}")
        _compatible(e, xs)
        axes = max(len(dims(x)) for x in xs)
        first, *rest = [_widen(e, x, axes) for x in xs]
        y = first
        for x in rest:
            y = e.op(self.operator, y, x)
        return [self.finish(e, y, len(xs))]

    def finish(self, e: Emitter, y: ir.Value, count: int) -> ir.Value:
        return y


@dataclass(frozen=True, eq=False)
class Add(_Elementwise):
    """The sum of its inputs."""


@dataclass(frozen=True, eq=False)
class Subtract(_Elementwise):
    """The first input minus the second."""

    operator: ClassVar[str] = "Sub"


@dataclass(frozen=True, eq=False)
class Multiply(_Elementwise):
    """The product of its inputs."""

    operator: ClassVar[str] = "Mul"


@dataclass(frozen=True, eq=False)
class Maximum(_Elementwise):
    """The largest of its inputs, element by element."""

    operator: ClassVar[str] = "Max"


@dataclass(frozen=True, eq=False)
class Minimum(_Elementwise):
    """The smallest of its inputs, element by element."""

    operator: ClassVar[str] = "Min"


@dataclass(frozen=True, eq=False)
class Average(_Elementwise):
    """The mean of its inputs."""

    def finish(self, e: Emitter, y: ir.Value, count: int) -> ir.Value:
        is_float(e, y)
        return e.op("Mul", y, e.floats(1 / count))


@dataclass(frozen=True, eq=False)
class Concatenate(_Merge):
    """Its inputs side by side along one axis."""

    axis: int = -1

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        shapes = [dims(x) for x in xs]
        n = len(shapes[0]) if shapes else 0
        if len(xs) < 2:
            raise e.error(f"joins two or more tensors, found {len(xs)}")
        if any(len(s) != n for s in shapes) or not -n <= self.axis < n or self.axis % n == 0:
            raise e.error(f"axis {self.axis} must be an axis other than the batch of inputs with "
                          f"equally many axes, found {[list(s) for s in shapes]}")
        axis = self.axis % n
        for i in range(1, n):
            if i != axis and len({s[i] for s in shapes}) > 1:
                raise e.error(f"inputs {[list(s) for s in shapes]} must be equal outside axis "
                              f"{axis}")
        return [e.op("Concat", *xs, axis=axis)]


@dataclass(frozen=True, eq=False)
class Dot(_Merge):
    """Sums of products of two tensors along one axis of each, example by example.

    axes: one axis for both, or one for each. normalize: unit length along that axis first.
    `[N, K]` and `[N, K]` give `[N, 1]`; otherwise the axes that are left stand side by side.
    """

    axes: int | tuple[int, int]
    normalize: bool = False

    def check(self) -> None:
        pair = self.axes if isinstance(self.axes, tuple) else (self.axes, self.axes)
        if len(pair) != 2 or any(not isinstance(a, int) for a in pair):
            raise self.error(f"axes must be one integer or two, found {self.axes!r}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        if len(xs) != 2:
            raise e.error(f"joins exactly two tensors, found {len(xs)}")
        pair = self.axes if isinstance(self.axes, tuple) else (self.axes, self.axes)
        sides: list[ir.Value] = []
        lengths: list[int] = []
        outer: list[list[int]] = []
        for x, axis in zip(xs, pair):
            is_float(e, x)
            n = len(dims(x))
            if not -n <= axis < n or axis % n == 0:
                raise e.error(f"axis {axis} is not an axis of {list(dims(x))} other than the "
                              "batch")
            lengths.append(static(e, x, axis, "the sum runs along it"))
            outer.append([static(e, x, i, "Dot lays the axes side by side")
                          for i in range(1, n) if i != axis % n])
            sides.append(self._matrix(e, x, axis % n, outer[-1], last=not sides))
        if lengths[0] != lengths[1]:
            raise e.error(f"axes {self.axes} have the sizes {lengths[0]} and {lengths[1]}, "
                          "which must be equal")
        y = e.op("MatMul", *sides)
        return [reshape(e, y, [*outer[0], *outer[1]] or [1])]

    def _matrix(self, e: Emitter, x: ir.Value, axis: int, outer: Sequence[int],
                last: bool) -> ir.Value:
        """`[N, M, K]` when `last`, else `[N, K, M]`; K is the axis summed over."""
        if self.normalize:
            square = e.op("ReduceSum", e.op("Mul", x, x), e.ints(axis), keepdims=1)
            x = e.op("Div", x, e.op("Sqrt", e.op("Max", square, e.floats(1e-12))))
        n = len(dims(x))
        rest = [i for i in range(1, n) if i != axis]
        perm = [0, *rest, axis] if last else [0, axis, *rest]
        if perm != [*range(n)]:
            x = e.op("Transpose", x, perm=perm)
        if n == 3:
            return x
        size = static(e, x, -1 if last else 1, "the sum runs along it")
        m = math.prod(outer)
        return reshape(e, x, (m, size) if last else (size, m))


def _widen(e: Emitter, x: ir.Value, axes: int) -> ir.Value:
    missing = axes - len(dims(x))
    return e.op("Unsqueeze", x, e.ints(*range(1, missing + 1))) if missing else x


def _compatible(e: Emitter, xs: Sequence[ir.Value]) -> None:
    """ModelError unless the shapes broadcast, last axes aligned."""
    for x in xs[1:]:
        for a, b in zip(reversed(dims(xs[0])[1:]), reversed(dims(x)[1:])):
            if isinstance(a, int) and isinstance(b, int) and a != b and 1 not in (a, b):
                raise e.error(f"inputs of shapes {[list(dims(v)) for v in xs]} do not fit "
                              "together; they must be equal or 1 along each axis")
    if len({x.dtype for x in xs}) > 1:
        raise e.error(f"inputs have different types: {[str(x.dtype) for x in xs]}")
