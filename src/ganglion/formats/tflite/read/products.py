"""Convolutions and matrix products. TensorFlow is channels-last, ONNX channels-first."""

import struct
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.formats.tflite.file import Quantization
from ganglion.formats.tflite.read.site import Move, Site
from ganglion.formats.tflite.schema import Table
from ganglion.ops.values import static_shape

SAME, VALID = 0, 1
FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def image_shape(site: Site, k: int) -> tuple[int, ...]:
    """The shape of input k. Raises ModelError unless it has four axes."""
    if len(site.shape(k)) != 4:
        raise site.error(f"its input {k} has the shape {list(site.shape(k))}, expected four axes "
                         "such as [batch, height, width, channels]")
    return site.shape(k)


def first(site: Site) -> Move:
    """`[N, H, W, C]` to `[N, C, H, W]`."""
    return lambda v: site.op("Transpose", v, perm=FIRST)


def channels_first(site: Site) -> ir.Value:
    """Input 0 `[N, H, W, C]` as real numbers `[N, C, H, W]`."""
    image_shape(site, 0)
    return site.real(0, first(site))


def channels_last(site: Site, y: ir.Value, activation: int) -> None:
    """`y` `[N, C, H, W]` becomes the operator's output `[N, H, W, C]`."""
    site.finish(y, activation=activation,
                move=lambda v: site.op("Transpose", v, perm=LAST))


def pads(site: Site, options: Table, sizes: Sequence[int], kernel: Sequence[int],
         strides: Sequence[int], dilations: Sequence[int] = (1, 1)) -> list[int]:
    """ONNX pads for SAME (`ceil(size / stride)` outputs, the odd pixel at the end) and VALID."""
    padding = options.integer("padding")
    if padding not in (SAME, VALID):
        raise site.error(f"has the padding {padding}, expected 0 (SAME) or 1 (VALID)")
    begins, ends = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations):
        span = (k - 1) * d + 1
        if padding == VALID and span > size:
            raise site.error(f"its window of {span} pixels is larger than its input of {size}")
        total = max((-(-size // s) - 1) * s + span - size, 0) if padding == SAME else 0
        begins.append(total // 2)
        ends.append(total - total // 2)
    return begins + ends


def positive(site: Site, options: Table, *names: str) -> tuple[int, ...]:
    """Options that are sizes. Raises ModelError unless they are positive."""
    found = tuple(options.integer(n) for n in names)
    if min(found) < 1:
        raise site.error(f"has {', '.join(names)} = {', '.join(map(str, found))}; they must be "
                         "positive")
    return found


def bias(site: Site, k: int, x: int, w: int, channels: int) -> ir.Value | None:
    """Input k as real numbers `[channels]`, None where it is absent.

    TensorFlow Lite takes the codes of an int32 bias in steps of x's scale times w's, whatever
    scale the file notes for the bias itself (reference kernels); so the product is written here.
    """
    if not site.has(k):
        return None
    array = site.constant(k)
    if static_shape(site.value(k)) != (channels,):
        raise site.error(f"its bias has the shape {list(site.shape(k))}, expected [{channels}]")
    x_scale, w_scale = site.tensor(x).quantization, site.tensor(w).quantization
    if array is None or array.dtype.kind != "i":
        return site.real(k)
    if x_scale is None or w_scale is None or not x_scale.per_tensor:
        raise site.unsupported(f"has a bias of {array.dtype} though its input or its weights are "
                               "not quantised")
    step = (x_scale.scale.astype(np.float64) * w_scale.scale).astype(np.float32)
    q = Quantization(step, np.zeros(step.shape, np.int64), 0)
    name = site.tensor(k).name
    if array.dtype == np.int64:
        # Of int16 networks. ONNX dequantises at most int32, which holds all but absurd ones.
        return site.g.constant((array * step.astype(np.float64)).astype(np.float32), name)
    return site.dequantized(site.value(k), q, 0)


def operands(site: Site, x: int, w: int, perm: Sequence[int], axis: int, groups: int,
             lay: Move) -> tuple[ir.Value, ir.Value]:
    """Input x, laid out as [N, groups · C, ...], and the weights, their C along `axis`.

    x·(u + v) = [x, x]·[u, v]: weights of more than one part (see `Site.parts`) meet the codes of x
    as many times, so that the sums stay sums of int8 products.
    """
    count = len(site.parts(w))
    if count < 2 or site.tensor(x).quantization is None:
        return site.real(x, lay), site.weight(w, perm)

    def repeated(value: ir.Value) -> ir.Value:
        value = lay(value)
        n, channels, *rest = static_shape(value)
        split = site.reshaped(value, (n, groups, channels // groups, *rest))
        joined = site.op("Concat", *[split] * count, axis=2)
        return site.reshaped(joined, (n, channels * count, *rest))

    return site.real(x, repeated), site.weight(w, perm, axis)


def conv_2d(site: Site) -> None:
    """CONV_2D: weights [O, H, W, C / groups]."""
    options = site.options("Conv2DOptions")
    channels = image_shape(site, 0)[3]
    outputs, *_, inputs = image_shape(site, 1)
    if inputs < 1 or channels % inputs or outputs % max(channels // inputs, 1):
        raise site.error(f"its weights {list(site.shape(1))} do not fit {channels} channels")
    groups = channels // inputs
    x, w = operands(site, 0, 1, FIRST, 1, groups, first(site))
    _convolved(site, options, x, w, groups, bias(site, 2, 0, 1, outputs))


def depthwise_conv_2d(site: Site) -> None:
    """DEPTHWISE_CONV_2D: weights [1, H, W, C · multiplier]."""
    options = site.options("DepthwiseConv2DOptions")
    channels = image_shape(site, 0)[3]
    one, *_, outputs = image_shape(site, 1)
    if one != 1 or channels < 1 or outputs % channels:
        raise site.error(f"its weights {list(site.shape(1))} do not fit {channels} channels")
    x, w = operands(site, 0, 1, (3, 0, 1, 2), 1, channels, first(site))
    _convolved(site, options, x, w, channels, bias(site, 2, 0, 1, outputs))


def _convolved(site: Site, options: Table, x: ir.Value, w: ir.Value, groups: int,
               b: ir.Value | None) -> None:
    strides = positive(site, options, "stride_h", "stride_w")
    dilations = positive(site, options, "dilation_h_factor", "dilation_w_factor")
    kernel = static_shape(w)[2:]
    y = site.op("Conv", x, w, b, kernel_shape=kernel, strides=strides, dilations=dilations,
                group=groups,
                pads=pads(site, options, static_shape(x)[2:], kernel, strides, dilations))
    channels_last(site, y, options.integer("fused_activation_function"))


def transpose_conv(site: Site) -> None:
    """TRANSPOSE_CONV: (output shape, weights [O, H, W, C], x, [bias])."""
    options = site.options("TransposeConvOptions")
    wanted = site.known(0, "output shape")
    if len(wanted) != 4:
        raise site.error(f"its output shape is {wanted}, expected four sizes")
    strides = positive(site, options, "stride_h", "stride_w")
    y = _transposed(site, (2, 1, 3), wanted[1:3], options.integer("padding") == SAME, strides)
    channels_last(site, y, options.integer("fused_activation_function"))


def transpose_conv_bias(site: Site) -> None:
    """MediaPipe's Convolution2DTransposeBias: (x, weights [O, H, W, C], bias); its options are the
    numbers padding (1: SAME, 2: VALID), stride across, stride down. Source: MediaPipe,
    util/tflite/operations/transpose_conv_bias.cc."""
    data = site.operator.custom
    padding, across, down = struct.unpack_from("<3i", data) if len(data) >= 12 else (0, 0, 0)
    if padding not in (1, 2) or across < 1 or down < 1:
        raise site.error(f"its options {list(data[:12])} are no padding and strides")
    strides = [down, across]
    sizes = [n * s if padding == 1 else (n - 1) * s + k for n, s, k in zip(
        image_shape(site, 0)[1:3], strides, image_shape(site, 1)[1:3])]
    channels_last(site, _transposed(site, (0, 1, 2), sizes, padding == 1, strides), 0)


def _transposed(site: Site, places: tuple[int, int, int], wanted: Sequence[int], same: bool,
                strides: Sequence[int]) -> ir.Value:
    """The transposed convolution of the inputs x, weights and bias at these `places`."""
    at, weights, added = places
    if image_shape(site, weights)[3] != image_shape(site, at)[3]:
        raise site.error(f"its weights {list(site.shape(weights))} do not fit the channels of "
                         f"{list(site.shape(at))}")
    x, w = operands(site, at, weights, (3, 0, 1, 2), 0, 1, first(site))
    sizes, kernel, outputs = static_shape(x)[2:], static_shape(w)[2:], static_shape(w)[1]
    begins, ends, extras = [], [], []
    for size, k, s, want in zip(sizes, kernel, strides, wanted):
        full = (size - 1) * s + k
        total = max(full - want, 0) if same else 0
        end = full - total // 2 - want
        if -end >= s or end > full:
            raise site.error(f"its output of {list(wanted)} pixels does not fit an input of "
                             f"{list(sizes)}, kernel {list(kernel)} and strides {list(strides)}")
        begins.append(total // 2)
        ends.append(max(end, 0))
        extras.append(max(-end, 0))
    return site.op("ConvTranspose", x, w, bias(site, added, at, weights, outputs),
                   kernel_shape=kernel, strides=list(strides), pads=[*begins, *ends],
                   output_padding=extras)


def fully_connected(site: Site) -> None:
    """FULLY_CONNECTED: weights [O, I]; x is taken as rows of I."""
    options = site.options("FullyConnectedOptions")
    if options.integer("weights_format"):
        raise site.unsupported("its weights are shuffled for one processor; convert without that")
    if len(site.shape(1)) != 2:
        raise site.error(f"its weights have the shape {list(site.shape(1))}, expected two axes")
    outputs, inputs = site.shape(1)
    shape = site.shape(0)
    total = int(np.prod(shape, dtype=object))
    if inputs < 1 or total % inputs:
        raise site.error(f"its input {list(shape)} is no rows of {inputs}")
    rows = total // inputs
    x, w = operands(site, 0, 1, (0, 1), 1, 1, lambda v: site.reshaped(v, (rows, inputs)))
    y = site.op("Gemm", x, w, bias(site, 2, 0, 1, outputs), transB=1)
    result = (*shape[:-1], outputs) if options.integer("keep_num_dims") else (rows, outputs)
    site.finish(y, activation=options.integer("fused_activation_function"),
                move=lambda v: site.reshaped(v, result))


def batch_matmul(site: Site) -> None:
    """BATCH_MATMUL, either side transposed at will."""
    options = site.options("BatchMatMulOptions")

    def side(k: int, flag: str) -> ir.Value:
        n = len(site.shape(k))
        if n < 2:
            raise site.error(f"its input {k} has the shape {list(site.shape(k))}, expected a "
                             "matrix")
        perm = [*range(n - 2), n - 1, n - 2]
        return site.weight(k, perm if options.integer(flag) else range(n))

    a = site.real(0) if not options.integer("adj_x") else side(0, "adj_x")
    site.finish(site.op("MatMul", a, side(1, "adj_y")))
