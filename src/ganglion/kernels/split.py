"""How a kernel's work divides into parts that can be computed at the same time.

A part is a spec of the same family on a stretch of the operands: some rows of an image, some rows
or columns of a product. Work divides over independent results alone, never over the terms of a sum,
so the parts together give the bits of the whole.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np

from ganglion.kernels.base import Variant
from ganglion.kernels.conv2d import Conv2dSpec
from ganglion.kernels.conv_transpose import ConvTransposeSpec
from ganglion.kernels.hybrid import HybridConvSpec, HybridMatMulSpec
from ganglion.kernels.matmul import MatMulSpec
from ganglion.kernels.normalize import BatchNormSpec, LayerNormSpec
from ganglion.kernels.pointwise import PointwiseSpec, Stream
from ganglion.kernels.pool import PoolSpec
from ganglion.kernels.reduce import ReduceSpec
from ganglion.kernels.softmax import SoftmaxSpec
from ganglion.kernels.table import TableSpec

S = TypeVar("S")

ELEMENTS = 64
"""Element-wise work without rows is cut at multiples of this many elements: whole vectors."""


@dataclass(frozen=True)
class Stretch:
    """Of an array of [shape] only [start, stop) along `axis`."""

    shape: tuple[int, ...]
    axis: int
    start: int
    stop: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """The stretch, copied."""
        return array.reshape(self.shape).take(range(self.start, self.stop), self.axis)


@dataclass(frozen=True)
class Part:
    """`spec` of one part, and by name the element at which its operands start, where not 0.

    `constants`: the constant operands of which the part takes only a stretch.
    """

    spec: object
    starts: Mapping[str, int]
    constants: Mapping[str, Stretch] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut(Generic[S]):
    """How specs of a family divide: `extent(spec)` slices, of which `part(spec, start, stop)` takes
    some (None where that can't be said as a spec).

    `units(spec, variant)`: a part starts at a multiple of one of these; several are worth trying.
    """

    extent: Callable[[S], int]
    part: Callable[[S, int, int], Part | None]
    units: Callable[[S, Variant[S]], tuple[int, ...]] = lambda spec, variant: (1,)


def _windows(first: int, stop: int, size: int, stride: int, reach: int, before: int
             ) -> tuple[int, int, int, int]:
    """Input pixels [start, end) under the output pixels [first, stop) along one axis, and how many
    pixels of padding lie in front of them and behind. `reach`: pixels under one window."""
    start = first * stride - before
    end = (stop - 1) * stride - before + reach
    return max(start, 0), min(end, size), max(-start, 0), max(end - size, 0)


def _flat(spec: Conv2dSpec) -> bool:
    """A convolution of single pixels: images and rows do not matter."""
    return spec.kernel == spec.strides == (1, 1) and not any(spec.pads)


def _conv_extent(spec: Conv2dSpec) -> int:
    p, q = spec.out_hw
    if not spec.w_const:
        return 1
    return spec.n * p * q if _flat(spec) else spec.n if spec.n > 1 else p


def _conv_part(spec: Conv2dSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if _flat(spec):
        part = replace(spec, n=1, h=1, w=stop - start)
        return Part(part, _results(spec, start * spec.c, start * spec.o))
    if spec.n > 1:
        part = replace(spec, n=stop - start)
        return Part(part, _results(spec, start * spec.h * spec.w * spec.c, start * p * q * spec.o))
    reach = (spec.kernel[0] - 1) * spec.dilations[0] + 1
    top, left, _, right = spec.pads
    first, end, above, below = _windows(start, stop, spec.h, spec.strides[0], reach, top)
    if end <= first:
        return None
    part = replace(spec, h=end - first, pads=(above, left, below, right))
    return Part(part, _results(spec, first * spec.w * spec.c, start * q * spec.o))


def _results(spec: Conv2dSpec | MatMulSpec | ConvTransposeSpec, x: int, y: int) -> dict[str, int]:
    """Where a part of a product starts in its input and its results."""
    extras = spec.epilogue.extra if spec.epilogue else 0
    source = "a" if isinstance(spec, MatMulSpec) else "x"
    return {source: x, "y": y} | {f"r{i + 1}": y for i in range(extras)}


def _conv_units(spec: Conv2dSpec, variant: Variant[Conv2dSpec]) -> tuple[int, ...]:
    """Winograd's tiles keep their places; pixels without rows are best cut at whole tiles."""
    winograd = re.search(r"_winograd(\d)_", variant.name)
    if winograd and spec.n == 1:
        return (int(winograd[1]),)
    rows = int(variant.tile.get("rows", 1))
    return (1, rows) if _flat(spec) else (1,)


def _transpose_part(spec: ConvTransposeSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if spec.n > 1:
        part = replace(spec, n=stop - start)
        return Part(part, _results(spec, start * spec.h * spec.w * spec.c, start * p * q * spec.o))
    stride, top = spec.strides[0], spec.pads[0]
    reach = (spec.kernel[0] - 1) * spec.dilations[0]
    first = max(-((reach - start - top) // stride), 0)
    end = min((stop - 1 + top) // stride + 1, spec.h)
    pads = (start + top - first * stride, spec.pads[1])
    if end <= first or pads[0] < 0:
        return None
    part = replace(spec, h=end - first, out_hw=(stop - start, q), pads=pads)
    return Part(part, _results(spec, first * spec.w * spec.c, start * q * spec.o))


def _pool_part(spec: PoolSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if spec.n > 1:
        return Part(replace(spec, n=stop - start),
                    {"x": start * spec.h * spec.w * spec.c, "y": start * p * q * spec.c})
    reach = (spec.kernel[0] - 1) * spec.dilations[0] + 1
    first, end, above, _ = _windows(start, stop, spec.h, spec.strides[0], reach, spec.pads[0])
    if end <= first:
        return None
    part = replace(spec, h=end - first, out_hw=(stop - start, q), pads=(above, spec.pads[1]))
    return Part(part, {"x": first * spec.w * spec.c, "y": start * q * spec.c})


def _matmul_extent(spec: MatMulSpec) -> int:
    if spec.batch > 1:
        return spec.batch
    if spec.m > 1:
        return 1 if spec.trans_a else spec.m
    return spec.n if spec.b_const or spec.trans_b else 1


def _matmul_part(spec: MatMulSpec, start: int, stop: int) -> Part | None:
    if spec.batch > 1:
        return _matrices(spec, start, stop)
    if spec.m > 1:
        part = replace(spec, m=stop - start)
        return Part(part, _results(spec, start * spec.k, start * spec.n))
    part = replace(spec, n=stop - start)
    starts = _results(spec, 0, start)
    if not spec.b_const:
        return Part(part, starts | {"b": start * spec.k, "bias": start})
    shape, axis = ((spec.n, spec.k), 0) if spec.trans_b else ((spec.k, spec.n), 1)
    constants = {"b": Stretch(shape, axis, start, stop)} | {
        name: Stretch((spec.n,), 0, start, stop) for name in ("bias", "multiplier")}
    return Part(part, starts, constants)


def _matrices(spec: MatMulSpec, start: int, stop: int) -> Part:
    """Some of a batch."""
    starts = _results(spec, start * spec.a_batch, start * spec.m * spec.n)
    part = replace(spec, batch=stop - start)
    if not spec.b_const:
        return Part(part, starts | {"b": start * spec.b_batch})
    shape = (spec.batch, spec.k * spec.n)
    return Part(part, starts, {"b": Stretch(shape, 0, start, stop)} if spec.b_batch else {})


def _matmul_units(spec: MatMulSpec, variant: Variant[MatMulSpec]) -> tuple[int, ...]:
    """Panels of packed columns stay whole."""
    if spec.batch > 1:
        return (1,)
    if spec.m > 1:
        return 1, int(variant.tile.get("rows", 1))
    return (int(variant.tile.get("vectors", 1)) * variant.isa.lanes,)


def _stretched(dims: tuple[int, ...], stream: Stream) -> Stream:
    """A stream over fewer steps: as much memory as it reaches."""
    size = 1 + sum((d - 1) * s for d, s in zip(dims, stream.strides))
    return replace(stream, size=size)


def _pointwise_part(spec: PointwiseSpec, start: int, stop: int) -> Part:
    dims = (stop - start, *spec.dims[1:])
    starts = {f"x{i}": start * s.strides[0] for i, s in enumerate(spec.inputs)}
    starts |= {f"y{i}": start * s.strides[0] for i, s in enumerate(spec.outputs)}
    return Part(replace(spec, dims=dims, inputs=tuple(_stretched(dims, s) for s in spec.inputs),
                        outputs=tuple(_stretched(dims, s) for s in spec.outputs)), starts)


def _pointwise_extent(spec: PointwiseSpec) -> int:
    """Only where every step has a result of its own."""
    apart = spec.dims and all(s.strides[0] > 0 for s in spec.outputs)
    return spec.dims[0] if apart else 1


def _pointwise_units(spec: PointwiseSpec, variant: Variant[PointwiseSpec]) -> tuple[int, ...]:
    return (ELEMENTS,) if len(spec.dims) == 1 else (1,)


def _rows_part(name: str, row: Callable[[Any], Mapping[str, int]]
               ) -> Callable[[Any, int, int], Part]:
    """Parts of a spec whose field `name` counts rows; `row`: elements of a row, by operand."""
    def part(spec: Any, start: int, stop: int) -> Part:
        sizes = row(spec)
        return Part(replace(spec, **{name: stop - start}),
                    {operand: start * size for operand, size in sizes.items()})
    return part


def _results_of(spec: HybridConvSpec | HybridMatMulSpec) -> list[str]:
    """y, and what the epilogue reads in its shape."""
    return ["y", *(f"r{i + 1}" for i in range(spec.epilogue.extra if spec.epilogue else 0))]


def _hybrid_row(spec: HybridMatMulSpec) -> dict[str, int]:
    return {"a": spec.k} | dict.fromkeys(_results_of(spec), spec.n)


def _hybrid_image(spec: HybridConvSpec) -> dict[str, int]:
    """An image has one range: its rows stay together."""
    p, q = spec.out_hw
    return {"x": spec.h * spec.w * spec.c} | dict.fromkeys(_results_of(spec), p * q * spec.o)


def _layer_row(spec: LayerNormSpec) -> dict[str, int]:
    return {"x": spec.n, "y": spec.n, "mean": 1, "inv_std": 1}


def _softmax_row(spec: SoftmaxSpec) -> dict[str, int]:
    return dict.fromkeys("xy", spec.axis * spec.inner)


def _reduce_row(spec: ReduceSpec) -> dict[str, int]:
    return {"x": spec.axis * spec.inner, "y": spec.inner}


CUTS: Mapping[str, Cut[Any]] = {
    "conv2d": Cut(_conv_extent, _conv_part, _conv_units),
    "depthwise": Cut(_conv_extent, _conv_part, _conv_units),
    "conv_transpose": Cut[ConvTransposeSpec](
        lambda spec: 1 if not spec.w_const else spec.n if spec.n > 1 else spec.out_hw[0],
        _transpose_part, lambda spec, variant: (spec.strides[0] if spec.n == 1 else 1,)),
    "hybrid_conv2d": Cut[HybridConvSpec](lambda spec: spec.n, _rows_part("n", _hybrid_image)),
    "hybrid_matmul": Cut[HybridMatMulSpec](
        lambda spec: spec.m, _rows_part("m", _hybrid_row),
        lambda spec, variant: (1, int(variant.tile.get("rows", 1)))),
    "matmul": Cut(_matmul_extent, _matmul_part, _matmul_units),
    "pool": Cut[PoolSpec](lambda spec: spec.n if spec.n > 1 else spec.out_hw[0], _pool_part),
    "pointwise": Cut(_pointwise_extent, _pointwise_part, _pointwise_units),
    "softmax": Cut[SoftmaxSpec](lambda spec: spec.outer, _rows_part("outer", _softmax_row)),
    "layer_norm": Cut[LayerNormSpec](lambda spec: spec.rows, _rows_part("rows", _layer_row)),
    "batch_norm": Cut[BatchNormSpec](
        lambda spec: 1 if spec.training else spec.rows,
        _rows_part("rows", lambda spec: dict.fromkeys("xy", spec.c))),
    "reduce": Cut[ReduceSpec](lambda spec: spec.outer, _rows_part("outer", _reduce_row)),
    "table": Cut[TableSpec](lambda spec: spec.size,
                            _rows_part("size", lambda spec: dict.fromkeys("xy", 1)),
                            lambda spec, variant: (ELEMENTS,)),
}
"""By family. A family that is not here is always computed whole."""


def parts(family: str, spec: object, variant: Variant[object], size: int) -> tuple[Part, ...]:
    """Parts of `size` slices each, the last one what is left; none where the family, the spec or
    the variant can't be divided so."""
    cut = CUTS[family]
    extent = cut.extent(spec)
    found = []
    for start in range(0, extent, size):
        part = cut.part(spec, start, min(start + size, extent))
        if part is None or not variant.accepts(part.spec):
            return ()
        found.append(part)
    return tuple(found) if len(found) > 1 else ()


def sizes(family: str, spec: object, variant: Variant[object], most: int) -> tuple[int, ...]:
    """The sizes of parts worth trying, so that there are 2 to `most` of them."""
    cut = CUTS.get(family)
    if cut is None:
        return ()
    extent = cut.extent(spec)
    found = {-(-extent // (count * unit)) * unit
             for count in range(2, most + 1) for unit in cut.units(spec, variant)}
    return tuple(sorted(size for size in found if 0 < size < extent))
