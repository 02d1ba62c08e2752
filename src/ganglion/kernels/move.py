"""Moving bytes without arithmetic: strided copies, fills, gathers, one-hot rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import SCALAR
from ganglion.kernels.literal import literal


@dataclass(frozen=True)
class CopySpec:
    """For every index in `dims`: y[y_offset + Σ i·y_strides] = x[x_offset + Σ i·x_strides].

    One spec serves Transpose, Slice, Concat, Split, Pad, Expand, Tile and nearest-neighbour
    upsampling. Strides and offsets in elements; x strides may be 0 or negative.
    `x_size`, `y_size`: elements of the whole arrays; those of y that no index reaches keep their
    bytes. Operands: x, y.
    """

    dtype: str
    dims: tuple[int, ...]
    x_strides: tuple[int, ...]
    y_strides: tuple[int, ...]
    x_size: int
    y_size: int
    x_offset: int = 0
    y_offset: int = 0

    @property
    def loops(self) -> list[tuple[int, int, int]]:
        """(count, x stride, y stride) of every loop that runs more than once, outermost first."""
        return [d for d in zip(self.dims, self.x_strides, self.y_strides) if d[0] != 1]

    @property
    def run(self) -> int:
        """Elements of the innermost run that is dense on both sides; 1 when there is none."""
        loops = self.loops
        return loops[-1][0] if loops and loops[-1][1:] == (1, 1) else 1

    @property
    def outer_loops(self) -> list[tuple[int, int, int]]:
        """The loops around the dense run."""
        return self.loops[:-1] if self.run > 1 else self.loops

    def places(self, side: str) -> np.ndarray:
        """The flat index into x or y ("x", "y") for every index of `dims`, shaped as `dims`."""
        strides = self.x_strides if side == "x" else self.y_strides
        flat = np.full(self.dims, self.x_offset if side == "x" else self.y_offset, np.int64)
        for axis, (count, stride) in enumerate(zip(self.dims, strides)):
            shape = [1] * len(self.dims)
            shape[axis] = count
            flat += np.arange(count).reshape(shape) * stride
        return flat


@dataclass(frozen=True)
class FillSpec:
    """y[...] = value over `size` elements. Operands: y."""

    dtype: str
    size: int
    value: float | int

    @property
    def literal(self) -> str:
        """The value as C text."""
        return literal(self.dtype, self.value)

    @property
    def zero_bytes(self) -> bool:
        """Whether every byte of the value is 0, as memset wants."""
        return not np.array(self.value, self.dtype).tobytes().strip(b"\0")


@dataclass(frozen=True)
class GatherSpec:
    """y[o, i, :] = x[o, index[i], :]; x: [outer, axis, inner], index: [count] of int32 or int64.

    Negative indices count from the end; one out of range is clamped into it, so that no input can
    make the code read outside x. Operands: x, index, y.
    """

    dtype: str
    index_dtype: str
    outer: int
    axis: int
    inner: int
    count: int


@dataclass(frozen=True)
class GatherElementsSpec:
    """y[o, i, n] = x[o, index[o, i, n], n]; x: [outer, axis, inner].

    index, y: [outer, count, inner]; indices as in GatherSpec. Operands: x, index, y.
    """

    dtype: str
    index_dtype: str
    outer: int
    axis: int
    inner: int
    count: int


@dataclass(frozen=True)
class OneHotSpec:
    """y[i, d, n] = on where d == index[i, n], else off.

    index: [outer, inner]; y: [outer, depth, inner]. A negative index counts from the end; one out
    of range gives a row of `off` (ONNX OneHot-11). Operands: index, y.
    """

    index_dtype: str
    outer: int
    depth: int
    inner: int = 1
    off: float | int = 0
    on: float | int = 1
    dtype: str = "float32"

    @property
    def literals(self) -> tuple[str, str]:
        """(off, on) as C text."""
        return literal(self.dtype, self.off), literal(self.dtype, self.on)


def _copy_operands(spec: CopySpec) -> list[Operand]:
    return [Operand("x", spec.dtype, spec.x_size), Operand("y", spec.dtype, spec.y_size, "output")]


def _copy_reference(spec: CopySpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """y starts from `arrays["y"]` where given (what it held before), else from zeros."""
    before = arrays.get("y", np.zeros(spec.y_size, spec.dtype))
    y = before.reshape(-1).copy()
    y[spec.places("y")] = arrays["x"].reshape(-1)[spec.places("x")]
    return {"y": y}


def _copy_cost(spec: CopySpec) -> float:
    count = prod(spec.dims)
    if spec.run <= 1:
        return 2.0 * count
    return count / spec.run * (8 + spec.run * np.dtype(spec.dtype).itemsize / 16)


def _fill_reference(spec: FillSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"y": np.full(spec.size, spec.value, spec.dtype)}


def index_in(index: np.ndarray, axis: int) -> np.ndarray:
    """Indices from either end, kept within an axis."""
    index = index.astype(np.int64)
    return np.clip(np.where(index < 0, index + axis, index), 0, axis - 1)


def _gather_operands(spec: GatherSpec) -> list[Operand]:
    return [Operand("x", spec.dtype, spec.outer * spec.axis * spec.inner),
            Operand("index", spec.index_dtype, spec.count),
            Operand("y", spec.dtype, spec.outer * spec.count * spec.inner, "output")]


def _gather_reference(spec: GatherSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    x = arrays["x"].reshape(spec.outer, spec.axis, spec.inner)
    return {"y": x[:, index_in(arrays["index"].reshape(-1), spec.axis)]}


def _gather_elements_operands(spec: GatherElementsSpec) -> list[Operand]:
    size = spec.outer * spec.count * spec.inner
    return [Operand("x", spec.dtype, spec.outer * spec.axis * spec.inner),
            Operand("index", spec.index_dtype, size), Operand("y", spec.dtype, size, "output")]


def _gather_elements_reference(
        spec: GatherElementsSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    x = arrays["x"].reshape(spec.outer, spec.axis, spec.inner)
    index = arrays["index"].reshape(spec.outer, spec.count, spec.inner)
    return {"y": np.take_along_axis(x, index_in(index, spec.axis), axis=1)}


def _one_hot_operands(spec: OneHotSpec) -> list[Operand]:
    return [Operand("index", spec.index_dtype, spec.outer * spec.inner),
            Operand("y", spec.dtype, spec.outer * spec.depth * spec.inner, "output")]


def _one_hot_reference(spec: OneHotSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    index = arrays["index"].astype(np.int64).reshape(spec.outer, 1, spec.inner)
    index = np.where(index < 0, index + spec.depth, index)
    hot = np.arange(spec.depth).reshape(1, -1, 1) == index
    return {"y": np.where(hot, np.array(spec.on, spec.dtype), np.array(spec.off, spec.dtype))}


COPY: Family[CopySpec] = Family(
    "copy", _copy_operands, _copy_reference,
    variants=(Variant("copy_any__scalar", SCALAR, "copy.c.j2", cost=_copy_cost),))
FILL: Family[FillSpec] = Family(
    "fill", lambda spec: [Operand("y", spec.dtype, spec.size, "output")], _fill_reference,
    variants=(Variant("fill_any__scalar", SCALAR, "fill.c.j2"),))
GATHER: Family[GatherSpec] = Family(
    "gather", _gather_operands, _gather_reference,
    variants=(Variant("gather_any__scalar", SCALAR, "gather.c.j2"),))
GATHER_ELEMENTS: Family[GatherElementsSpec] = Family(
    "gather_elements", _gather_elements_operands, _gather_elements_reference,
    variants=(Variant("gather_elements_any__scalar", SCALAR, "gather_elements.c.j2"),))
ONE_HOT: Family[OneHotSpec] = Family(
    "one_hot", _one_hot_operands, _one_hot_reference,
    variants=(Variant("one_hot_any__scalar", SCALAR, "one_hot.c.j2"),))
FAMILIES = (COPY, FILL, GATHER, GATHER_ELEMENTS, ONE_HOT)
