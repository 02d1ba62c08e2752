"""Pools and resizing."""

from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np

from ganglion.formats.tflite.write.codes import parameters
from ganglion.formats.tflite.write.products import (
    LEAST,
    Image,
    image,
    padded,
    padding,
    put_image,
    two,
)
from ganglion.formats.tflite.write.site import Rule, Site, last
from ganglion.ops.attr import get_str
from ganglion.ops.base import Attrs
from ganglion.ops.facts import is_op
from ganglion.ops.named import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from ganglion.ops.resize import Axis, interpolation, resize_plan
from ganglion.ops.values import static_shape
from ganglion.ops.windows import Window, window
from ganglion.passes.base import only_reader

MOST_HAIR = 2 ** -18
"""How much larger a scale may be that stands for the same one."""


def _window(site: Site) -> Window:
    if any(d != 1 for d in site.wholes("dilations", [1])):
        raise site.unsupported("a .tflite file knows pools without dilation only")
    if len(site.node.outputs) > 1 and site.node.outputs[1].uses():
        raise site.unsupported("the places of the maxima are not written")
    return window(site.attrs, site.shape(0)[2:], site.wholes("kernel_shape", []))


def _pooled(site: Site, name: str, x: Image, tensor: int, mode: int, w: Window) -> None:
    kernel, strides = two(w.kernel, 1), two(w.strides, 1)
    out = (site.shape(0)[0], *two(w.out, 1), x.channels)
    fields = {"padding": mode, "stride_w": strides[1], "stride_h": strides[0],
              "filter_width": kernel[1], "filter_height": kernel[0]}
    put_image(site, site.op(name, [tensor], out, ("Pool2DOptions", fields), like=tensor))


def max_pool(site: Site) -> None:
    """MaxPool; codes stay codes."""
    w, x = _window(site), image(site, moved=True)
    tensor, mode = padding(site, x, w, LEAST)
    _pooled(site, "MAX_POOL_2D", x, tensor, mode, w)


def average_pool(site: Site) -> None:
    """AveragePool; on codes, TensorFlow Lite rounds halves away from zero."""
    w = _window(site)
    site.target = site.aim() if site.quant(0) is not None else None
    _absorb_rounding(site)
    x = image(site, moved=site.target is not None)
    counted = site.whole("count_include_pad", 0) == 1
    begin, ends = two(w.begin, 0), []
    for size, b, width, step, count in zip(x.sizes, begin, two(w.extent, 1), two(w.strides, 1),
                                           two(w.out, 1)):
        ends.append(max((count - 1) * step + width - size - b, 0))
    if counted and (any(begin) or any(ends)):
        if site.whole("ceil_mode", 0):
            raise site.unsupported("with ceil_mode and count_include_pad, part of the margin "
                                   "counts; a .tflite file cannot say so")
        tensor = padded(site, x.tensor, [(0, 0), (begin[0], ends[0]), (begin[1], ends[1]), (0, 0)],
                        0.0)
        _pooled(site, "AVERAGE_POOL_2D", x, tensor, 1, w)
        return
    tensor, mode = padding(site, x, w, None)
    _pooled(site, "AVERAGE_POOL_2D", x, tensor, mode, w)


def _absorb_rounding(site: Site) -> None:
    """The front end reads a .tflite file's average with another zero point and a scale larger by a
    hair, so that halves round away from zero; written back, both pairs are the operator alone."""
    above, q = site.value(0).producer(), site.quant(0)
    if above is None or q is None or not is_op(above, DEQUANTIZE_LINEAR):
        return
    told = parameters(above, above.inputs[0].dtype if above.inputs[0] is not None else None)
    if told == q:
        return
    below = only_reader(site.result)
    if below is not None and is_op(below, QUANTIZE_LINEAR):
        wanted = parameters(below, below.outputs[0].dtype)
        hair = told.scale[0] / q.scale[0] - 1
        if wanted.scale == q.scale and wanted.zero == told.zero and 0 <= hair < MOST_HAIR:
            site.absorb(below)
            return
    raise site.unsupported("reads codes by another scale or zero point than they were written "
                           "with, which no tensor of a .tflite file can say")


def _global(name: str, integer: bool) -> Rule:
    """A reduction over all spatial axes."""
    def rule(site: Site) -> None:
        shape, order = site.shape(0), last(site.rank)
        if integer and site.quant(0) is not None:
            site.target = site.aim()
        moving = not integer
        x = site.moved(0, order) if moving else site.read(0, order)
        axes = range(1, len(shape) - 1)
        out = (shape[0], *[1] * len(axes), shape[1])
        site.put(site.op(name, [x, site.flat.ints(*axes)], out,
                         ("ReducerOptions", {"keep_dims": True}), like=x if moving else None),
                 order)

    return rule


def resize(site: Site) -> None:
    """Resize, nearest and linear, where TensorFlow Lite takes the same pixels."""
    shape, out = site.shape(0), static_shape(site.node.outputs[0])
    mode = get_str(site.attrs, "mode", "nearest")
    where = get_str(site.attrs, "coordinate_transformation_mode", "half_pixel")
    nearest = get_str(site.attrs, "nearest_mode", "round_prefer_floor")
    if shape[:2] != out[:2] or len(shape) not in (3, 4):
        raise site.unsupported("only the spatial axes of an image can be resized")
    aligned, half = where == "align_corners", where in ("half_pixel", "pytorch_half_pixel")
    whole = all(b % a == 0 for a, b in zip(shape[2:], out[2:]))
    rounded = nearest in ("round_prefer_floor", "round_prefer_ceil")
    if mode == "nearest" and whole and half and rounded:
        half = False  # k-fold: each pixel is repeated k times, by either rule
    elif mode == "nearest":
        wanted = {"asymmetric": "floor", "half_pixel": "round_prefer_ceil",
                  "align_corners": "round_prefer_ceil"}.get(where)
        if nearest != wanted:
            raise site.unsupported(_refused(mode, where, nearest))
    elif mode != "linear" or not (aligned or half or where == "asymmetric"):
        raise site.unsupported(_refused(mode, where, nearest))
    if not all(map(_by_sizes, repeat(site.attrs), resize_plan(site.node))):
        raise site.unsupported("resizes by scales, a region or weights of its own, and TensorFlow "
                               "Lite by the sizes alone; use sizes, without antialias")
    _resized(site, mode, two(out[2:], 1), aligned, half)


def _by_sizes(attrs: Attrs, axis: Axis) -> bool:
    """Whether the sizes, coordinates and rounding alone give the same pixels."""
    plain = {name: attrs[name] for name in ("mode", "coordinate_transformation_mode",
                                            "nearest_mode") if name in attrs}
    even = interpolation(plain, Axis(axis.size, axis.count, axis.count / axis.size))
    return bool(np.allclose(interpolation(attrs, axis), even, atol=1e-6))


def _refused(mode: str, where: str, nearest: str) -> str:
    return (f"resizes by mode {mode!r}, coordinates {where!r}, nearest {nearest!r}, which "
            "TensorFlow Lite does not compute; use nearest with asymmetric coordinates and floor, "
            "or linear")


def _resized(site: Site, mode: str, sizes: Sequence[int], aligned: bool, half: bool) -> None:
    linear = mode == "linear"
    x = image(site, moved=not linear)
    kind = ("RESIZE_BILINEAR", "ResizeBilinearOptions") if linear else (
        "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
    out = (site.shape(0)[0], *sizes, x.channels)
    fields = {"align_corners": aligned, "half_pixel_centers": half}
    put_image(site, site.op(kind[0], [x.tensor, site.flat.constant(
        np.asarray(sizes, np.int32), "sizes")], out, (kind[1], fields), like=x.tensor))


ROWS: Mapping[str, Rule] = {
    "MaxPool": max_pool, "AveragePool": average_pool, "Resize": resize,
    "GlobalAveragePool": _global("MEAN", True), "GlobalMaxPool": _global("REDUCE_MAX", False)}
