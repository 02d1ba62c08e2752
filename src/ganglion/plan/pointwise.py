"""Lowering of element-wise groups: one program, one loop, any number of results."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.kernels.pointwise import PointwiseSpec, Stream
from ganglion.ops.attr import get_float, get_int
from ganglion.ops.base import GANGLION_DOMAIN, Kernel, Pointwise
from ganglion.ops.facts import is_op
from ganglion.ops.inference import UNFIT
from ganglion.ops.named import ADD
from ganglion.ops.pointwise import (
    INTEGERS,
    Expr,
    Instr,
    Program,
    binary,
    cast,
    const,
    exactly,
    operand,
    program,
    stored,
    unary,
)
from ganglion.ops.registry import find
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.codes import Codes, codes
from ganglion.plan.fusion import Unit
from ganglion.plan.lowerer import Fused, Lowerer, lowered_dtype
from ganglion.plan.views import View, collapse, row_major


def _along_axis(view: View, shape: Sequence[int], axis: int) -> View:
    """A vector (or scalar) laid along one axis of [shape]."""
    if view.size == 1:
        return View(view.storage, tuple(shape), (0,) * len(shape), view.offset)
    strides = [0] * len(shape)
    strides[axis] = view.strides[0]
    return View(view.storage, tuple(shape), tuple(strides), view.offset)


def _quantize(node: ir.Node, x: Expr, scale: Expr, zero: Expr) -> Expr:
    dtype = lowered_dtype(node.outputs[0])
    if dtype.name not in INTEGERS:
        raise UnsupportedOp(f"codes of {dtype.name} are not compiled; quantise to int8 or uint8")
    info = np.iinfo(dtype.name)
    y = unary("rint", cast(x, "float32") / scale) + cast(zero, "float32")
    return exactly(binary("min", binary("max", y, float(info.min)), float(info.max)), dtype.name)


def _dequantize(node: ir.Node, x: Expr, scale: Expr, zero: Expr) -> Expr:
    return (cast(x, "float32") - cast(zero, "float32")) * scale


def _batch_norm(node: ir.Node, x: Expr, scale: Expr, bias: Expr, mean: Expr, var: Expr) -> Expr:
    epsilon = get_float(attributes(node), "epsilon", 1e-5)
    return (x - mean) * (scale / unary("sqrt", var + epsilon)) + bias


PER_CHANNEL: Mapping[str, Callable[..., Expr]] = {
    "quantize": _quantize, "dequantize": _dequantize, "batch_norm": _batch_norm}
"""Operators that are element-wise but for parameters that lie along one axis."""


def is_pointwise(node: ir.Node) -> bool:
    """Whether a node computes element by element (parameters along one axis included)."""
    row = find(node.domain, node.op_type)
    if row is None:
        return False
    if isinstance(row.lower, Pointwise):
        return True
    return (getattr(row.lower, "family", None) in PER_CHANNEL
            and not get_int(attributes(node), "training_mode", 0))


class _Reader:
    """Collects a group's operands while its expressions are built."""

    def __init__(self, lowerer: Lowerer, shape: tuple[int, ...]) -> None:
        self.lowerer, self.shape = lowerer, shape
        self.views: list[View] = []
        self.exprs: dict[ir.Value, Expr] = {}
        self._index: dict[View, int] = {}

    def read(self, value: ir.Value | None, axis: int | None = None) -> Expr | None:
        """The value's expression; from memory, broadcast to the loop's shape or along `axis`."""
        if value is None:
            return None
        if value in self.exprs:
            return self.exprs[value]
        scalar = self.lowerer.scalar_constant(value)
        if scalar is not None:
            return const(scalar, lowered_dtype(value).name)
        view = self.lowerer.view(value)
        view = (view.broadcast(self.shape) if axis is None
                else _along_axis(view, self.shape, axis))
        if view not in self._index:
            self._index[view] = len(self.views)
            self.views.append(view)
        return operand(self._index[view], view.dtype)


def expression(node: ir.Node, read: Callable[..., Expr | None]) -> Expr:
    """The arithmetic of one node over what `read(value, axis=None)` gives for its inputs.

    Raises UnsupportedOp where it does not exist for their types."""
    try:
        return _expression(node, read)
    except UnsupportedOp as error:
        types = ", ".join("absent" if v is None else str(v.dtype) for v in node.inputs)
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) of {types}: {error}") from error
    except UNFIT as error:
        raise ModelError(f"node {node.name!r} ({node.op_type}) has too few inputs, or too many: "
                         f"{len(node.inputs)}") from error


def _expression(node: ir.Node, read: Callable[..., Expr | None]) -> Expr:
    row = find(node.domain, node.op_type)
    lower = None if row is None else row.lower
    if isinstance(lower, Pointwise):
        return lower.expr(attributes(node), *[read(v) for v in node.inputs])
    if not isinstance(lower, Kernel):
        raise ModelError(f"node {node.name!r}: {node.op_type} is not element-wise")
    family = lower.family
    axis = 1
    if family != "batch_norm":
        if get_int(attributes(node), "block_size", 0):
            raise UnsupportedOp("block_size on what a call gives is not compiled, only on "
                                "constants; use one scale a tensor or an axis")
        axis = get_int(attributes(node), "axis", 1)
        axis %= max(1, len(static_shape(node.inputs[0])))
    inputs = [read(node.inputs[0]), *[read(v, axis) for v in node.inputs[1:]]]
    if family != "batch_norm" and len(inputs) == 2:
        inputs.append(const(0.0))
    return PER_CHANNEL[family](node, *inputs)


def lower_group(lowerer: Lowerer, unit: Unit) -> None:
    """Appends the loop of an element-wise group."""
    reader = _Reader(lowerer, unit.result_shape)
    for node in unit.nodes:
        reader.exprs[node.outputs[0]] = expression(node, reader.read)
    results = unit.results()
    dtypes = [lowered_dtype(r).name for r in results]
    trees = [stored(reader.exprs[r], dtype) for r, dtype in zip(results, dtypes)]
    as_codes = [codes(tree, dtype) for tree, dtype in zip(trees, dtypes)]
    code, roots = program([tree if c is None else c.real for tree, c in zip(trees, as_codes)])
    used = sorted({int(i[1]) for i in code if _reads(i)})
    renumber = {old: new for new, old in enumerate(used)}
    code = tuple((i[0], renumber[int(i[1])]) if _reads(i) else i for i in code)
    views = [reader.views[i] for i in used]
    order = _preferred_order(views, unit.result_shape)
    targets = [lowerer.new(value, order) for value in results]
    emit_loop(lowerer, "+".join(str(n.name) for n in unit.nodes), unit.result_shape, order,
              views, targets, code, roots, as_codes)


def _reads(instr: Instr) -> bool:
    """Whether an instruction reads an operand, as it is or as float32."""
    return str(instr[0]).rpartition(".")[2] == "input"


def emit_loop(lowerer: Lowerer, name: str, shape: Sequence[int], order: Sequence[int],
              views: Sequence[View], targets: Sequence[View],
              code: Program, roots: tuple[int, ...], as_codes: Sequence[Codes | None]) -> None:
    """Appends a pointwise step over broadcast `views` into `targets`, axes walked in `order`.

    `as_codes`: of each target, how its results become codes, if they do.
    """
    walks = [[v.strides[a] for a in order] for v in [*views, *targets]]
    dims, *strides = collapse([shape[a] for a in order], *walks)
    inputs = tuple(Stream(v.dtype, s, v.span) for v, s in zip(views, strides))
    outputs = tuple(Stream(v.dtype, s, v.span, *((c.scale, c.zero_point) if c else ()))
                    for v, s, c in zip(targets, strides[len(views):], as_codes))
    spec = PointwiseSpec(dims, inputs, outputs, code, roots)
    lowerer.emit(name, "pointwise", spec, [*views, *targets])


def _preferred_order(views: Sequence[View], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The order of the largest operand, so that its walk (and the result's) is sequential."""
    full = [v for v in views if 0 not in [s for n, s in zip(v.shape, v.strides) if n != 1]]
    return full[0].order() if full else row_major(len(shape))


def epilogue_of(lowerer: Lowerer, group: Unit, source: ir.Value, channel_axis: int
                ) -> Fused | None:
    """The group as an epilogue of the kernel that makes `source`, or None where it cannot be.

    Precondition: one result, of the shape of `source`; every other operand is a scalar constant,
    or has the full shape, or is a vector along `channel_axis` that is added to `source` first.
    """
    results = group.results()
    if len(results) != 1 or static_shape(results[0]) != static_shape(source):
        return None
    if results[0].dtype != source.dtype or source.dtype != ir.DataType.FLOAT:
        return None
    extras: list[ir.Value] = []
    exprs: dict[ir.Value, Expr] = {source: operand(0)}
    bias, nodes = _leading_bias(group, source, channel_axis)
    if bias is not None:
        exprs[group.nodes[0].outputs[0]] = operand(0)

    def read(value: ir.Value | None, axis: int | None = None) -> Expr | None:
        if value is None:
            return None
        if value in exprs:
            return exprs[value]
        scalar = lowerer.scalar_constant(value)
        if scalar is not None:
            return const(scalar, lowered_dtype(value).name)
        if axis is not None or static_shape(value) != group.result_shape:
            raise _NotFusable
        if value.dtype != ir.DataType.FLOAT:
            raise _NotFusable
        if value not in extras:
            extras.append(value)
        return operand(1 + extras.index(value))

    try:
        for node in nodes:
            exprs[node.outputs[0]] = expression(node, read)
    except _NotFusable:
        return None
    code, _ = program([exprs[results[0]]])
    if any("." in str(instr[0]) for instr in code):
        return None
    return Fused(results[0], code, tuple(extras), bias)


class _NotFusable(Exception):
    """An operand that an epilogue cannot read."""


def _leading_bias(group: Unit, source: ir.Value, axis: int
                  ) -> tuple[ir.Value | None, list[ir.Node]]:
    """A vector that the group's first node adds to `source` along `axis`, and the other nodes; none
    where the kernel has a bias of its own already."""
    first, maker = group.nodes[0], source.producer()
    place = 3 if maker is not None and maker.domain == GANGLION_DOMAIN else 2
    if maker is not None and len(maker.inputs) > place and maker.inputs[place] is not None:
        return None, group.nodes
    if is_op(first, ADD) and source in first.inputs and all(
            first is n or source not in n.inputs for n in group.nodes):
        other = first.inputs[1] if first.inputs[0] is source else first.inputs[0]
        if other is not None and other is not source and other.producer() is None:
            shape, want = static_shape(other), static_shape(source)
            axis %= len(want)
            aligned = (1,) * (len(want) - len(shape)) + shape
            expected = tuple(n if i == axis else 1 for i, n in enumerate(want))
            if aligned == expected:
                return other, group.nodes[1:]
    return None, group.nodes
