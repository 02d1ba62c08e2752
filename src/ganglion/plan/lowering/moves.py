"""Operators that move elements without arithmetic: most become views, the others copies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.literal import BITS
from ganglion.kernels.move import (
    FillSpec,
    GatherElementsSpec,
    GatherSpec,
    OneHotSpec,
)
from ganglion.kernels.scatter import COMBINED, ScatterSpec
from ganglion.ops.attr import get_array, get_int, get_ints, get_str
from ganglion.ops.random import keeps_all
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View, dense_strides, row_major

MAX_LINES = 4096
"""Lines that a Pad may repeat: each is a step of its own."""


def lower_view(lowerer: Lowerer, node: ir.Node) -> None:
    """Reshape and its like: the same bytes where strides allow, else a dense copy first."""
    view, shape = lowerer.view(node.inputs[0]), static_shape(node.outputs[0])
    lowerer.views[node.outputs[0]] = (
        view.reshaped(shape) or reshaped_dense(lowerer.dense(view), node, shape))


def lower_dropout(lowerer: Lowerer, node: ir.Node) -> None:
    """Dropout-13 that drops nothing: the same bytes, and a mask that keeps all of them."""
    if not keeps_all(node):
        raise UnsupportedOp(f"node {node.name!r} (Dropout): training_mode, with a ratio that is "
                            "not 0, has no fixed result; export the network for inference")
    lower_view(lowerer, node)
    for kept in (v for v in node.outputs[1:] if v.uses() or v.is_graph_output()):
        fill(lowerer, node, lowerer.new(kept), 1)


def reshaped_dense(view: View, node: ir.Node, shape: Sequence[int]) -> View:
    """A dense view under another shape. Raises UnsupportedOp when that holds another number of
    elements."""
    shown = view.reshaped(shape)
    if shown is None:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): the result's shape does not "
                            "hold as many elements as its input")
    return shown


def lower_transpose(lowerer: Lowerer, node: ir.Node) -> None:
    """Transpose-21: a relabelling of axes."""
    view = lowerer.view(node.inputs[0])
    default = range(len(view.shape))[::-1]
    perm = get_ints(attributes(node), "perm", list(default))
    lowerer.views[node.outputs[0]] = view.transposed(perm)


def lower_expand(lowerer: Lowerer, node: ir.Node) -> None:
    """Expand-13: strides of 0."""
    shape = static_shape(node.outputs[0])
    lowerer.views[node.outputs[0]] = lowerer.view(node.inputs[0]).broadcast(shape)


def lower_tile(lowerer: Lowerer, node: ir.Node) -> None:
    """Tile-13: a copy through a view with the repeats as axes of their own."""
    view = lowerer.view(node.inputs[0])
    repeats = [int(r) for r in lowerer.array(node.inputs[1], node, "repeats")]
    paired = [d for r, n in zip(repeats, view.shape) for d in (r, n)]
    strides = [s for stride in view.strides for s in (0, stride)]
    lowerer.copy(View(view.storage, tuple(paired), tuple(strides), view.offset),
                 reshaped_dense(lowerer.new(node.outputs[0]), node, paired), str(node.name))


def lower_concat(lowerer: Lowerer, node: ir.Node) -> None:
    """Concat-13: a copy an input, into its part of the result."""
    views = [lowerer.view(v) for v in node.inputs]
    axis = get_int(attributes(node), "axis", 0) % len(views[0].shape)
    order = views[0].order()
    target, start = lowerer.new(node.outputs[0], order), 0
    for view in views:
        lowerer.copy(view, _part(target, axis, start, view.shape[axis]), str(node.name))
        start += view.shape[axis]


def _part(view: View, axis: int, start: int, count: int, step: int = 1) -> View:
    shape = tuple(count if i == axis else n for i, n in enumerate(view.shape))
    strides = tuple(s * step if i == axis else s for i, s in enumerate(view.strides))
    return View(view.storage, shape, strides, view.offset + start * view.strides[axis])


def lower_split(lowerer: Lowerer, node: ir.Node) -> None:
    """Split-18: views of the parts."""
    view = lowerer.view(node.inputs[0])
    axis, start = get_int(attributes(node), "axis", 0) % len(view.shape), 0
    for value in node.outputs:
        count = static_shape(value)[axis]
        lowerer.views[value] = _part(view, axis, start, count)
        start += count


def lower_slice(lowerer: Lowerer, node: ir.Node) -> None:
    """Slice-13 with constant bounds: a view; backward steps are copied."""
    view = lowerer.view(node.inputs[0])
    starts = [int(v) for v in lowerer.array(node.inputs[1], node, "starts")]
    axes = _optional(lowerer, node, 3, "axes", list(range(len(starts))))
    steps = _optional(lowerer, node, 4, "steps", [1] * len(starts))
    shape = static_shape(node.outputs[0])
    for start, axis, step in zip(starts, axes, steps):
        axis %= len(view.shape)
        n = view.shape[axis]
        low, high = (0, n) if step > 0 else (0, n - 1)
        begin = min(max(start + n if start < 0 else start, low), high)
        view = _part(view, axis, begin, shape[axis], step)
    if any(s < 0 for s in view.strides):
        copy = lowerer.new(node.outputs[0])
        lowerer.copy(view, copy, str(node.name))
        view = copy
    lowerer.views[node.outputs[0]] = view


def _optional(lowerer: Lowerer, node: ir.Node, index: int, role: str, default: list[int]
              ) -> list[int]:
    if len(node.inputs) <= index or node.inputs[index] is None:
        return default
    return [int(v) for v in lowerer.array(node.inputs[index], node, role)]


def lower_pad(lowerer: Lowerer, node: ir.Node) -> None:
    """Pad-21 with a constant value: fill, then copy; other modes by parts."""
    view, mode = lowerer.view(node.inputs[0]), get_str(attributes(node), "mode", "constant")
    pads = [int(v) for v in lowerer.array(node.inputs[1], node, "pads")]
    axes = [a % len(view.shape) for a in
            _optional(lowerer, node, 3, "axes", list(range(len(view.shape))))]
    begins = dict(zip(axes, pads[:len(axes)]))
    ends = dict(zip(axes, pads[len(axes):]))
    for axis in axes:
        lost = -min(begins[axis], 0)
        kept = view.shape[axis] - lost + min(ends[axis], 0)
        view = _part(view, axis, lost, kept)
    begins = {a: max(b, 0) for a, b in begins.items()}
    if mode != "constant":
        _pad_mirrored(lowerer, node, view, begins, {a: max(e, 0) for a, e in ends.items()}, mode)
        return
    value: float | int = 0
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        value = lowerer.array(node.inputs[2], node, "constant_value").item()
    target = lowerer.new(node.outputs[0], view.order())
    fill(lowerer, node, target, value)
    inner = target
    for axis, begin in begins.items():
        inner = _part(inner, axis, begin, view.shape[axis])
    lowerer.copy(view, inner, str(node.name))


def _pad_mirrored(lowerer: Lowerer, node: ir.Node, view: View, begins: Mapping[int, int],
                  ends: Mapping[int, int], mode: str) -> None:
    """Grows one axis after the other, every new line copied from the line that it repeats."""
    if mode not in PADDED_FROM:
        raise UnsupportedOp(f"node {node.name!r} (Pad): mode {mode!r} is not handled; use "
                            f"constant, {', '.join(PADDED_FROM)}")
    lines = sum(begins.values()) + sum(ends.values())
    if lines > MAX_LINES:
        raise UnsupportedOp(f"node {node.name!r} (Pad): {lines} lines are added, each a step of "
                            f"its own, expected at most {MAX_LINES}; pad with a constant")
    for axis in sorted(begins):
        begin, n, end = begins[axis], view.shape[axis], ends[axis]
        if begin == end == 0:
            continue
        shape = [begin + n + end if i == axis else d for i, d in enumerate(view.shape)]
        grown = lowerer.buffer(f"{node.name}_{axis}", view.dtype, shape, view.order())
        lowerer.copy(view, _part(grown, axis, begin, n), str(node.name))
        for k in [*range(begin), *range(begin + n, begin + n + end)]:
            source = PADDED_FROM[mode](k - begin, n)
            lowerer.copy(_part(view, axis, source, 1), _part(grown, axis, k, 1), str(node.name))
        view = grown
    lowerer.views[node.outputs[0]] = view


def _bounce(index: int, n: int) -> int:
    period = max(1, 2 * n - 2)
    index %= period
    return index if index < n else period - index


PADDED_FROM: Mapping[str, Callable[[int, int], int]] = {
    "edge": lambda k, n: min(max(k, 0), n - 1), "reflect": _bounce, "wrap": lambda k, n: k % n}
"""Which of n lines stands at place k, which may lie outside."""


def fill(lowerer: Lowerer, node: ir.Node, target: View, value: float | int) -> None:
    """Sets every element of a whole buffer."""
    exact = np.array(value, target.dtype).item()
    lowerer.emit(node, "fill", FillSpec(target.dtype, target.storage.size, exact), [target])


def lower_fill(lowerer: Lowerer, node: ir.Node) -> None:
    """ConstantOfShape-21."""
    value = get_array(attributes(node), "value", np.zeros(1, np.float32)).reshape(-1)[0]
    fill(lowerer, node, lowerer.new(node.outputs[0]), value.item())


def lower_gather(lowerer: Lowerer, node: ir.Node) -> None:
    """Gather-13; one constant index is a view."""
    x, index = lowerer.view(node.inputs[0]), lowerer.view(node.inputs[1])
    axis = get_int(attributes(node), "axis", 0) % len(x.shape)
    if index.size == 1 and index.storage.array is not None and not index.shape:
        at = int(lowerer.values(index)) % x.shape[axis]
        part = _part(x, axis, at, 1)
        lowerer.views[node.outputs[0]] = replace(
            part, shape=x.shape[:axis] + x.shape[axis + 1:],
            strides=x.strides[:axis] + x.strides[axis + 1:])
        return
    spec = GatherSpec(x.dtype, index.dtype, prod(x.shape[:axis]), x.shape[axis],
                      prod(x.shape[axis + 1:]), index.size)
    lowerer.emit(node, "gather", spec, [lowerer.dense(x), lowerer.dense(index),
                                        lowerer.new(node.outputs[0])])


def lower_gather_elements(lowerer: Lowerer, node: ir.Node) -> None:
    """GatherElements-13."""
    x, index = lowerer.view(node.inputs[0]), lowerer.view(node.inputs[1])
    axis = get_int(attributes(node), "axis", 0) % len(x.shape)
    for k, count in enumerate(index.shape):
        if k != axis and count > x.shape[k]:
            raise UnsupportedOp(f"node {node.name!r} (GatherElements): indices {list(index.shape)} "
                                f"reach beyond data {list(x.shape)} along axis {k}")
        x = x if k == axis else _part(x, k, 0, count)
    spec = GatherElementsSpec(x.dtype, index.dtype, prod(x.shape[:axis]), x.shape[axis],
                              prod(x.shape[axis + 1:]), index.shape[axis])
    lowerer.emit(node, "gather_elements", spec,
                 [lowerer.dense(x), lowerer.dense(index), lowerer.new(node.outputs[0])])


def lower_scatter_nd(lowerer: Lowerer, node: ir.Node) -> None:
    """ScatterND-18: runs of updates at places in the leading axes of data."""
    x, index = lowerer.view(node.inputs[0]), lowerer.view(node.inputs[1])
    depth, strides = index.shape[-1], dense_strides(x.shape, row_major(len(x.shape)))
    _scatter(lowerer, node, ((prod(index.shape[:-1]), 0),),
             tuple(zip(x.shape, strides))[:depth], prod(x.shape[depth:]))


def lower_scatter_elements(lowerer: Lowerer, node: ir.Node) -> None:
    """ScatterElements-18: each update at its own place but along one axis."""
    x, index = lowerer.view(node.inputs[0]), lowerer.view(node.inputs[1])
    strides = dense_strides(x.shape, row_major(len(x.shape)))
    axis = get_int(attributes(node), "axis", 0) % len(x.shape)
    if any(n > m for k, (n, m) in enumerate(zip(index.shape, x.shape)) if k != axis):
        raise UnsupportedOp(f"node {node.name!r} (ScatterElements): indices {list(index.shape)} "
                            f"reach beyond data {list(x.shape)} along another axis than {axis}")
    loops = tuple((n, 0 if k == axis else strides[k]) for k, n in enumerate(index.shape))
    _scatter(lowerer, node, loops, ((x.shape[axis], strides[axis]),), 1)


def _scatter(lowerer: Lowerer, node: ir.Node, loops: tuple[tuple[int, int], ...],
             axes: tuple[tuple[int, int], ...], inner: int) -> None:
    x, index, updates = (lowerer.dense(lowerer.view(v)) for v in node.inputs[:3])
    mode = get_str(attributes(node), "reduction", "none")
    if mode not in COMBINED:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): reduction {mode!r} is not "
                            f"handled; use {', '.join(COMBINED)}")
    if mode != "none" and x.dtype in (*BITS, "bool"):
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): reduction {mode!r} of {x.dtype} "
                            "is not compiled; put a Cast to float32 or int32 in front of it")
    spec = ScatterSpec(mode, x.dtype, index.dtype, loops, axes, inner, x.size)
    lowerer.emit(node, "scatter", spec, [x, index, updates, lowerer.new(node.outputs[0])])


def lower_one_hot(lowerer: Lowerer, node: ir.Node) -> None:
    """OneHot-11 with constant depth and values."""
    index = lowerer.view(node.inputs[0])
    off, on = lowerer.array(node.inputs[2], node, "values")
    rank = len(index.shape) + 1
    axis = get_int(attributes(node), "axis", -1) % rank
    y = lowerer.new(node.outputs[0])
    spec = OneHotSpec(index.dtype, prod(index.shape[:axis]), y.shape[axis],
                      prod(index.shape[axis:]), off.item(), on.item(), y.dtype)
    lowerer.emit(node, "one_hot", spec, [lowerer.dense(index), y])


ANY_DTYPE = frozenset({"transpose", "expand", "tile", "concat", "split", "slice", "pad", "fill",
                       "gather", "gather_elements", "one_hot", "dropout",
                       "scatter_nd", "scatter_elements"})
"""The lowerings below that move elements of whatever type."""
LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "transpose": lower_transpose, "expand": lower_expand, "tile": lower_tile,
    "concat": lower_concat, "split": lower_split, "slice": lower_slice, "pad": lower_pad,
    "fill": lower_fill, "gather": lower_gather, "gather_elements": lower_gather_elements,
    "scatter_nd": lower_scatter_nd, "scatter_elements": lower_scatter_elements,
    "one_hot": lower_one_hot, "dropout": lower_dropout}
