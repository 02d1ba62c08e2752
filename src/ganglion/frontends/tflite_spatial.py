"""Pools, resizing, and blocks of pixels moved into channels and back."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.frontends.tflite_file import Quantization
from ganglion.frontends.tflite_products import FIRST, channels_first, channels_last, pads, positive
from ganglion.frontends.tflite_site import Site
from ganglion.ops.graph import static_shape

Rule = Callable[[Site], None]

MAX_AREA = 4096
"""Pixels of an average's window up to which its rounding is TensorFlow Lite's own."""


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


def _resize(mode: str, table: str) -> Rule:
    """RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: (x, [height, width])."""
    def rule(site: Site) -> None:
        options = site.options(table)
        size = site.known(1, "size")
        if len(size) != 2 or min(size) < 1:
            raise site.error(f"its new size is {size}, expected height and width")
        x = channels_first(site)
        aligned, half = (options.integer(n) for n in ("align_corners", "half_pixel_centers"))
        if aligned and half:
            raise site.error("align_corners and half_pixel_centers exclude each other")
        coordinates = "align_corners" if aligned else "half_pixel" if half else "asymmetric"
        sizes = site.g.ints(*static_shape(x)[:2], *size)
        more = {} if mode == "linear" else {
            "nearest_mode": "round_prefer_ceil" if aligned or half else "floor"}
        y = site.op("Resize", x, None, None, sizes, mode=mode,
                    coordinate_transformation_mode=coordinates, **more)
        channels_last(site, y, 0)

    return rule


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


ROWS: Mapping[str, Rule] = {
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "RESIZE_BILINEAR": _resize("linear", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest", "ResizeNearestNeighborOptions"),
    "SPACE_TO_DEPTH": space_to_depth,
    "DEPTH_TO_SPACE": depth_to_space,
}
