"""Pools, resizing, and blocks of pixels moved into channels and back."""

from collections.abc import Callable, Mapping
from math import floor, prod

import numpy as np
import onnx_ir as ir

from ganglion.formats.tflite.file import Quantization
from ganglion.formats.tflite.read.products import (
    FIRST,
    channels_first,
    channels_last,
    first,
    image_shape,
    pads,
    positive,
)
from ganglion.formats.tflite.read.site import Site
from ganglion.ops.resize import Axis, nearest
from ganglion.ops.values import static_shape

Rule = Callable[[Site], None]

MAX_AREA = 4096
"""Pixels of an average's window up to which its rounding is TensorFlow Lite's own."""


PLAIN = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64), 0)
LARGER = Quantization(np.full(1, 1 + 2 ** -14, np.float32), np.zeros(1, np.int64), 0)
"""Codes as numbers, and a little further from zero, so that halves move away from it."""


def _max_pool(site: Site) -> None:
    _pooled(site, "MaxPool", channels_first(site))


def _average_pool(site: Site) -> None:
    """AVERAGE_POOL_2D, of real pixels only.

    On bytes, TensorFlow Lite divides the sum of the codes and rounds half away from zero, where
    QuantizeLinear rounds half to even. Read with zero point 0 and a scale that is larger by
    2^-20, halves, and only these, move away from zero: other averages of up to 4096 codes stay at
    least 2^-13 from a half, and no code is moved by more.
    """
    x, y = site.tensor(0), site.output()
    options = site.options("Pool2DOptions")
    area = options.integer("filter_height") * options.integer("filter_width")
    plain = options.integer("fused_activation_function") == 0 and area <= MAX_AREA
    if x.quantization is None or not x.quantization.same(y.quantization) or not plain:
        _pooled(site, "AveragePool", channels_first(site), count_include_pad=0)
        return
    codes = site.op("Transpose", site.value(0), perm=FIRST)
    step, zero = x.quantization.scale, np.zeros(1, np.int64)
    larger = Quantization((step * np.float32(1 + 2 ** -20)).astype(np.float32), zero, 0)
    _pooled(site, "AveragePool", site.dequantized(codes, larger, 0), Quantization(step, zero, 0),
            count_include_pad=0)


def _pooled(site: Site, name: str, x: ir.Value, target: Quantization | None = None,
            **more: int) -> None:
    """The pool of `x` [N, C, H, W]; `target`: how to quantise it, where not as the file says."""
    options = site.options("Pool2DOptions")
    kernel = positive(site, options, "filter_height", "filter_width")
    strides = positive(site, options, "stride_h", "stride_w")
    y = site.op(name, x, kernel_shape=kernel, strides=strides,
                pads=pads(site, options, static_shape(x)[2:], kernel, strides), **more)
    if target is not None:
        y = site.op("QuantizeLinear", y, *site.values.parameters(target, site.output().dtype))
    channels_last(site, y, options.integer("fused_activation_function"))


def _new_size(site: Site, table: str) -> tuple[list[int], bool, bool]:
    """[height, width] of a resized image; whether its corners are the input's; whether its pixels
    are points in their middle."""
    options, size = site.options(table), site.known(1, "size")
    if len(size) != 2 or min(size) < 1 or len(site.shape(0)) != 4 or 0 in site.shape(0):
        raise site.error(f"cannot resize {list(site.shape(0))} to {size}; expected an image "
                         "[batch, height, width, channels], a height and a width")
    aligned, half = (bool(options.integer(n)) for n in ("align_corners", "half_pixel_centers"))
    return size, aligned, half


def _resize_bilinear(site: Site) -> None:
    """RESIZE_BILINEAR: (x, [height, width]).

    Codes of 8 bits are mixed as they are, by shares that add up to 1, so that no scale rounds and
    an image of twice the size has one answer. TensorFlow Lite rounds halves away from zero: codes
    larger by 2^-14 do so too, and other mixtures by sixteenths stay 1/16 - 2^-6 from a half.
    """
    size, aligned, half = _new_size(site, "ResizeBilinearOptions")
    if aligned and half:
        raise site.error("align_corners and half_pixel_centers exclude each other")
    coordinates = "align_corners" if aligned else "half_pixel" if half else "asymmetric"
    image_shape(site, 0)
    small = site.output().dtype in (ir.DataType.INT8, ir.DataType.UINT8)
    codes = small and site.quantized() and site.like_output([0])
    x = site.dequantized(first(site)(site.value(0)), LARGER, 0) if codes else channels_first(site)
    y = site.op("Resize", x, None, None, site.g.ints(*static_shape(x)[:2], *size), mode="linear",
                coordinate_transformation_mode=coordinates)
    if codes:
        y = site.codes(y, PLAIN, site.output().dtype)
    channels_last(site, y, 0)


def _resize_nearest(site: Site) -> None:
    """RESIZE_NEAREST_NEIGHBOR: Resize by whole factors, otherwise one Gather an axis."""
    size, aligned, half = _new_size(site, "ResizeNearestNeighborOptions")
    given = site.shape(0)[1:3]
    rows = [_chosen(old, new, aligned, half) for old, new in zip(given, size)]
    if all(r == [k * old // new for k in range(new)] and new % old == 0
           for r, old, new in zip(rows, given, size)):
        sizes = site.g.ints(site.shape(0)[0], site.shape(0)[3], *size)
        y = site.op("Resize", channels_first(site), None, None, sizes, mode="nearest",
                    coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        channels_last(site, y, 0)
        return

    def move(x: ir.Value) -> ir.Value:
        for axis, chosen in enumerate(rows, 1):
            x = site.op("Gather", x, site.g.ints(*chosen), axis=axis)
        return x

    site.carry(move)


def _chosen(old: int, new: int, aligned: bool, half: bool) -> list[int]:
    """Which of `old` pixels each of `new` ones is (GetNearestNeighbor in the reference kernels)."""
    if not aligned:
        attrs = {"coordinate_transformation_mode": "half_pixel" if half else "asymmetric",
                 "nearest_mode": "round_prefer_ceil" if half else "floor"}
        return nearest(attrs, Axis(old, new, new / old))
    step, start = (old - 1) / (new - 1) if new > 1 else float(old), 0.5 if half else 0.0
    return [min(floor((k + start) * step + 0.5), old - 1) for k in range(new)]


def _image(site: Site, table: str) -> tuple[tuple[int, ...], int]:
    """The input's shape [N, H, W, C] and the block size."""
    block = positive(site, site.options(table), "block_size")[0]
    if len(site.shape(0)) != 4:
        raise site.error(f"its input has the shape {list(site.shape(0))}, expected four axes")
    return site.shape(0), block


def space_to_depth(site: Site) -> None:
    """SPACE_TO_DEPTH: [N, H, W, C] to [N, H/b, W/b, b·b·C]."""
    (n, h, w, c), b = _image(site, "SpaceToDepthOptions")
    if h % b or w % b:
        raise site.error(f"blocks of {b} do not divide an image of {h} x {w}")

    def move(x: ir.Value) -> ir.Value:
        split = site.reshaped(x, (n, h // b, b, w // b, b, c))
        turned = site.op("Transpose", split, perm=[0, 1, 3, 2, 4, 5])
        return site.reshaped(turned, (n, h // b, w // b, b * b * c))

    site.carry(move)


def depth_to_space(site: Site) -> None:
    """DEPTH_TO_SPACE: [N, H, W, b·b·C] to [N, H·b, W·b, C]."""
    (n, h, w, c), b = _image(site, "DepthToSpaceOptions")
    if c % (b * b):
        raise site.error(f"blocks of {b} x {b} do not divide {c} channels")

    def move(x: ir.Value) -> ir.Value:
        split = site.reshaped(x, (n, h, w, b, b, c // (b * b)))
        turned = site.op("Transpose", split, perm=[0, 1, 3, 2, 4, 5])
        return site.reshaped(turned, (n, h * b, w * b, c // (b * b)))

    site.carry(move)


def _blocks(site: Site) -> tuple[list[int], list[tuple[int, int]]]:
    """Block sizes and (before, after) of each spatial axis, from inputs 1 and 2."""
    blocks, ends = site.known(1, "block sizes"), site.known(2, "margins")
    rank = len(site.shape(0))
    if not 0 < len(blocks) < rank or len(ends) != 2 * len(blocks) or min(blocks) < 1 \
            or min(ends) < 0:
        raise site.error(f"has blocks {blocks} and margins {ends} for {list(site.shape(0))}")
    return blocks, list(zip(ends[::2], ends[1::2]))


def _space_to_batch(site: Site) -> None:
    """SPACE_TO_BATCH_ND: [N, H, W, ...] padded, to [b·b·N, H/b, W/b, ...]."""
    blocks, margins = _blocks(site)
    m, (n, *rest) = len(blocks), site.shape(0)
    sizes = [d + sum(pair) for d, pair in zip(rest, margins)]
    if any(d % b for d, b in zip(sizes, blocks)):
        raise site.error(f"blocks of {blocks} do not divide {sizes}")
    split = [v for d, b in zip(sizes, blocks) for v in (d // b, b)]
    perm = [*range(2, 2 * m + 1, 2), 0, *range(1, 2 * m, 2), *range(2 * m + 1, m + 1 + len(rest))]
    result = (n * prod(blocks), *(d // b for d, b in zip(sizes, blocks)), *rest[m:])

    def move(x: ir.Value) -> ir.Value:
        parts = site.reshaped(x, (n, *split, *rest[m:]))
        return site.reshaped(site.op("Transpose", parts, perm=perm), result)

    if not any(map(any, margins)):
        site.carry(move)
        return
    many = [(0, 0), *margins, *[(0, 0)] * (len(rest) - m)]
    pads = site.g.ints(*(p[0] for p in many), *(p[1] for p in many))
    site.finish(move(site.op("Pad", site.real(0), pads)))


def _batch_to_space(site: Site) -> None:
    """BATCH_TO_SPACE_ND: [b·b·N, H, W, ...] to [N, H·b, W·b, ...], cropped."""
    blocks, crops = _blocks(site)
    m, (n, *rest) = len(blocks), site.shape(0)
    if n % prod(blocks):
        raise site.error(f"blocks of {blocks} do not divide a batch of {n}")
    few = n // prod(blocks)
    sizes = [d * b for d, b in zip(rest, blocks)]
    if any(sum(pair) > d for d, pair in zip(sizes, crops)):
        raise site.error(f"cuts {crops} from {sizes}")
    perm = [m, *(a for k in range(m) for a in (m + 1 + k, k)),
            *range(2 * m + 1, m + 1 + len(rest))]

    def move(x: ir.Value) -> ir.Value:
        parts = site.reshaped(x, (*blocks, few, *rest))
        whole = site.reshaped(site.op("Transpose", parts, perm=perm), (few, *sizes, *rest[m:]))
        if not any(map(any, crops)):
            return whole
        ends = (d - pair[1] for d, pair in zip(sizes, crops))
        return site.op("Slice", whole, site.g.ints(*(pair[0] for pair in crops)),
                       site.g.ints(*ends), site.g.ints(*range(1, m + 1)))

    site.carry(move)


ROWS: Mapping[str, Rule] = {
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "RESIZE_BILINEAR": _resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "SPACE_TO_DEPTH": space_to_depth,
    "DEPTH_TO_SPACE": depth_to_space,
}
