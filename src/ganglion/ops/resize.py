"""Resizing images axis by axis: nearest neighbour, linear and cubic. Source: ONNX Resize-19, and
where its words leave room, ONNX's own reference implementation (onnx.reference, op_resize).

Every mode is an affine map an axis, y = matrix · x + offset, as resizing is separable; the offset
holds what tf_crop_and_resize puts outside the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_float, get_int, get_ints, get_str
from ganglion.ops.base import Array, Attrs, Axes, Kernel, Moves, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import optional, source, swapped
from ganglion.ops.values import attributes, numpy_dtype, static_shape

MODES = ("nearest", "linear", "cubic")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
               "asymmetric", "tf_crop_and_resize")


MAX_WEIGHTS = 1 << 24
"""Of the matrix of an axis: one of 4096 made another one of 4096 takes so many."""


@dataclass(frozen=True)
class Axis:
    """`size` pixels become `count`, each 1 / `scale` wide; `roi`: the part of the axis that
    tf_crop_and_resize takes, from 0 to 1."""

    size: int
    count: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def kept(self) -> bool:
        """Whether every pixel stays what and where it is."""
        return (self.size == self.count and bool(np.isclose(self.scale, 1.0, 1e-9, 0.0))
                and bool(np.allclose(self.roi, (0.0, 1.0), 1e-9, 0.0)))


def _choice(attrs: Attrs, name: str, known: Sequence[str]) -> str:
    found = get_str(attrs, name, known[0])
    if found not in known:
        raise ModelError(f"Resize with {name} {found!r}; expected one of {', '.join(known)}")
    return found


def coordinates(attrs: Attrs, axis: Axis) -> Array:
    """Where each output pixel lies among the input's, float64 [count]."""
    mode = _choice(attrs, "coordinate_transformation_mode", COORDINATES)
    i, wide = np.arange(axis.count, dtype=np.float64), axis.scale * axis.size
    half = (i + 0.5) / axis.scale - 0.5
    if mode == "asymmetric":
        return i / axis.scale
    if mode == "pytorch_half_pixel":
        return half if wide != 1 else np.full(axis.count, -0.5)
    if mode == "half_pixel_symmetric":
        return axis.size / 2 * (1 - axis.count / wide) + (i + 0.5) / axis.scale - 0.5
    if mode == "align_corners":
        return i * (axis.size - 1) / (wide - 1) if wide != 1 else np.zeros(axis.count)
    if mode == "tf_crop_and_resize":
        begin, part = axis.roi[0] * (axis.size - 1), (axis.roi[1] - axis.roi[0]) * (axis.size - 1)
        return begin + (i * part / (wide - 1) if wide != 1 else np.full(axis.count, part / 2))
    return half


def outside(attrs: Attrs, axis: Axis) -> Array:
    """Which output pixels take extrapolation_value, bool [count]."""
    if get_str(attrs, "coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return np.zeros(axis.count, bool)
    x = coordinates(attrs, axis)
    return np.asarray((x < 0) | (x > axis.size - 1))


def _weights(attrs: Attrs, ratio: Array, scale: float) -> Array:
    """[count, 2 n]: weights of the n pixels up to and n behind the point that lies `ratio`, in
    (0, 1], behind the n-th. Antialiasing stretches the kernel where pixels become fewer."""
    mode, smooth = _choice(attrs, "mode", MODES), get_int(attrs, "antialias", 0)
    if mode == "nearest":
        return _nearest_weights(attrs, ratio)
    reach = 1 if mode == "linear" else 2
    scale = min(scale, 1.0) if smooth else 1.0
    start = int(np.floor(-reach / scale)) + 1
    away = np.abs((np.arange(start, 2 - start) - ratio[:, None]) * scale)
    found = np.clip(1 - away, 0, 1) if mode == "linear" else _cubic(
        away, get_float(attrs, "cubic_coeff_a", -0.75))
    return np.asarray(found / found.sum(axis=1, keepdims=True) if smooth else found)


def _nearest_weights(attrs: Attrs, ratio: Array) -> Array:
    rounding = _choice(attrs, "nearest_mode", ROUNDINGS)
    for name in ("antialias", "exclude_outside"):
        if get_int(attrs, name, 0):
            raise UnsupportedOp(f"Resize with mode 'nearest' and {name}; ONNX defines it for "
                                "linear and cubic only")
    behind = {"round_prefer_floor": ratio > 0.5, "round_prefer_ceil": ratio >= 0.5,
              "floor": np.zeros(len(ratio), bool), "ceil": np.ones(len(ratio), bool)}[rounding]
    behind = behind | (ratio == 1)
    return np.stack([~behind, behind], axis=1).astype(np.float64)


def _cubic(x: Array, a: float) -> Array:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981; x >= 0."""
    near = (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1
    far = a * x ** 3 - 5 * a * x ** 2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _require_small(axis: Axis) -> None:
    """Raises UnsupportedOp where an axis would take too much memory."""
    if axis.size * axis.count > MAX_WEIGHTS:
        raise UnsupportedOp(f"Resize of an axis of {axis.size} to {axis.count} pixels takes a "
                            f"matrix of more than {MAX_WEIGHTS} weights; resize in smaller steps "
                            "or outside the network")


def interpolation(attrs: Attrs, axis: Axis) -> Array:
    """[count, size]: the weight of each input pixel in each output pixel, float64; 0 in the rows
    of pixels that lie `outside`."""
    _require_small(axis)
    if axis.kept:
        return np.eye(axis.size)
    x = coordinates(attrs, axis)
    before = np.ceil(x).astype(np.int64) - 1
    weights = _weights(attrs, x - before, axis.scale)
    reach = weights.shape[1] // 2
    pixels = before[:, None] + np.arange(1 - reach, 1 + reach)
    if get_int(attrs, "exclude_outside", 0):
        weights = np.where((pixels < 0) | (pixels >= axis.size), 0.0, weights)
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0, 1.0, total)
    weights = np.where(outside(attrs, axis)[:, None], 0.0, weights)
    matrix = np.zeros((axis.count, axis.size))
    np.add.at(matrix, (np.arange(axis.count)[:, None], np.clip(pixels, 0, axis.size - 1)), weights)
    return matrix


def nearest(attrs: Attrs, axis: Axis) -> list[int]:
    """The input pixel that each output pixel copies. Raises UnsupportedOp where one lies outside
    the image."""
    _require_small(axis)
    if outside(attrs, axis).any():
        raise UnsupportedOp("Resize by the nearest pixel beyond the image (tf_crop_and_resize); "
                            "use mode 'linear', or a region within the image")
    return [int(k) for k in interpolation(attrs, axis).argmax(axis=1)]


def resized(attrs: Attrs, shape: Sequence[int], roi: Sequence[float] | None,
            scales: Sequence[float] | None, sizes: Sequence[int] | None) -> list[Axis]:
    """How each axis changes. An output has floor(size · scale) pixels, in float32 as ONNX's shape
    inference has it. Raises ModelError unless scales or sizes are given and fit."""
    axes = [a % len(shape) for a in get_ints(attrs, "axes", list(range(len(shape))))]
    if not (scales or sizes):
        raise ModelError("Resize needs scales or sizes")
    if any(shape[a] < 1 for a in axes):
        raise ModelError(f"Resize of {list(shape)}, which has no pixels")
    given = [float(s) for s in scales] if scales else [
        n / shape[a] for n, a in zip(sizes or (), axes)]
    if len(given) != len(axes) or len(sizes or given) != len(axes):
        raise ModelError(f"Resize of {len(axes)} axes with {len(given)} scales or sizes")
    counts = [int(np.floor(np.float32(shape[a]) * np.float32(s))) for a, s in zip(axes, given)]
    if not scales and sizes:
        given, counts = _by_policy(attrs, [shape[a] for a in axes], given, list(sizes))
    if min([*given, *counts, 1]) <= 0:
        raise ModelError(f"Resize of {list(shape)} to {counts} pixels; expected at least one")
    part = [0.0] * len(axes) + [1.0] * len(axes)
    if get_str(attrs, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        part = list(roi or ())
        if len(part) != 2 * len(axes):
            raise ModelError(f"tf_crop_and_resize needs a roi of {2 * len(axes)} numbers, starts "
                             f"and ends, not {len(part)}")
    found = [Axis(size, size, 1.0) for size in shape]
    for k, a in enumerate(axes):
        found[a] = Axis(shape[a], counts[k], given[k], (part[k], part[len(axes) + k]))
    return found


def _by_policy(attrs: Attrs, old: Sequence[int], scales: list[float], sizes: list[int]
               ) -> tuple[list[float], list[int]]:
    policy = _choice(attrs, "keep_aspect_ratio_policy", ("stretch", "not_larger", "not_smaller"))
    if policy == "stretch":
        return scales, sizes
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [scale] * len(scales), [int(scale * n + 0.5) for n in old]


def _resize_reference(attrs: Attrs, x: Array, roi: Array | None = None,
                      scales: Array | None = None, sizes: Array | None = None
                      ) -> tuple[Array, ...]:
    plan = resized(attrs, x.shape, None if roi is None else [float(r) for r in roi],
                   None if scales is None else [float(s) for s in scales],
                   None if sizes is None else [int(s) for s in sizes])
    copies = _choice(attrs, "mode", MODES) == "nearest"
    if not copies and x.dtype.kind != "f":
        raise UnsupportedOp(f"Resize of {x.dtype} by interpolation; cast to float32 first")
    for k, axis in enumerate(plan):
        if axis.kept:
            continue
        if copies:
            x = np.take(x, nearest(attrs, axis), axis=k)
        else:
            y = np.moveaxis(x, k, -1) @ interpolation(attrs, axis).T + offset(attrs, axis)
            x = np.moveaxis(y, -1, k).astype(x.dtype)
    return (np.ascontiguousarray(x),)


def offset(attrs: Attrs, axis: Axis) -> Array:
    """What is added behind the matrix: extrapolation_value outside the image, float64 [count]."""
    return np.where(outside(attrs, axis), get_float(attrs, "extrapolation_value", 0.0), 0.0)


def resize_plan(node: ir.Node) -> list[Axis]:
    """How each axis of a Resize with constant region, scales or sizes changes."""
    found: list[list[float] | None] = []
    for k in (1, 2, 3):
        value = optional(node, k)
        if value is not None and value.const_value is None:
            raise UnsupportedOp(f"node {node.name!r} (Resize): {value.name!r} must be a constant; "
                                "export the network with fixed sizes")
        found.append(None if value is None or value.const_value is None
                     else [float(v) for v in value.const_value.numpy()])
    roi, scales, sizes = found
    whole = None if sizes is None else [int(v) for v in sizes]
    return resized(attributes(node), static_shape(source(node, 0)), roi, scales, whole)


def repeats(node: ir.Node) -> list[int] | None:
    """How often each axis of a nearest Resize repeats its pixels, where it does just that
    (integer scales); else None."""
    attrs = attributes(node)
    if _choice(attrs, "mode", MODES) != "nearest":
        return None
    found = []
    for axis in resize_plan(node):
        times = axis.count // axis.size
        if nearest(attrs, axis) != [k // max(times, 1) for k in range(axis.count)]:
            return None
        if times * axis.size != axis.count:
            return None
        found.append(times)
    return found


def _resize_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
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
    for k, axis in enumerate(plan):
        if axis.kept:
            continue
        matrix = g.constant(interpolation(attrs, axis).astype(numpy_dtype(x)))
        last = k == count - 1
        perm = swapped(k, count - 1, count)
        turned = dy if last else g.op("Transpose", dy, perm=perm)
        turned = g.op("MatMul", turned, matrix)
        dy = turned if last else g.op("Transpose", turned, perm=perm)
    return [dy, *rest]


READS = ("antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
         "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode")

def _moves(attrs: Attrs) -> Moves | None:
    return Moves.PLACE if get_str(attrs, "mode", "nearest") == "nearest" else None


ROWS = (
    Op("Resize", source="ONNX Resize-19", axes=Axes.SCALED, even=True, exact=True,
       moves=_moves, reads=READS, lower=Kernel("resize"), vjp=_resize_vjp,
       reference=_resize_reference),
)
