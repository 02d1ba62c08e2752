"""Moving bytes without arithmetic: strided copies, fills, gathers, scatters."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CopySpec:
    """For every index in `dims`: y[y_offset + Σ i·y_strides] = x[x_offset + Σ i·x_strides].

    One spec serves Transpose, Slice, Concat, Split, Pad, Expand, Tile and nearest-neighbour
    upsampling. Strides and offsets in elements; x strides may be 0 or negative.
    `x_size`, `y_size`: elements of the whole arrays. Operands: x, y.
    """

    dtype: str
    dims: tuple[int, ...]
    x_strides: tuple[int, ...]
    y_strides: tuple[int, ...]
    x_size: int
    y_size: int
    x_offset: int = 0
    y_offset: int = 0


@dataclass(frozen=True)
class FillSpec:
    """y[...] = value over `size` elements. Operands: y."""

    dtype: str
    size: int
    value: float | int


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
class ScatterAddSpec:
    """y = x, then y[index[i], :] += u[i, :] in order of i; x, y: [axis, inner], u: [count, inner].

    float32; indices as in GatherSpec. Operands: x, index, u, y (y may share x's bytes).
    """

    index_dtype: str
    axis: int
    inner: int
    count: int
