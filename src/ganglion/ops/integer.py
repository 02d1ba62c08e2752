"""Integer arithmetic exactly as the C kernels do it: sums, requantisation, pooling, softmax.

Sums are taken in float64, which holds every integer below 2^53 exactly; after a sum every
operation is one float32 operation, rounded once, so the answer has the same bits everywhere.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from ganglion.errors import ModelError
from ganglion.ops.base import Array, Attrs


def requant_multiplier(x_scale: Array | float, w_scale: Array | float,
                       y_scale: Array | float) -> Array:
    """x_scale · w_scale / y_scale, computed in float64 from left to right, rounded to float32.

    The one definition, for references and plans alike. Shape of `w_scale`.
    """
    exact = (np.asarray(x_scale, np.float64) * np.asarray(w_scale, np.float64)
             / np.asarray(y_scale, np.float64))
    return np.asarray(exact, np.float32)


def requantize(acc: Array, multiplier: Array, zero_point: int, lo: int, hi: int,
               dtype: np.dtype) -> Array:
    """clamp(rint(float32(acc) · multiplier) + zero_point, lo, hi), all in float32."""
    rounded = np.rint(acc.astype(np.float32) * multiplier) + np.float32(zero_point)
    codes: Array = np.clip(rounded, np.float32(lo), np.float32(hi)).astype(dtype)
    return codes


def quantize_array(x: Array, scale: Array, zero_point: Array, dtype: np.dtype) -> Array:
    """saturate(rint(x / scale) + zero_point), half to even (ONNX QuantizeLinear-21)."""
    info = np.iinfo(dtype)
    rounded = np.rint(x / scale) + zero_point.astype(x.dtype)
    codes: Array = np.clip(rounded, info.min, info.max).astype(dtype)
    return codes


def dequantize_array(q: Array, scale: Array, zero_point: Array) -> Array:
    """(q - zero_point) · scale, the difference exact (ONNX DequantizeLinear-21)."""
    difference: Array = (q.astype(np.int64) - zero_point.astype(np.int64)).astype(scale.dtype)
    return np.asarray(difference * scale)


def clamp_range(attrs: Attrs, dtype: np.dtype) -> tuple[int, int]:
    """Attributes `lo` and `hi` (a fused ReLU or Clip), the dtype's own range where absent."""
    info = np.iinfo(dtype)
    return int_attr(attrs, "lo", int(info.min)), int_attr(attrs, "hi", int(info.max))


def int_attr(attrs: Attrs, name: str, default: int) -> int:
    value = attrs.get(name, default)
    if not isinstance(value, (int, np.integer)):
        raise ModelError(f"attribute {name!r} is {value!r}, an integer was expected")
    return int(value)


def ints_attr(attrs: Attrs, name: str, default: Sequence[int]) -> list[int]:
    value = attrs.get(name)
    if value is None:
        return list(default)
    if not isinstance(value, (list, tuple, np.ndarray)):
        raise ModelError(f"attribute {name!r} is {value!r}, a list of integers was expected")
    return [int(v) for v in value]


class Window:
    """Where a kernel's window lies over the spatial axes, from ONNX's attributes.

    `begins`: pixels of padding in front; `outs`: output sizes; one entry a spatial axis.
    """

    def __init__(self, attrs: Attrs, spatial: Sequence[int], kernel: Sequence[int]) -> None:
        rank = len(kernel)
        self.kernel = list(kernel)
        self.strides = ints_attr(attrs, "strides", [1] * rank)
        self.dilations = ints_attr(attrs, "dilations", [1] * rank)
        self.extents = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilations)]
        pads = ints_attr(attrs, "pads", [0] * 2 * rank)
        auto = attrs.get("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            self.outs = [-(-n // s) for n, s in zip(spatial, self.strides)]
            total = [max((o - 1) * s + e - n, 0) for o, s, e, n in
                     zip(self.outs, self.strides, self.extents, spatial)]
            self.begins = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
            return
        if auto == "VALID":
            pads = [0] * 2 * rank
        self.begins, ends = pads[:rank], pads[rank:]
        ceil = int_attr(attrs, "ceil_mode", 0)
        self.outs = []
        for n, b, e, extent, s in zip(spatial, self.begins, ends, self.extents, self.strides):
            room = n + b + e - extent
            out = (-(-room // s) if ceil else room // s) + 1
            if ceil and (out - 1) * s >= n + b:
                out -= 1
            self.outs.append(out)

    def padded(self, x: Array) -> Array:
        """x, [N, C, spatial...], with zeros wherever a window reaches."""
        widths = [(0, 0), (0, 0)]
        for n, b, o, s, e in zip(x.shape[2:], self.begins, self.outs, self.strides, self.extents):
            widths.append((b, max((o - 1) * s + e - n - b, 0)))
        return np.pad(x, widths)

    def taps(self) -> Iterator[tuple[slice, ...]]:
        """For each kernel position, in row-major order: what it reads of the padded image."""
        for index in product(*(range(k) for k in self.kernel)):
            yield tuple(slice(i * d, i * d + (o - 1) * s + 1, s) for i, d, o, s in
                        zip(index, self.dilations, self.outs, self.strides))


def conv_sums(attrs: Attrs, x: Array, w: Array) -> Array:
    """Σ x · w of a convolution; x: [N, C, spatial...] less its zero point, w: [O, C/G, kernel...].

    Returns float64 [N, O, out...], exact.
    """
    groups = int_attr(attrs, "group", 1)
    n, c, *spatial = x.shape
    window = Window(attrs, spatial, w.shape[2:])
    image = window.padded(x.astype(np.float64))
    weights = w.astype(np.float64).reshape(groups, w.shape[0] // groups, w.shape[1], -1)
    acc = np.zeros((n, groups, w.shape[0] // groups, int(np.prod(window.outs))))
    for k, slices in enumerate(window.taps()):
        part = image[(slice(None), slice(None), *slices)].reshape(n, groups, c // groups, -1)
        acc += weights[..., k] @ part
    return acc.reshape(n, w.shape[0], *window.outs)


def transposed_window(attrs: Attrs, spatial: Sequence[int],
                      kernel: Sequence[int]) -> tuple[Window, list[int]]:
    """The window that a transposed convolution writes through, and its output's spatial sizes.

    ONNX ConvTranspose-11: `output_shape` and SAME padding decide the pads.
    """
    rank = len(kernel)
    window = Window({k: attrs[k] for k in ("strides", "dilations") if k in attrs}, kernel, kernel)
    window.outs = list(spatial)
    extra = ints_attr(attrs, "output_padding", [0] * rank)
    pads = ints_attr(attrs, "pads", [0] * 2 * rank)
    auto = attrs.get("auto_pad", "NOTSET")
    wanted = ints_attr(attrs, "output_shape", [])[-rank:]
    if auto in ("SAME_UPPER", "SAME_LOWER") and not wanted:
        wanted = [n * s for n, s in zip(spatial, window.strides)]
    full = [s * (n - 1) + p + e for s, n, p, e in
            zip(window.strides, spatial, extra, window.extents)]
    if wanted:
        total = [max(f - y, 0) for f, y in zip(full, wanted)]
        window.begins = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        return window, wanted
    if auto == "VALID":
        pads = [0] * 2 * rank
    window.begins = pads[:rank]
    return window, [f - b - e for f, b, e in zip(full, pads[:rank], pads[rank:])]


def conv_transpose_sums(attrs: Attrs, x: Array, w: Array) -> Array:
    """Σ of a transposed convolution; x: [N, C, spatial...], w: [C, O/G, kernel...], exact."""
    groups = int_attr(attrs, "group", 1)
    n, c, *spatial = x.shape
    window, outs = transposed_window(attrs, spatial, w.shape[2:])
    channels = w.shape[1]
    flat = x.astype(np.float64).reshape(n, groups, c // groups, -1)
    weights = w.astype(np.float64).reshape(groups, c // groups, channels, -1)
    sizes = [max((m - 1) * s + e, b + o) for m, s, e, b, o in
             zip(spatial, window.strides, window.extents, window.begins, outs)]
    image = np.zeros((n, groups * channels, *sizes))
    for k, slices in enumerate(window.taps()):
        part = np.swapaxes(weights[..., k], 1, 2) @ flat
        image[(slice(None), slice(None), *slices)] += part.reshape(n, -1, *spatial)
    crop = tuple(slice(b, b + o) for b, o in zip(window.begins, outs))
    return image[(slice(None), slice(None), *crop)]


def average_pool(attrs: Attrs, x: Array, x_zero_point: int, multiplier: Array,
                 zero_point: int) -> Array:
    """clamp(rint(float32(Σ(x - x_zero_point)) · (multiplier / count)) + zero_point).

    x: [N, C, spatial...]; `multiplier` is float32(x_scale / y_scale); multiplier / count is one
    float32 division. Padding counts only with `count_include_pad`.
    """
    spatial = x.shape[2:]
    window = Window(attrs, spatial, ints_attr(attrs, "kernel_shape", spatial))
    centred = window.padded(x.astype(np.int64) - x_zero_point)
    counted = window.padded(np.ones((1, 1, *spatial), np.int64))
    if int_attr(attrs, "count_include_pad", 0):
        counted = np.ones_like(counted)
    sums = np.zeros((*x.shape[:2], *window.outs), np.int64)
    counts = np.zeros((1, 1, *window.outs), np.int64)
    for slices in window.taps():
        sums += centred[(slice(None), slice(None), *slices)]
        counts += counted[(slice(None), slice(None), *slices)]
    info = np.iinfo(x.dtype)
    factor = np.float32(multiplier) / counts.astype(np.float32)
    return requantize(sums, factor, zero_point, int(info.min), int(info.max), x.dtype)


def softmax_table(x_scale: float) -> Array:
    """uint32 [256]: entry d is round(exp(-d · x_scale) · 2^23), for a distance d below the maximum.

    Computed once, when building; the C holds the numbers.
    """
    distance = np.arange(256, dtype=np.float64)
    return np.rint(np.exp(-distance * float(x_scale)) * 2.0 ** 23).astype(np.uint32)


def softmax(x: Array, x_scale: float, y_scale: float, zero_point: int, axis: int) -> Array:
    """clamp(rint(float32(e) / float32(Σe) · (1 / y_scale)) + zero_point).

    e = `softmax_table`[max - x]; every operation is one in float32, from left to right.
    """
    codes = x.astype(np.int64)
    e = softmax_table(x_scale)[codes.max(axis=axis, keepdims=True) - codes]
    total = e.astype(np.uint64).sum(axis=axis, keepdims=True).astype(np.float32)
    share = e.astype(np.float32) / total
    info = np.iinfo(x.dtype)
    inverse = np.float32(1) / np.float32(y_scale)
    rounded = np.rint(share * inverse) + np.float32(zero_point)
    answer: Array = np.clip(rounded, info.min, info.max).astype(x.dtype)
    return answer
