"""Resizing images: nearest neighbour and linear, axis by axis."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_int, get_ints, get_str
from ganglion.ops.base import Array, Attrs, Kernel, Op
from ganglion.ops.gradients import optional, source, swapped
from ganglion.ops.graph import GraphBuilder, attributes, static_shape


def coordinates(attrs: Attrs, size: int, count: int, scale: float) -> Array:
    """Where each of `count` output pixels lies among `size` input pixels (ONNX Resize-19,
    coordinate_transformation_mode; no region of interest). float64."""
    mode = get_str(attrs, "coordinate_transformation_mode", "half_pixel")
    i = np.arange(count, dtype=np.float64)
    if mode == "asymmetric":
        return i / scale
    if mode == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if count > 1 else np.zeros(count)
    if mode == "align_corners":
        return i * (size - 1) / (count - 1) if count > 1 else np.zeros(count)
    if mode == "half_pixel_symmetric":
        shift = size / 2 * (1 - count / (scale * size))
        return shift + (i + 0.5) / scale - 0.5
    raise UnsupportedOp(f"Resize with coordinate_transformation_mode {mode!r}; use half_pixel, "
                        "asymmetric or align_corners")


def nearest(attrs: Attrs, size: int, count: int, scale: float) -> list[int]:
    """The input pixel that each output pixel copies."""
    x = coordinates(attrs, size, count, scale)
    rounding = get_str(attrs, "nearest_mode", "round_prefer_floor")
    if rounding == "round_prefer_floor":
        found = np.ceil(x - 0.5)
    elif rounding == "round_prefer_ceil":
        found = np.floor(x + 0.5)
    elif rounding in ("floor", "ceil"):
        found = np.floor(x) if rounding == "floor" else np.ceil(x)
    else:
        raise ModelError(f"nearest_mode {rounding!r} is unknown")
    return [int(k) for k in np.clip(found, 0, size - 1)]


def interpolation(attrs: Attrs, size: int, count: int, scale: float) -> Array:
    """[count, size]: the weight of each input pixel in each output pixel. float64."""
    matrix = np.zeros((count, size))
    rows = np.arange(count)
    mode = get_str(attrs, "mode", "nearest")
    if mode == "nearest":
        matrix[rows, nearest(attrs, size, count, scale)] = 1
        return matrix
    if mode != "linear" or get_int(attrs, "antialias", 0):
        raise UnsupportedOp(f"Resize with mode {mode!r} and antialias "
                            f"{get_int(attrs, 'antialias', 0)}; use nearest or linear without it")
    x = np.clip(coordinates(attrs, size, count, scale), 0, size - 1)
    low = np.floor(x).astype(int)
    np.add.at(matrix, (rows, low), 1 - (x - low))
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), x - low)
    return matrix


def resized(attrs: Attrs, shape: Sequence[int], scales: Sequence[float] | None,
            sizes: Sequence[int] | None) -> list[tuple[int, float]]:
    """(output size, scale) of every axis. Raises ModelError unless scales or sizes are given,
    UnsupportedOp for a keep_aspect_ratio_policy other than stretch."""
    if get_str(attrs, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedOp("Resize with keep_aspect_ratio_policy other than 'stretch'")
    axes = [a % len(shape) for a in get_ints(attrs, "axes", list(range(len(shape))))]
    found = [(size, 1.0) for size in shape]
    if scales:
        for axis, scale in zip(axes, scales):
            found[axis] = (int(np.floor(shape[axis] * scale)), float(scale))
    elif sizes:
        for axis, size in zip(axes, sizes):
            found[axis] = (size, size / shape[axis])
    else:
        raise ModelError("Resize needs scales or sizes")
    return found


def _resize_reference(attrs: Attrs, x: Array, roi: Array | None = None,
                      scales: Array | None = None, sizes: Array | None = None
                      ) -> tuple[Array, ...]:
    plan = resized(attrs, x.shape, None if scales is None else [float(s) for s in scales],
                   None if sizes is None else [int(s) for s in sizes])
    exact = get_str(attrs, "mode", "nearest") == "nearest"
    for axis, (size, (count, scale)) in enumerate(zip(x.shape, plan)):
        if size == count and scale == 1.0:
            continue
        if exact:
            x = np.take(x, nearest(attrs, size, count, scale), axis=axis)
        else:
            matrix = interpolation(attrs, size, count, scale)
            x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T, -1, axis).astype(x.dtype)
    return (np.ascontiguousarray(x),)


def resize_plan(node: ir.Node) -> list[tuple[int, float]]:
    """(output size, scale) of every axis of a Resize with constant scales or sizes."""
    scales, sizes = optional(node, 2), optional(node, 3)
    found: list[list[float] | None] = []
    for value in (scales, sizes):
        if value is None:
            found.append(None)
        elif value.const_value is None:
            raise ModelError(f"node {node.name!r} (Resize): {value.name!r} must be a constant")
        else:
            found.append([float(v) for v in value.const_value.numpy()])
    whole = None if found[1] is None else [int(v) for v in found[1]]
    return resized(attributes(node), static_shape(source(node, 0)), found[0], whole)


def repeats(node: ir.Node) -> list[int] | None:
    """How often each axis of a nearest Resize repeats its pixels, where it does just that
    (integer scales); else None."""
    attrs = attributes(node)
    if get_str(attrs, "mode", "nearest") != "nearest":
        return None
    found = []
    for size, (count, scale) in zip(static_shape(source(node, 0)), resize_plan(node)):
        times = count // size
        if nearest(attrs, size, count, scale) != [k // max(times, 1) for k in range(count)]:
            return None
        if times * size != count:
            return None
        found.append(times)
    return found


def _resize_vjp(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
                ) -> list[ir.Value | None]:
    """Repeated pixels are summed; otherwise every axis takes its transposed matrix."""
    x, dy = source(node, 0), dys[0]
    rest: list[ir.Value | None] = [None] * (len(node.inputs) - 1)
    if dy is None:
        return [None, *rest]
    shape, times = static_shape(x), repeats(node)
    if times is not None:
        pairs = list(zip(shape, times))
        split = [n for size, t in pairs for n in ((size, t) if t > 1 else (size,))]
        starts = np.cumsum([0] + [2 if t > 1 else 1 for t in times])
        axes = [int(s) + 1 for s, t in zip(starts, times) if t > 1]
        if not axes:
            return [dy, *rest]
        return [g.total(g.op("Reshape", dy, g.ints(*split)), axes, keepdims=False), *rest]
    attrs, plan, count = attributes(node), resize_plan(node), len(shape)
    for axis, (size, (width, scale)) in enumerate(zip(shape, plan)):
        if size == width and scale == 1.0:
            continue
        if x.dtype is None:
            raise ModelError(f"value {x.name!r} has no dtype")
        matrix = g.constant(interpolation(attrs, size, width, scale).astype(x.dtype.numpy()))
        last = axis == count - 1
        perm = swapped(axis, count - 1, count)
        turned = dy if last else g.op("Transpose", dy, perm=perm)
        turned = g.op("MatMul", turned, matrix)
        dy = turned if last else g.op("Transpose", turned, perm=perm)
    return [dy, *rest]


ROWS = (
    Op("Resize", source="ONNX Resize-19 (nearest, linear)", lower=Kernel("resize"),
       vjp=_resize_vjp, reference=_resize_reference),
)
