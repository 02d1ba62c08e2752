"""Steps that the gradients of several families share."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.base import Vjp
from ganglion.ops.building import Builder
from ganglion.ops.values import dims, known_shape, numpy_dtype, static_shape


def source(node: ir.Node, index: int) -> ir.Value:
    """Input `index` of the node. Raises ModelError when it is absent."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}): input {index} is missing")
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index` of the node, or None when absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def stops(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> list[ir.Value | None]:
    """The gradient of what is constant almost everywhere: none flows to any input."""
    return [None] * len(node.inputs)


Slope = Callable[[Builder, ir.Value, ir.Value, ir.Value], ir.Value]
"""`slope(g, x, y, dy) -> dx` of a function of one argument."""


def of_one_argument(slope: Slope) -> Vjp:
    """The gradient of a function of one argument from its slope."""
    def vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        dy = dys[0]
        return [None if dy is None else slope(g, source(node, 0), node.outputs[0], dy)]
    return vjp


def rank(value: ir.Value) -> int:
    """The number of dimensions, of which any may be symbolic."""
    return len(dims(value))


def target(g: Builder, value: ir.Value) -> ir.Value:
    """The shape of `value` as an int64 vector: a constant, or Shape where a dimension is open."""
    found = known_shape(value)
    return g.op("Shape", value) if found is None else g.ints(*found)


def reshape_like(g: Builder, value: ir.Value, like: ir.Value) -> ir.Value:
    """`value` in the shape of `like`; the number of elements is the same."""
    return value if dims(value) == dims(like) else g.op("Reshape", value, target(g, like))


def unbroadcast(g: Builder, dy: ir.Value, like: ir.Value) -> ir.Value:
    """Sums dy over the axes along which `like` was repeated: the gradient of broadcasting."""
    wide, narrow = dims(dy), dims(like)
    if wide == narrow:
        return dy
    lead = len(wide) - len(narrow)
    axes = [*range(lead), *(lead + i for i, d in enumerate(narrow) if d == 1 != wide[lead + i])]
    return reshape_like(g, g.total(dy, axes) if axes else dy, like)


def zeros(g: Builder, like: ir.Value) -> ir.Value:
    """Zeros of the shape and dtype of `like`."""
    return g.op("ConstantOfShape", target(g, like), value=np.zeros(1, numpy_dtype(like)))


def constant_ints(node: ir.Node, index: int) -> list[int]:
    """A constant int64 input as a list. Raises ModelError when it is not known when building."""
    value = source(node, index)
    if value.const_value is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}): input {value.name!r} must be a "
                         "constant here; fold constants first")
    return [int(v) for v in value.const_value.numpy().ravel()]


def swapped(first: int, second: int, count: int) -> list[int]:
    """The permutation of `count` axes that exchanges two of them."""
    perm = list(range(count))
    perm[first], perm[second] = second, first
    return perm


def scatter_rows(g: Builder, dy: ir.Value, index: ir.Value, axis: int,
                 like: ir.Value) -> ir.Value:
    """The gradient of Gather(x, index, axis) for x shaped as `like`: dy's rows added into zeros.

    dy: [before axis..., index..., after axis...].
    """
    count, width = rank(like), rank(index)
    if axis != 0:
        order = [*range(axis, axis + width), *range(axis), *range(axis + width, count - 1 + width)]
        dy = g.op("Transpose", dy, perm=order)
        shape = static_shape(like)
        front = (shape[axis], *shape[:axis], *shape[axis + 1:])
        base = g.op("ConstantOfShape", g.ints(*front), value=np.zeros(1, numpy_dtype(like)))
    else:
        base = zeros(g, like)
    if index.dtype != ir.DataType.INT64:
        index = g.op("Cast", index, to=ir.DataType.INT64)
    rows = g.op("Unsqueeze", index, g.ints(width))
    summed = g.op("ScatterND", base, rows, dy, reduction="add")
    if axis == 0:
        return summed
    return g.op("Transpose", summed, perm=[*range(1, axis + 1), 0, *range(axis + 1, count)])


def from_front(g: Builder, index: ir.Value, sizes: ir.Value | int) -> ir.Value:
    """Indices into axes of these sizes, negative ones counted from the end, all from the front."""
    return g.where(g.less(index, 0), g.add(index, sizes), index)


def scatter_elements(g: Builder, dy: ir.Value, index: ir.Value, axis: int,
                     like: ir.Value) -> ir.Value:
    """The gradient of GatherElements(x, index, axis) for x shaped as `like`: dy's elements added
    into zeros, as rows of one element. dy and index have one shape."""
    shape, found = static_shape(like), static_shape(index)
    steps = [prod(shape[k + 1:]) for k in range(len(shape))]
    others = [np.arange(1 if k == axis else n) * step for k, (n, step) in
              enumerate(zip(found, steps))]
    start = sum(np.ix_(*others), np.zeros((1,) * len(shape), np.int64))
    if index.dtype != ir.DataType.INT64:
        index = g.op("Cast", index, to=ir.DataType.INT64)
    places = g.mul(from_front(g, index, shape[axis]), steps[axis])
    places = g.add(places, g.constant(start))
    base = g.op("ConstantOfShape", g.ints(prod(shape)), value=np.zeros(1, numpy_dtype(like)))
    summed = g.op("ScatterND", base, g.op("Reshape", places, g.ints(-1, 1)),
                  g.op("Reshape", dy, g.ints(-1)), reduction="add")
    return g.op("Reshape", summed, g.ints(*shape))
