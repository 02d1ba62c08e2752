"""Convolutions. Kernels have Keras's shape when drawn or read and ONNX's in the Model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.layers.activations import ActSpec, activate, check_activation
from ganglion.layers.base import Array, Emitter, InitSpec, Ints, RegSpec, static
from ganglion.layers.spatial import SpatialLayer, Window, channels_back, sizes


def _to_onnx(kernel: Array) -> Array:
    """`[..., in, out]` to `[out, in, ...]`."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


@dataclass(frozen=True, eq=False)
class _Conv(SpatialLayer):
    filters: int
    kernel_size: Ints
    strides: Ints = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Ints = 1
    groups: int = 1
    activation: ActSpec = None
    use_bias: bool = True
    kernel_initializer: InitSpec = "glorot_uniform"
    bias_initializer: InitSpec = "zeros"
    kernel_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(filters=self.filters, groups=self.groups)
        self.check_sizes(kernel_size=self.kernel_size, strides=self.strides,
                         dilation_rate=self.dilation_rate)
        self.one_of("padding", self.padding,
                    ("valid", "same", "causal") if self.spatial == 1 else ("valid", "same"))
        self.check_format(self.data_format)
        check_activation(self, self.activation)
        if self.filters % self.groups:
            raise self.error(f"filters {self.filters} must be a multiple of groups {self.groups}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        channels = static(e, x, 1, "the kernel has one slice for each channel")
        if channels % self.groups:
            raise e.error(f"its input has {channels} channels, which groups={self.groups} "
                          "does not divide")
        n = self.spatial
        window = Window(sizes(self.kernel_size, n), sizes(self.strides, n),
                        sizes(self.dilation_rate, n), self.padding)
        kernel = e.weight("kernel", (*window.kernel, channels // self.groups, self.filters),
                          self.kernel_initializer, regularizer=self.kernel_regularizer,
                          layout=_to_onnx)
        bias = e.weight("bias", (self.filters,), self.bias_initializer,
                        regularizer=self.bias_regularizer) if self.use_bias else None
        y = conv(e, x, kernel, bias, window, self.groups)
        return [activate(e, self.activation, channels_back(e, y, self.data_format))]


@dataclass(frozen=True, eq=False)
class Conv1D(_Conv):
    """`[N, T, C]` to `[N, T', filters]`; padding may also be "causal"."""

    spatial: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class Conv2D(_Conv):
    """`[N, H, W, C]` to `[N, H', W', filters]`."""


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D(SpatialLayer):
    """Each channel convolved by itself: `[N, H, W, C]` to `[N, H', W', C * depth_multiplier]`."""

    kernel_size: Ints
    strides: Ints = 1
    padding: str = "valid"
    depth_multiplier: int = 1
    data_format: str | None = None
    dilation_rate: Ints = 1
    activation: ActSpec = None
    use_bias: bool = True
    depthwise_initializer: InitSpec = "glorot_uniform"
    bias_initializer: InitSpec = "zeros"
    depthwise_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(depth_multiplier=self.depth_multiplier)
        self.check_sizes(kernel_size=self.kernel_size, strides=self.strides,
                         dilation_rate=self.dilation_rate)
        self.one_of("padding", self.padding, ("valid", "same"))
        self.check_format(self.data_format)
        check_activation(self, self.activation)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        channels = static(e, x, 1, "the kernel has one slice for each channel")
        window = Window(sizes(self.kernel_size, 2), sizes(self.strides, 2),
                        sizes(self.dilation_rate, 2), self.padding)
        kernel = depthwise_kernel(e, "kernel", window, channels, self.depth_multiplier,
                                  self.depthwise_initializer, self.depthwise_regularizer)
        bias = e.weight("bias", (channels * self.depth_multiplier,), self.bias_initializer,
                        regularizer=self.bias_regularizer) if self.use_bias else None
        y = conv(e, x, kernel, bias, window, channels)
        return [activate(e, self.activation, channels_back(e, y, self.data_format))]


@dataclass(frozen=True, eq=False)
class SeparableConv2D(SpatialLayer):
    """A depthwise convolution, then one of kernel 1 that mixes the channels."""

    filters: int
    kernel_size: Ints
    strides: Ints = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Ints = 1
    depth_multiplier: int = 1
    activation: ActSpec = None
    use_bias: bool = True
    depthwise_initializer: InitSpec = "glorot_uniform"
    pointwise_initializer: InitSpec = "glorot_uniform"
    bias_initializer: InitSpec = "zeros"
    depthwise_regularizer: RegSpec = None
    pointwise_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(filters=self.filters, depth_multiplier=self.depth_multiplier)
        self.check_sizes(kernel_size=self.kernel_size, strides=self.strides,
                         dilation_rate=self.dilation_rate)
        self.one_of("padding", self.padding, ("valid", "same"))
        self.check_format(self.data_format)
        check_activation(self, self.activation)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        channels = static(e, x, 1, "the kernel has one slice for each channel")
        window = Window(sizes(self.kernel_size, 2), sizes(self.strides, 2),
                        sizes(self.dilation_rate, 2), self.padding)
        depthwise = depthwise_kernel(e, "depthwise_kernel", window, channels,
                                     self.depth_multiplier, self.depthwise_initializer,
                                     self.depthwise_regularizer)
        pointwise = e.weight("pointwise_kernel",
                             (1, 1, channels * self.depth_multiplier, self.filters),
                             self.pointwise_initializer, layout=_to_onnx,
                             regularizer=self.pointwise_regularizer)
        bias = e.weight("bias", (self.filters,), self.bias_initializer,
                        regularizer=self.bias_regularizer) if self.use_bias else None
        y = conv(e, x, depthwise, None, window, channels)
        y = conv(e, y, pointwise, bias, Window((1, 1), (1, 1), (1, 1), "valid"), 1)
        return [activate(e, self.activation, channels_back(e, y, self.data_format))]


@dataclass(frozen=True, eq=False)
class Conv2DTranspose(SpatialLayer):
    """The gradient of a convolution: `[N, H, W, C]` to `[N, H * stride, ..., filters]`."""

    filters: int
    kernel_size: Ints
    strides: Ints = 1
    padding: str = "valid"
    output_padding: int | tuple[int, ...] | None = None
    data_format: str | None = None
    dilation_rate: Ints = 1
    activation: ActSpec = None
    use_bias: bool = True
    kernel_initializer: InitSpec = "glorot_uniform"
    bias_initializer: InitSpec = "zeros"
    kernel_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(filters=self.filters)
        self.check_sizes(kernel_size=self.kernel_size, strides=self.strides,
                         dilation_rate=self.dilation_rate)
        self.one_of("padding", self.padding, ("valid", "same"))
        self.check_format(self.data_format)
        check_activation(self, self.activation)
        for extra, s in zip(sizes(self.output_padding or 0, 2), sizes(self.strides, 2)):
            if not 0 <= extra < s:
                raise self.error(f"output_padding {self.output_padding} must be at least 0 and "
                                 f"below strides {self.strides}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x = self.enter(e, xs, self.data_format)
        channels = static(e, x, 1, "the kernel has one slice for each channel")
        kernel_size, strides = sizes(self.kernel_size, 2), sizes(self.strides, 2)
        kernel = e.weight("kernel", (*kernel_size, self.filters, channels),
                          self.kernel_initializer, regularizer=self.kernel_regularizer,
                          layout=_to_onnx)
        bias = e.weight("bias", (self.filters,), self.bias_initializer,
                        regularizer=self.bias_regularizer) if self.use_bias else None
        pads, extra = self._padding()
        y = e.op("ConvTranspose", x, kernel, bias, kernel_shape=kernel_size, strides=strides,
                 dilations=sizes(self.dilation_rate, 2), pads=pads, output_padding=extra)
        return [activate(e, self.activation, channels_back(e, y, self.data_format))]

    def _padding(self) -> tuple[list[int], list[int]]:
        """ONNX pads and output_padding that give Keras's output.

        Keras (TensorFlow's rule) puts `before` and `after` zeros around the spread input; the full
        result has `span - 1` of each. What is less is cut by pads, what is more is output_padding.
        """
        begins, ends, extras = [], [], []
        wanted = sizes(self.output_padding or 0, 2)
        for k, s, d, extra in zip(sizes(self.kernel_size, 2), sizes(self.strides, 2),
                                  sizes(self.dilation_rate, 2), wanted):
            span = (k - 1) * d + 1
            if self.padding == "valid":
                before = span - 1
                after = before + (max(s - span, 0) if self.output_padding is None else extra)
            else:
                total = (s + span - 2 if self.output_padding is None
                         else span + span % 2 - 2 + extra)
                before = min(total // 2 + total % 2, span - 1)
                after = total - before
            begins.append(span - 1 - before)
            ends.append(max(span - 1 - after, 0))
            extras.append(max(after - span + 1, 0))
        return begins + ends, extras


def conv(e: Emitter, x: ir.Value, kernel: ir.Value, bias: ir.Value | None, window: Window,
         groups: int) -> ir.Value:
    """One ONNX Conv of `x` `[N, C, ...]`."""
    return e.op("Conv", x, kernel, bias, kernel_shape=window.kernel, strides=window.strides,
                dilations=window.dilations, pads=window.pads(e, x), group=groups)


def depthwise_kernel(e: Emitter, name: str, window: Window, channels: int, multiplier: int,
                     initializer: InitSpec, regularizer: RegSpec) -> ir.Value:
    """A weight `[kh, kw, C, M]`, kept as `[C * M, 1, kh, kw]`."""
    def layout(w: Array) -> Array:
        return w.reshape(*window.kernel, channels * multiplier, 1).transpose(2, 3, 0, 1)

    return e.weight(name, (*window.kernel, channels, multiplier), initializer,
                    regularizer=regularizer, layout=layout)
