"""Pools over windows and over whole images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from ganglion.layers.base import Emitter, Ints
from ganglion.layers.spatial import SpatialLayer, Window, channels_back, sizes


@dataclass(frozen=True, eq=False)
class _Pool(SpatialLayer):
    maximum: ClassVar[bool] = False

    pool_size: Ints = 2
    strides: Ints | None = None
    padding: str = "valid"
    data_format: str | None = None

    def check(self) -> None:
        self.check_sizes(pool_size=self.pool_size, strides=self.strides or self.pool_size)
        self.one_of("padding", self.padding, ("valid", "same"))
        self.check_format(self.data_format)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        n = self.spatial
        window = Window(sizes(self.pool_size, n), sizes(self.strides or self.pool_size, n),
                        (1,) * n, self.padding)
        if self.maximum:
            y = e.op("MaxPool", x, kernel_shape=window.kernel, strides=window.strides,
                     pads=window.pads(e, x))
        else:
            y = e.op("AveragePool", x, kernel_shape=window.kernel, strides=window.strides,
                     pads=window.pads(e, x), count_include_pad=0)
        return [channels_back(e, y, self.data_format)]


@dataclass(frozen=True, eq=False)
class MaxPooling1D(_Pool):
    """The largest of each window of `[N, T, C]`."""

    maximum: ClassVar[bool] = True
    spatial: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class MaxPooling2D(_Pool):
    """The largest of each window of `[N, H, W, C]`."""

    maximum: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class AveragePooling1D(_Pool):
    """The mean of each window of `[N, T, C]`, of real samples only."""

    spatial: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class AveragePooling2D(_Pool):
    """The mean of each window of `[N, H, W, C]`, of real pixels only."""


@dataclass(frozen=True, eq=False)
class _GlobalPool(SpatialLayer):
    maximum: ClassVar[bool] = False

    data_format: str | None = None
    keepdims: bool = False

    def check(self) -> None:
        self.check_format(self.data_format)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        y = e.op("GlobalMaxPool" if self.maximum else "GlobalAveragePool", x)
        if self.keepdims:
            return [channels_back(e, y, self.data_format)]
        return [e.op("Flatten", y, axis=1)]


@dataclass(frozen=True, eq=False)
class GlobalMaxPooling1D(_GlobalPool):
    """`[N, T, C]` to the largest of each channel, `[N, C]`."""

    maximum: ClassVar[bool] = True
    spatial: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class GlobalMaxPooling2D(_GlobalPool):
    """`[N, H, W, C]` to the largest of each channel, `[N, C]`."""

    maximum: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class GlobalAveragePooling1D(_GlobalPool):
    """`[N, T, C]` to the mean of each channel, `[N, C]`."""

    spatial: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class GlobalAveragePooling2D(_GlobalPool):
    """`[N, H, W, C]` to the mean of each channel, `[N, C]`."""
