"""Layers that pad, crop and enlarge images and sequences."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.layers.base import Emitter, Ints, dims, rank
from ganglion.layers.spatial import SpatialLayer, channels_back, sizes

Margins = int | tuple[int, ...] | tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class _Margins(SpatialLayer):
    """Adds or removes a margin of each spatial axis."""

    def margins(self, value: Margins, name: str) -> list[tuple[int, int]]:
        """(begin, end) for each spatial axis, from Keras's short forms."""
        n = self.spatial
        if isinstance(value, int):
            pairs = [(value, value)] * n
        elif n == 1 and len(value) == 2 and all(isinstance(v, int) for v in value):
            pairs = [(value[0], value[1])]  # type: ignore[list-item]
        elif len(value) == n:
            pairs = [v if isinstance(v, tuple) else (v, v) for v in value]
        else:
            pairs = []
        if not pairs or any(len(p) != 2 or not all(isinstance(v, int) and v >= 0 for v in p)
                            for p in pairs):
            raise self.error(f"{name} must be an integer >= 0, or (begin, end) for each of its "
                             f"{n} axes, found {value!r}")
        return pairs


@dataclass(frozen=True, eq=False)
class _ZeroPadding(_Margins):
    padding: Margins = 1
    data_format: str | None = field(default=None, kw_only=True)

    def check(self) -> None:
        self.margins(self.padding, "padding")
        self.check_format(self.data_format)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        rank(e, xs[0], self.spatial + 2)
        pairs = self.margins(self.padding, "padding")
        pairs = ([(0, 0), *pairs] if self.data_format == "channels_first" else [*pairs, (0, 0)])
        pads = [0, *(p[0] for p in pairs), 0, *(p[1] for p in pairs)]
        return [e.op("Pad", xs[0], e.ints(*pads))]


@dataclass(frozen=True, eq=False)
class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after `[N, T, C]` along T. padding: n or (begin, end)."""

    spatial: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class ZeroPadding2D(_ZeroPadding):
    """Zeros around `[N, H, W, C]`. padding: n, (h, w) or ((top, bottom), (left, right))."""


@dataclass(frozen=True, eq=False)
class _Cropping(_Margins):
    cropping: Margins = 0
    data_format: str | None = field(default=None, kw_only=True)

    def check(self) -> None:
        self.margins(self.cropping, "cropping")
        self.check_format(self.data_format)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        n = self.spatial
        rank(e, x, n + 2)
        first = 2 if self.data_format == "channels_first" else 1
        pairs = self.margins(self.cropping, "cropping")
        for size, (begin, end) in zip(dims(x)[first:], pairs):
            if isinstance(size, int) and begin + end >= size:
                raise e.error(f"cropping {self.cropping} leaves nothing of its input "
                              f"{list(dims(x))}")
        axes = range(first, first + n)
        ends = [-end if end else (1 << 31) - 1 for _, end in pairs]
        return [e.op("Slice", x, e.ints(*(begin for begin, _ in pairs)), e.ints(*ends),
                     e.ints(*axes))]


@dataclass(frozen=True, eq=False)
class Cropping1D(_Cropping):
    """Removes steps at both ends of `[N, T, C]`. cropping: n or (begin, end)."""

    spatial: ClassVar[int] = 1

    cropping: Margins = 1


@dataclass(frozen=True, eq=False)
class Cropping2D(_Cropping):
    """Removes borders of `[N, H, W, C]`. cropping: n, (h, w) or ((top, bottom), (left, right))."""


@dataclass(frozen=True, eq=False)
class _UpSampling(SpatialLayer):
    size: Ints = 2

    def enlarge(self, e: Emitter, x: ir.Value, interpolation: str) -> ir.Value:
        """Resizes `[N, C, ...]`."""
        n = self.spatial
        factors = [1.0, 1.0, *map(float, sizes(self.size, n))]
        scales = e.constant(np.asarray(factors, np.float32), "scales")
        if interpolation == "nearest":
            y = e.op("Resize", x, None, scales, mode="nearest", nearest_mode="floor",
                     coordinate_transformation_mode="asymmetric")
        else:
            y = e.op("Resize", x, None, scales, mode="linear",
                     coordinate_transformation_mode="half_pixel")
        y.shape = ir.Shape([dims(x)[0], *dims(y)[1:]])  # inference forgets a symbolic batch
        return y


@dataclass(frozen=True, eq=False)
class UpSampling1D(_UpSampling):
    """Repeats each step of `[N, T, C]` `size` times."""

    spatial: ClassVar[int] = 1

    def check(self) -> None:
        self.check_sizes(size=self.size)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, None)
        return [channels_back(e, self.enlarge(e, x, "nearest"), None)]


@dataclass(frozen=True, eq=False)
class UpSampling2D(_UpSampling):
    """Enlarges `[N, H, W, C]` by whole factors, "nearest" or "bilinear"."""

    data_format: str | None = None
    interpolation: str = "nearest"

    def check(self) -> None:
        self.check_sizes(size=self.size)
        self.check_format(self.data_format)
        self.one_of("interpolation", self.interpolation, ("nearest", "bilinear"))

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        return [channels_back(e, self.enlarge(e, x, self.interpolation), self.data_format)]
