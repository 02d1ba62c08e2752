"""Picking elements by index, and adding into them."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_int, get_str
from ganglion.ops.base import Array, Attrs, Axes, Kernel, Made, Moves, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import (
    from_front,
    rank,
    scatter_elements,
    scatter_rows,
    source,
    stops,
    zeros,
)
from ganglion.ops.values import attributes, dims, is_given, numpy_dtype, static_shape

Values = list[ir.Value | None]


def _gather_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    x, index, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None, None]
    axis = get_int(attributes(node), "axis", 0) % rank(x)
    return [scatter_rows(g, dy, index, axis, x), None]


def _gather_elements_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    """One index a row (labels against scores) needs no scatter: dy where the index is met."""
    x, index, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None, None]
    axis = get_int(attributes(node), "axis", 0) % rank(x)
    one_each = [1 if k == axis else d for k, d in enumerate(dims(x))]
    size = dims(x)[axis]
    if dims(index) == one_each and isinstance(size, int):
        shape = [size if k == axis else 1 for k in range(rank(x))]
        places = g.constant(np.arange(size, dtype=numpy_dtype(index)).reshape(shape))
        return [g.where(g.op("Equal", from_front(g, index, size), places), dy, 0), None]
    return [scatter_elements(g, dy, index, axis, x), None]


def _added(node: ir.Node) -> bool:
    """Whether a scatter adds; ModelError names the reductions that have no gradient here."""
    reduction = get_str(attributes(node), "reduction", "none")
    if reduction not in ("none", "add"):
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): gradient of reduction "
                            f"{reduction!r}; only 'none' and 'add' have one")
    return reduction == "add"


def _scatter_nd_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> Values:
    """For whole rows: indices [..., 1]."""
    index, updates, dy = source(node, 1), source(node, 2), dys[0]
    if dy is None:
        return [None, None, None]
    if static_shape(index)[-1] != 1:
        raise UnsupportedOp(f"node {node.name!r} (ScatterND): gradient for indices of shape "
                            f"{dims(index)}; the last dimension must be 1")
    rows = g.op("Squeeze", index, g.ints(-1))
    picked = g.op("Gather", dy, rows, axis=0)
    if _added(node):
        return [dy, None, picked]
    return [g.op("ScatterND", dy, index, zeros(g, updates)), None, picked]


def _scatter_elements_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                          ) -> Values:
    index, updates, dy = source(node, 1), source(node, 2), dys[0]
    if dy is None:
        return [None, None, None]
    axis = get_int(attributes(node), "axis", 0)
    picked = g.op("GatherElements", dy, index, axis=axis)
    if _added(node):
        return [dy, None, picked]
    return [g.op("ScatterElements", dy, index, zeros(g, updates), axis=axis), None, picked]


def _scatter_nd(attrs: Attrs, x: Array, index: Array, updates: Array) -> tuple[Array, ...]:
    return _updated(attrs, x, tuple(np.moveaxis(index, -1, 0)), updates)


def _updated(attrs: Attrs, x: Array, where: tuple[Array, ...], updates: Array
             ) -> tuple[Array, ...]:
    """A copy of x with the updates at `where` set, or combined by the attribute `reduction`."""
    y = x.copy()
    reduction = get_str(attrs, "reduction", "none")
    if reduction == "none":
        y[where] = updates
    else:
        _ufunc(reduction).at(y, where, updates)
    return (y,)


def _places(index: Array, axis: int) -> tuple[Array, ...]:
    """Where GatherElements reads: index along `axis`, its own position along the others."""
    grid = np.ix_(*(np.arange(n) for n in index.shape))
    return tuple(index if k == axis else steps for k, steps in enumerate(grid))


def _scatter_elements(attrs: Attrs, x: Array, index: Array, updates: Array) -> tuple[Array, ...]:
    return _updated(attrs, x, _places(index, get_int(attrs, "axis", 0) % x.ndim), updates)


def _ufunc(reduction: str) -> np.ufunc:
    known = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    if reduction not in known:
        raise ModelError(f"reduction {reduction!r} is not one of {['none', *known]}")
    return known[reduction]


def _gather_reference(attrs: Attrs, x: Array, index: Array) -> tuple[Array, ...]:
    return (np.take(x, index.astype(np.int64), axis=get_int(attrs, "axis", 0)),)


def _gather_elements_reference(attrs: Attrs, x: Array, index: Array) -> tuple[Array, ...]:
    return (x[_places(index, get_int(attrs, "axis", 0) % x.ndim)],)


def _one_hot_reference(attrs: Attrs, index: Array, depth: Array, values: Array
                       ) -> tuple[Array, ...]:
    """values = [off, on]; an index outside [-depth, depth) gives a row of off."""
    axis, size = get_int(attrs, "axis", -1), int(depth.reshape(-1)[0])
    axis = axis + index.ndim + 1 if axis < 0 else axis
    inside = (index >= -size) & (index < size)
    shape = [size if k == axis else 1 for k in range(index.ndim + 1)]
    hot = np.expand_dims(np.where(inside, index % size, -1), axis)
    return (np.where(hot == np.arange(size).reshape(shape), values[1], values[0]),)


def _one_hot_of_given(g: Builder, node: ir.Node) -> Made:
    """Where the caller gives the values: they are chosen by a mask of bools."""
    index, depth, values = (source(node, k) for k in range(3))
    if not is_given(values):
        return None
    mask = g.op("OneHot", index, depth, g.constant(np.array([False, True])),
                axis=get_int(attributes(node), "axis", -1))
    off, on = (g.op("Gather", values, g.constant(np.asarray(k, np.int64))) for k in (0, 1))
    return [g.op("Where", mask, on, off)]


ROWS = (
    Op("Gather", source="ONNX Gather-13", axes=Axes.PICKED,
       reads=("axis",),
       lower=Kernel("gather"), learned=(0,), indices=1, moves=Moves.PLACE, even=True,
       vjp=_gather_vjp,
       reference=_gather_reference),
    Op("GatherElements", source="ONNX GatherElements-13",
       reads=("axis",),
       lower=Kernel("gather_elements"), indices=1, moves=Moves.PLACE, even=True,
       vjp=_gather_elements_vjp, reference=_gather_elements_reference),
    Op("ScatterND", source="ONNX ScatterND-18",
       reads=("reduction",),
       lower=Kernel("scatter_nd"), indices=1, vjp=_scatter_nd_vjp,
       reference=_scatter_nd),
    Op("ScatterElements", source="ONNX ScatterElements-18",
       reads=("axis", "reduction"),
       lower=Kernel("scatter_elements"), indices=1,
       vjp=_scatter_elements_vjp, reference=_scatter_elements),
    Op("OneHot", source="ONNX OneHot-11",
       reads=("axis",),
       lower=Kernel("one_hot"), made_of=_one_hot_of_given, vjp=stops,
       reference=_one_hot_reference),
)
