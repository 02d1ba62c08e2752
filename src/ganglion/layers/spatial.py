"""What convolutions and pools share: data formats and padding.

Keras is channels-last, ONNX channels-first; a Transpose stands on each side of the ONNX operator
and a pass cancels those that meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from ganglion.layers.base import Emitter, Ints, UnaryLayer, dims, is_float, rank, static


def sizes(value: Ints, n: int) -> tuple[int, ...]:
    """An int or a tuple as `n` sizes."""
    return value if isinstance(value, tuple) else (value,) * n


def channels_first(e: Emitter, x: ir.Value, data_format: str | None) -> ir.Value:
    """`[N, ..., C]` as `[N, C, ...]`."""
    n = len(dims(x))
    if data_format == "channels_first" or n < 3:
        return x
    return e.op("Transpose", x, perm=[0, n - 1, *range(1, n - 1)])


def channels_back(e: Emitter, x: ir.Value, data_format: str | None) -> ir.Value:
    """`[N, C, ...]` back to the layer's own format."""
    n = len(dims(x))
    if data_format == "channels_first" or n < 3:
        return x
    return e.op("Transpose", x, perm=[0, *range(2, n), 1])


@dataclass(frozen=True)
class Window:
    """How a kernel or a pool walks over the spatial axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str

    def pads(self, e: Emitter, x: ir.Value) -> list[int]:
        """ONNX pads (all begins, then all ends) for `x` `[N, C, ...]`.

        "same" gives `ceil(size / stride)` outputs, the odd pixel at the end (TensorFlow's rule).
        """
        begins, ends = [], []
        for axis, (k, s, d) in enumerate(zip(self.kernel, self.strides, self.dilations), 2):
            span = (k - 1) * d + 1
            total = 0
            if self.padding == "causal":
                begins.append(span - 1)
                ends.append(0)
                continue
            if self.padding == "same" and s == 1:
                total = span - 1
            elif self.padding == "same":
                size = static(e, x, axis, "padding 'same' with a stride depends on it")
                total = max((-(-size // s) - 1) * s + span - size, 0)
            begins.append(total // 2)
            ends.append(total - total // 2)
        if self.padding == "valid":
            self._fits(e, x)
        return begins + ends

    def _fits(self, e: Emitter, x: ir.Value) -> None:
        spatial = dims(x)[2:]
        for size, k, d in zip(spatial, self.kernel, self.dilations):
            if isinstance(size, int) and size < (k - 1) * d + 1:
                spread = f" spread by dilation {self.dilations}" if max(self.dilations) > 1 else ""
                raise e.error(f"kernel {self.kernel}{spread} is larger than its input {spatial}; "
                              "use padding='same', a smaller kernel or fewer pools before it")


@dataclass(frozen=True, eq=False)
class SpatialLayer(UnaryLayer):
    """A layer over `spatial` axes between the batch and the channels."""

    spatial: ClassVar[int] = 2

    def check_sizes(self, **values: Ints) -> None:
        """Raises ModelError unless each is a positive integer or one for each spatial axis."""
        self.positive(**values)
        for name, value in values.items():
            if isinstance(value, tuple) and len(value) != self.spatial:
                raise self.error(f"{name} must be one integer or {self.spatial} of them, "
                                 f"found {value!r}")

    def check_format(self, data_format: str | None) -> None:
        self.one_of("data_format", data_format, (None, "channels_last", "channels_first"))

    def enter(self, e: Emitter, xs: Sequence[ir.Value], data_format: str | None) -> ir.Value:
        """The one input, checked, as `[N, C, ...]`."""
        (x,) = xs
        is_float(e, x)
        rank(e, x, self.spatial + 2)
        return channels_first(e, x, data_format)
