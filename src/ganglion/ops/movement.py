"""Moving and arranging elements: shapes, order, pieces and padding."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_array, get_int, get_ints, get_str
from ganglion.ops.base import Array, Attrs, Axes, Kernel, Made, Moves, Op, View
from ganglion.ops.building import Builder
from ganglion.ops.gradients import (
    constant_ints,
    optional,
    rank,
    reshape_like,
    scatter_rows,
    source,
    stops,
    unbroadcast,
    zeros,
)
from ganglion.ops.values import attributes, is_given, known_shape, static_shape

Values = list[ir.Value | None]


def _view_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    dy = dys[0]
    dx = None if dy is None else reshape_like(g, dy, source(node, 0))
    return [dx, *[None] * (len(node.inputs) - 1)]


def permutation(node: ir.Node) -> tuple[int, ...]:
    """The input's axis for each of a Transpose's output; by default they are reversed."""
    x = node.inputs[0] if node.inputs else None
    count = 0 if x is None or x.shape is None else len(x.shape)
    return tuple(get_ints(attributes(node), "perm", list(range(count - 1, -1, -1))))


def _transpose_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    dy = dys[0]
    if dy is None:
        return [None]
    back = [int(k) for k in np.argsort(permutation(node))]
    return [g.op("Transpose", dy, perm=back)]


def _concat_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    dy = dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    axis = get_int(attributes(node), "axis", 0)
    sizes = [static_shape(source(node, k))[axis] for k in range(len(node.inputs))]
    if len(sizes) == 1:
        return [dy]
    return list(g.ops("Split", dy, g.ints(*sizes), outputs=len(sizes), axis=axis))


def _split_reference(attrs: Attrs, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
    """Without sizes, `num_outputs` pieces of equal size, the last one maybe smaller."""
    axis = get_int(attrs, "axis", 0)
    if sizes is None:
        count = get_int(attrs, "num_outputs", 0)
        each = -(-x.shape[axis] // count)
        cuts = [each * k for k in range(1, count)]
    else:
        if int(sizes.sum()) != x.shape[axis]:
            raise ModelError(f"Split sizes {sizes.tolist()} do not add up to {x.shape[axis]}")
        cuts = list(accumulate(int(s) for s in sizes[:-1]))
    return tuple(np.split(x, cuts, axis=axis))


def _split_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    rest: Values = [None] * (len(node.inputs) - 1)
    if all(dy is None for dy in dys):
        return [None, *rest]
    parts = [zeros(g, y) if dy is None else dy for dy, y in zip(dys, node.outputs)]
    return [g.op("Concat", *parts, axis=get_int(attributes(node), "axis", 0)), *rest]


def slice_ranges(node: ir.Node) -> list[range]:
    """What a Slice with constant bounds takes of each axis."""
    shape = static_shape(source(node, 0))
    starts, ends = constant_ints(node, 1), constant_ints(node, 2)
    axes = list(range(len(starts))) if optional(node, 3) is None else constant_ints(node, 3)
    steps = [1] * len(starts) if optional(node, 4) is None else constant_ints(node, 4)
    taken = [range(size) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        taken[axis] = _indices(start, end, step, shape[axis])
    return taken


def _indices(start: int, end: int, step: int, size: int) -> range:
    """ONNX Slice-13: bounds count from the end when negative, then are clamped."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    low, high = (0, size) if step > 0 else (-1, size - 1)
    return range(min(max(start, 0 if step > 0 else low + 1), high), min(max(end, low), high), step)


def _slice_reference(attrs: Attrs, x: Array, starts: Array, ends: Array,
                     axes: Array | None = None, steps: Array | None = None) -> tuple[Array, ...]:
    chosen = range(len(starts)) if axes is None else [int(a) for a in axes]
    strides = [1] * len(starts) if steps is None else [int(s) for s in steps]
    for start, end, axis, step in zip(starts, ends, chosen, strides):
        x = np.take(x, np.asarray(_indices(int(start), int(end), step, x.shape[axis]), np.int64),
                    axis=axis)
    return (x,)


def _slice_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    x, dy = source(node, 0), dys[0]
    rest: Values = [None] * (len(node.inputs) - 1)
    if dy is None:
        return [None, *rest]
    taken = slice_ranges(node)
    shape = list(static_shape(x))
    odd = [k for k, r in enumerate(taken) if r.step != 1]
    begin = [0 if k in odd else r.start for k, r in enumerate(taken)]
    end = [0 if k in odd else size - r.stop for k, (r, size) in enumerate(zip(taken, shape))]
    widths = [*begin, *end]
    if any(widths):
        dy = g.op("Pad", dy, g.ints(*widths))
    for axis in odd:
        dy = _spread(g, dy, list(taken[axis]), axis, shape[axis])
    return [dy, *rest]


def _spread(g: Builder, dy: ir.Value, index: Sequence[int], axis: int, size: int) -> ir.Value:
    """The gradient of picking `index` along one axis of `size` elements."""
    like = ir.Value(type=dy.type, shape=ir.Shape(
        [size if k == axis else d for k, d in enumerate(static_shape(dy))]))
    return scatter_rows(g, dy, g.ints(*index), axis, like)


NumpyMode = Literal["constant", "edge", "reflect", "wrap"]
PAD_MODES: tuple[NumpyMode, ...] = ("constant", "edge", "reflect", "wrap")


def _pad_widths(pads: Sequence[int], axes: Sequence[int] | None, count: int
                ) -> list[tuple[int, int]]:
    chosen = list(range(count)) if axes is None else [a % count for a in axes]
    widths = [(0, 0)] * count
    for k, axis in enumerate(chosen):
        widths[axis] = (pads[k], pads[k + len(chosen)])
    return widths


def pad_widths(node: ir.Node) -> list[tuple[int, int]]:
    """(before, after) of every axis of a Pad with constant pads; negative ones crop."""
    axes = None if optional(node, 3) is None else constant_ints(node, 3)
    return _pad_widths(constant_ints(node, 1), axes, rank(source(node, 0)))


def _pad_mode(attrs: Attrs) -> NumpyMode:
    mode = get_str(attrs, "mode", "constant")
    for known in PAD_MODES:
        if mode == known:
            return known
    raise ModelError(f"Pad mode {mode!r} is not one of {list(PAD_MODES)}")


def _pad_reference(attrs: Attrs, x: Array, pads: Array, value: Array | None = None,
                   axes: Array | None = None) -> tuple[Array, ...]:
    chosen = None if axes is None else [int(a) for a in axes]
    widths = _pad_widths([int(p) for p in pads], chosen, x.ndim)
    crop = tuple(slice(max(-b, 0), size - max(-e, 0)) for (b, e), size in zip(widths, x.shape))
    grow = [(max(b, 0), max(e, 0)) for b, e in widths]
    mode = _pad_mode(attrs)
    if mode == "constant":
        fill = np.zeros((), x.dtype) if value is None else value.reshape(())
        return (np.pad(x[crop], grow, constant_values=fill),)
    return (np.pad(x[crop], grow, mode=mode),)


def _pad_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    """The padding value takes no gradient."""
    x, dy = source(node, 0), dys[0]
    rest: Values = [None] * (len(node.inputs) - 1)
    if dy is None:
        return [None, *rest]
    widths, shape, mode = pad_widths(node), static_shape(x), _pad_mode(attributes(node))
    if mode != "constant":
        for axis, (size, width) in enumerate(zip(shape, widths)):
            if min(width) < 0:
                raise UnsupportedOp(f"node {node.name!r} (Pad): gradient of mode {mode} with "
                                    "negative pads")
            if any(width):
                index = np.pad(np.arange(size), width, mode=mode)
                dy = _spread(g, dy, [int(i) for i in index], axis, size)
        return [dy, *rest]
    crop = [k for k, w in enumerate(widths) if max(w) > 0]
    if crop:
        starts = [max(widths[k][0], 0) for k in crop]
        ends = [max(widths[k][0], 0) + shape[k] + min(widths[k][0], 0) + min(widths[k][1], 0)
                for k in crop]
        dy = g.op("Slice", dy, g.ints(*starts), g.ints(*ends), g.ints(*crop))
    grow = [max(-b, 0) for b, _ in widths] + [max(-e, 0) for _, e in widths]
    if any(grow):
        dy = g.op("Pad", dy, g.ints(*grow))
    return [dy, *rest]


def _pad_with_given(g: Builder, node: ir.Node) -> Made:
    """Where the caller gives the number around: it is chosen by a padded mask."""
    x, value = source(node, 0), optional(node, 2)
    sizes = known_shape(x)
    if value is None or not is_given(value) or source(node, 1).const_value is None or \
            sizes is None or _pad_mode(attributes(node)) != "constant":
        return None
    ones = g.constant(np.ones(sizes, bool), f"{node.name}_inside")
    inside, wide = (g.op("Pad", v, node.inputs[1], None, *node.inputs[3:]) for v in (ones, x))
    return [g.op("Where", inside, wide, g.op("Reshape", value, g.ints(1)))]


def _expand_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    dy = dys[0]
    return [None if dy is None else unbroadcast(g, dy, source(node, 0)), None]


def _tile_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    x, dy = source(node, 0), dys[0]
    if dy is None:
        return [None, None]
    repeats, shape = constant_ints(node, 1), static_shape(x)
    pairs = [n for pair in zip(repeats, shape) for n in pair]
    split = g.op("Reshape", dy, g.ints(*pairs))
    return [g.total(split, list(range(0, len(pairs), 2)), keepdims=False), None]


def _constant_of_shape(attrs: Attrs, shape: Array) -> tuple[Array, ...]:
    value = get_array(attrs, "value", np.zeros(1, np.float32))
    return (np.full(tuple(int(n) for n in shape), value.reshape(-1)[0], value.dtype),)


def _constant_reference(attrs: Attrs) -> tuple[Array, ...]:
    """Constant-13 with a tensor, a number or a list of numbers; no texts, nothing sparse."""
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32),
                       ("value_int", np.int64), ("value_ints", np.int64)):
        if name in attrs:
            return (np.array(attrs[name], kind),)
    if "value" not in attrs:
        raise UnsupportedOp(f"Constant with {sorted(attrs)}; only tensors and numbers are read")
    return (get_array(attrs, "value", np.zeros(0)),)


VIEW = View()

ROWS = (
    Op("Reshape", source="ONNX Reshape-21", axes=Axes.RESHAPED,
       reads=("allowzero",),
       lower=VIEW, vjp=_view_vjp, even=True),
    Op("Flatten", source="ONNX Flatten-21", axes=Axes.RESHAPED,
       reads=("axis",),
       lower=VIEW, vjp=_view_vjp, even=True),
    Op("Squeeze", source="ONNX Squeeze-21",
       axes=Axes.SQUEEZED, lower=VIEW, vjp=_view_vjp, even=True),
    Op("Unsqueeze", source="ONNX Unsqueeze-21",
       axes=Axes.UNSQUEEZED, lower=VIEW, vjp=_view_vjp, even=True),
    Op("Identity", source="ONNX Identity-21", axes=Axes.SAME, lower=VIEW, vjp=_view_vjp, even=True),
    Op("Transpose", source="ONNX Transpose-21", axes=Axes.PERMUTED,
       reads=("perm",),
       lower=Kernel("transpose"), moves=Moves.PLACE, even=True, vjp=_transpose_vjp),
    Op("Concat", source="ONNX Concat-13", axes=Axes.JOINED,
       reads=("axis",),
       lower=Kernel("concat"), moves=Moves.JOIN, even=True, vjp=_concat_vjp),
    Op("Split", source="ONNX Split-18", along=0,
       reads=("axis", "num_outputs"),
       lower=Kernel("split"), moves=Moves.PLACE, even=True, vjp=_split_vjp,
       reference=_split_reference),
    Op("Slice", source="ONNX Slice-13",
       axes=Axes.CUT, lower=Kernel("slice"), moves=Moves.PLACE, even=True,
       vjp=_slice_vjp,
       reference=_slice_reference),
    Op("Pad", source="ONNX Pad-21", axes=Axes.PADDED,
       reads=("mode",),
       lower=Kernel("pad"), moves=Moves.FILL, even=True, made_of=_pad_with_given,
       vjp=_pad_vjp, reference=_pad_reference),
    Op("Expand", source="ONNX Expand-13",
       axes=Axes.EXPANDED, lower=Kernel("expand"), moves=Moves.PLACE, even=True,
       vjp=_expand_vjp),
    Op("Tile", source="ONNX Tile-13",
       axes=Axes.REPEATED, lower=Kernel("tile"), moves=Moves.PLACE, even=True,
       vjp=_tile_vjp),
    Op("Shape", source="ONNX Shape-21",
       reads=("end", "start"),
       vjp=stops),
    Op("Size", source="ONNX Size-21", vjp=stops),
    Op("Constant", source="ONNX Constant-21",
       reads=("value", "value_float", "value_floats", "value_int", "value_ints"),
       vjp=stops, reference=_constant_reference),
    Op("ConstantOfShape", source="ONNX ConstantOfShape-21",
       reads=("value",),
       lower=Kernel("fill"), vjp=stops,
       reference=_constant_of_shape),
    Op("Range", source="ONNX Range-11", vjp=stops),
)
