"""Reductions over axes, where the largest is, and the first few in order."""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.move import FillSpec, OneHotSpec
from ganglion.kernels.reduce import ARGS, ReduceSpec
from ganglion.kernels.top_k import TopKSpec
from ganglion.ops.attr import get_int
from ganglion.ops.facts import kind_of
from ganglion.ops.reduction import identity, reduced_axes
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View, dense_strides, row_major


def lower_reduce(lowerer: Lowerer, node: ir.Node) -> None:
    """Reduce*-18, ArgMax, ArgMin: one step a run of neighbouring axes, innermost run last.

    The input's own memory order is kept, so that reducing the spatial axes of a channels-last
    image needs no copy.
    """
    view, attrs = lowerer.view(node.inputs[0]), attributes(node)
    mode = kind_of(node)
    rank = len(view.shape)
    axes = set(reduced_axes(node))
    if get_int(attrs, "select_last_index", 0):
        mode += "_last"
    if mode == "l2" and np.dtype(view.dtype).kind != "f":
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): a root of {view.dtype} is not "
                            "compiled; put a Cast to float32 in front of it and one back behind it")
    if view.size == 0:
        _reduce_nothing(lowerer, node, mode)
        return
    order = view.order() if view.dense_in(view.order()) else row_major(rank)
    if mode == "mean" and np.dtype(view.dtype).kind in "iu":
        order = tuple(sorted(order, key=axes.__contains__))  # one run, as parts would be rounded
    view = lowerer.dense(view, order)
    runs = _runs(order, axes, view.shape) or [(rank, rank)]
    shape = tuple(1 if i in axes else n for i, n in enumerate(view.shape))
    result = lowerer.new(node.outputs[0])
    target = View(result.storage, shape, dense_strides(shape, order))
    _reduce_runs(lowerer, node, view, runs, mode, target)
    shown = target if get_int(attrs, "keepdims", 1) else _without(target, axes)
    lowerer.views[node.outputs[0]] = shown


def _reduce_nothing(lowerer: Lowerer, node: ir.Node, mode: str) -> None:
    """An input without elements: the identity of the reduction, where there is one."""
    target = lowerer.new(node.outputs[0])
    whole = np.dtype(target.dtype).kind in "iu"
    if target.size and (mode in ARGS or (mode == "mean" and whole)):
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): an axis of no elements has no "
                            f"answer; the input is {list(static_shape(node.inputs[0]))}")
    if target.size:
        value = identity(mode, np.dtype(target.dtype))
        lowerer.emit(node, "fill", FillSpec(target.dtype, target.size, value), [target])


def _runs(order: tuple[int, ...], axes: set[int], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(first, last + 1) positions in `order` of every run of reduced axes; unit axes join any."""
    runs: list[tuple[int, int]] = []
    for position, axis in enumerate(order):
        if axis not in axes:
            continue
        if runs and all(shape[order[p]] == 1 or order[p] in axes
                        for p in range(runs[-1][1], position)):
            runs[-1] = (runs[-1][0], position + 1)
        else:
            runs.append((position, position + 1))
    return runs


def _reduce_runs(lowerer: Lowerer, node: ir.Node, view: View, runs: list[tuple[int, int]],
                 mode: str, target: View) -> None:
    sizes = [view.shape[a] for a in view.order()]
    current = view
    for k, (first, last) in enumerate(runs[::-1]):
        outer, axis, inner = (prod(sizes[:first]), prod(sizes[first:last]), prod(sizes[last:]))
        final = k == len(runs) - 1
        step = mode
        if mode in ("sumsq", "l2") and k:
            step = "sum" if mode == "sumsq" else "l2"
        y = target if final else lowerer.buffer(f"{node.name}_part", view.dtype, (outer * inner,))
        lowerer.emit(node, "reduce", ReduceSpec(step, view.dtype, outer, axis, inner),
                     [current, y])
        current = y
        sizes[first:last] = [1] * (last - first)


def _without(view: View, axes: set[int]) -> View:
    keep = [i for i in range(len(view.shape)) if i not in axes]
    return View(view.storage, tuple(view.shape[i] for i in keep),
                tuple(view.strides[i] for i in keep), view.offset)


def lower_hardmax(lowerer: Lowerer, node: ir.Node) -> None:
    """Hardmax-13: 1 at the first largest element along the axis, else 0."""
    x, y = lowerer.dense(lowerer.view(node.inputs[0])), lowerer.new(node.outputs[0])
    axis = get_int(attributes(node), "axis", -1) % len(x.shape)
    outer, n, inner = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1:])
    place = lowerer.buffer(f"{node.name}_place", "int64", (outer, inner))
    lowerer.emit(node, "reduce", ReduceSpec("argmax", x.dtype, outer, n, inner), [x, place])
    lowerer.emit(node, "one_hot", OneHotSpec("int64", outer, n, inner, dtype=y.dtype), [place, y])


def lower_top_k(lowerer: Lowerer, node: ir.Node) -> None:
    """TopK-11: the first k along the axis in order, and their places; k is the output's size."""
    x, attrs = lowerer.dense(lowerer.view(node.inputs[0])), attributes(node)
    axis = get_int(attrs, "axis", -1) % len(x.shape)
    shape = static_shape(node.outputs[0])
    places = lowerer.new(node.outputs[1]) if len(node.outputs) > 1 else \
        lowerer.buffer(f"{node.name}_place", "int64", shape)
    spec = TopKSpec(x.dtype, prod(shape[:axis]), x.shape[axis], prod(shape[axis + 1:]),
                    shape[axis], bool(get_int(attrs, "largest", 1)))
    lowerer.emit(node, "top_k", spec, [x, lowerer.new(node.outputs[0]), places])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "reduce": lower_reduce, "hardmax": lower_hardmax, "top_k": lower_top_k}
