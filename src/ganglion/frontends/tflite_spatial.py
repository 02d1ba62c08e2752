"""Pools, resizing, and blocks of pixels moved into channels and back."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.frontends.tflite_products import channels_first, channels_last, pads, positive
from ganglion.frontends.tflite_site import Site
from ganglion.ops.graph import static_shape

Rule = Callable[[Site], None]


def _pool(name: str) -> Rule:
    """AveragePool counts real pixels only; padding never wins in MaxPool."""
    def rule(site: Site) -> None:
        options = site.options("Pool2DOptions")
        x = channels_first(site)
        kernel = positive(site, options, "filter_height", "filter_width")
        strides = positive(site, options, "stride_h", "stride_w")
        more = {"count_include_pad": 0} if name == "AveragePool" else {}
        y = site.op(name, x, kernel_shape=kernel, strides=strides,
                    pads=pads(site, options, static_shape(x)[2:], kernel, strides), **more)
        channels_last(site, y, options.integer("fused_activation_function"))

    return rule


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
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "RESIZE_BILINEAR": _resize("linear", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest", "ResizeNearestNeighborOptions"),
    "SPACE_TO_DEPTH": space_to_depth,
    "DEPTH_TO_SPACE": depth_to_space,
}
