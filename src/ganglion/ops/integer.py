"""Integer arithmetic exactly as the C kernels do it: sums, requantisation, pooling, softmax.

Sums are taken in float64, which holds every integer below 2^53 exactly; after a sum every
operation is one float32 operation, rounded once, so the answer has the same bits everywhere.
"""

import numpy as np

from ganglion.ops.attr import get_int
from ganglion.ops.base import Array, Attrs
from ganglion.ops.convolution import conv, conv_transpose
from ganglion.ops.pooling import counts, pool_window
from ganglion.ops.windows import padded, windows


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
    return get_int(attrs, "lo", int(info.min)), get_int(attrs, "hi", int(info.max))


def conv_sums(attrs: Attrs, x: Array, w: Array) -> Array:
    """Σ x · w of a convolution: float64, exact; x and w less their zero points."""
    return conv(attrs, x.astype(np.float64), w.astype(np.float64))[0]


def conv_transpose_sums(attrs: Attrs, x: Array, w: Array) -> Array:
    """Σ of a transposed convolution, likewise."""
    return conv_transpose(attrs, x.astype(np.float64), w.astype(np.float64))[0]


def average_pool(attrs: Attrs, x: Array, x_zero_point: int, multiplier: Array,
                 zero_point: int) -> Array:
    """clamp(rint(float32(Σ(x - x_zero_point)) · (multiplier / count)) + zero_point).

    x: [N, C, spatial...]; `multiplier` is float32(x_scale / y_scale); multiplier / count is one
    float32 division. Padding counts only with `count_include_pad`. Without `kernel_shape` the
    window is the whole image.
    """
    if "kernel_shape" not in attrs:
        attrs = {**attrs, "kernel_shape": list(x.shape[2:])}
    window = pool_window(attrs, x.shape[2:])
    centred = padded(x.astype(np.int64) - x_zero_point, window, 0)
    sums = windows(centred, window).sum(axis=tuple(range(-len(window.kernel), 0)))
    counted = counts(attrs, x.shape[2:], window)
    info = np.iinfo(x.dtype)
    factor = np.float32(multiplier) / counted.astype(np.float32)
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
