"""Products of float activations by int8 weights, the activations quantised on the fly.

Each row of the input gets 256 unsigned codes of its own over [min(0, least), max(0, greatest)], so
that zero is a code. A row is a row of a matrix, an image of a convolution, or a pixel of one that
mixes channels only (1×1, no steps, no padding, one group). So do XNNPACK's qd8 operators, which
LiteRT runs by default (`xnn_f32_qd8_asymmetric_quantization_params`; a 1×1 CONV_2D is a
FULLY_CONNECTED there). LiteRT without XNNPACK has coarser codes, symmetric ones and one range an
image, unless the file says otherwise (`EvalHybridPerChannel` of TensorFlow Lite's CONV_2D and its
`asymmetric_quantize_inputs`). Weights are int8 with zero point 0 and one scale, or one an output
channel. Steps, every one a float32 operation rounded once:

    range   = hi - lo                    (below 1e-30, or NaN: scale, inverse and zero are 0)
    scale   = range / 255
    inverse = 255 / range
    zero    = min(rint(-lo · inverse), 255)
    code    = min(rint(x · inverse), 255 - zero) + zero
    y       = float32(Σ (code - zero) · w) · (scale · w_scale) + bias

A maximum does not depend on the order, rint is half to even and the sum exact, so finite inputs
give the same bits everywhere. XNNPACK's zero point is the nearest to the end with the smaller
rounding error, this one the nearest to lo's: at most one step away.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs, Dims, Kernel, Op
from ganglion.ops.integer import conv_sums
from ganglion.ops.quantization import like_float, present
from ganglion.ops.values import static_shape
from ganglion.ops.windows import CONV_READS, window

LEAST_RANGE = np.float32(1e-30)
STEPS = np.float32(255)


def centred_codes(x: Array) -> tuple[Array, Array]:
    """(code - zero as float64, float32 scale [rows]) of float rows [rows, n]."""
    x = x.astype(np.float32)
    lo, hi = x.min(axis=1, initial=0), x.max(axis=1, initial=0)
    span = hi - lo
    some = span >= LEAST_RANGE
    divisor = np.where(some, span, np.float32(1))
    scale = np.where(some, span / STEPS, np.float32(0))
    inverse = np.where(some, STEPS / divisor, np.float32(0))
    zero = np.fmin(np.rint(-lo * inverse), STEPS)
    codes = np.minimum(np.rint(x * inverse[:, None]), (STEPS - zero)[:, None])
    return codes.astype(np.float64), scale


def real(sums: Array, scale: Array, w_scale: Array, bias: Array | None, like: Array) -> Array:
    """float32(sums) · (scale · w_scale) + bias, in the dtype of `like`; all broadcast."""
    y = sums.astype(np.float32) * (scale * w_scale.astype(np.float32))
    if bias is not None:
        y = y + bias.astype(np.float32)
    return np.asarray(y, like.dtype)


def hybrid_conv(attrs: Attrs, x: Array, w: Array, w_scale: Array, bias: Array | None = None
                ) -> tuple[Array]:
    """x: [N, C, *spatial]; w: int8 [O, C / group, *kernel]; w_scale: [1] or [O]; bias: [O]."""
    win = window(attrs, x.shape[2:], w.shape[2:])
    alone = {*win.kernel, *win.strides} == {1} and not any((*win.begin, *win.end))
    if alone and get_int(attrs, "group", 1) == 1:
        matrix = w.reshape(w.shape[0], -1).T
        y = hybrid_gemm({}, np.moveaxis(x, 1, -1), matrix, w_scale, bias)[0]
        return (np.moveaxis(y, -1, 1),)
    codes, scale = centred_codes(x.reshape(x.shape[0], -1))
    sums = conv_sums(attrs, codes.reshape(x.shape), w)
    ones = [1] * (x.ndim - 2)
    return (real(sums, scale.reshape(-1, 1, *ones), w_scale.reshape(-1, *ones),
                 None if bias is None else bias.reshape(-1, *ones), x),)


def hybrid_gemm(attrs: Attrs, a: Array, b: Array, b_scale: Array, bias: Array | None = None
                ) -> tuple[Array]:
    """a: [..., K]; b: int8 [K, N]; b_scale: [1] or [N]; bias: [N]. A row of a has its own scale."""
    codes, scale = centred_codes(a.reshape(-1, a.shape[-1]))
    y = real(codes @ b.astype(np.float64), scale[:, None], b_scale.reshape(-1), bias, a)
    return (y.reshape(*a.shape[:-1], -1),)


def _infer_gemm(attrs: Attrs, inputs: Sequence[ir.Value | None]) -> list[tuple[ir.DataType, Dims]]:
    a, b = present(inputs[0]), present(inputs[1])
    return [(a.dtype or ir.DataType.FLOAT, (*static_shape(a)[:-1], static_shape(b)[1]))]


ROWS = (
    # (x, w, w_scale, [bias]); attributes of Conv.
    Op("HybridConv", source="ONNX Conv-11 on int8 weights, x quantised on the fly", codes=True,
       divides=True, domain=GANGLION_DOMAIN, reads=CONV_READS, lower=Kernel("hybrid_conv"),
       reference=hybrid_conv, infer=like_float("Conv", (0, 1), CONV_READS, 0)),
    # (a, b, b_scale, [bias]); no attributes.
    Op("HybridGemm", source="ONNX MatMul-13 on int8 weights, a quantised on the fly", codes=True,
       divides=True, domain=GANGLION_DOMAIN, lower=Kernel("hybrid_gemm"), reference=hybrid_gemm,
       infer=_infer_gemm),
)
