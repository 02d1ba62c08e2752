"""Arithmetic, comparison, logic and conversion, element by element with broadcasting."""

from collections.abc import Callable, Sequence
from functools import partial, reduce

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int
from ganglion.ops.base import Array, Attrs, Op, Pointwise, Vjp
from ganglion.ops.gradients import source, stops, unbroadcast
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.pointwise import Expr, binary, extreme, unary, where

Slope = Callable[[GraphBuilder, ir.Value, ir.Value, ir.Value], ir.Value]
"""`slope(g, x, y, dy) -> dx` of a function of one argument."""


def _one(slope: Slope) -> Vjp:
    def vjp(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        dy = dys[0]
        return [None if dy is None else slope(g, source(node, 0), node.outputs[0], dy)]
    return vjp


Slopes = Callable[[GraphBuilder, ir.Value, ir.Value, ir.Value, ir.Value],
                  tuple[ir.Value, ir.Value]]
"""`slopes(g, a, b, y, dy) -> da, db` in the output's shape, for a function of two arguments."""


def _two(slopes: Slopes) -> Vjp:
    def vjp(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        dy = dys[0]
        if dy is None:
            return [None, None]
        a, b = source(node, 0), source(node, 1)
        da, db = slopes(g, a, b, node.outputs[0], dy)
        return [unbroadcast(g, da, a), unbroadcast(g, db, b)]
    return vjp


def _pow_slopes(g: GraphBuilder, a: ir.Value, b: ir.Value, y: ir.Value, dy: ir.Value
                ) -> tuple[ir.Value, ir.Value]:
    """The exponent's gradient counts as 0 where the base is not positive (no logarithm there)."""
    if a.dtype != b.dtype and a.dtype is not None:
        b = g.op("Cast", b, to=a.dtype)
    da = g.mul(dy, g.mul(b, g.op("Pow", a, g.sub(b, 1))))
    positive = g.greater(a, 0)
    log = g.op("Log", g.where(positive, a, 1))
    return da, g.where(positive, g.mul(dy, g.mul(y, log)), 0)


def _extreme(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
             ) -> list[ir.Value | None]:
    """Max and Min: the gradient goes to the first input that attains the extreme."""
    dy = dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    found: list[ir.Value | None] = []
    rest = dy
    for k in range(len(node.inputs)):
        x = source(node, k)
        if k == len(node.inputs) - 1:
            found.append(unbroadcast(g, rest, x))
            break
        wins = g.op("Equal", node.outputs[0], x)
        found.append(unbroadcast(g, g.where(wins, rest, 0), x))
        rest = g.where(wins, 0, rest)
    return found


def _sum_vjp(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
             ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    if node.op_type == "Mean":
        dy = g.mul(dy, 1 / len(node.inputs))
    return [unbroadcast(g, dy, source(node, k)) for k in range(len(node.inputs))]


def _where_vjp(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
               ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None, None, None]
    mask, a, b = (source(node, k) for k in range(3))
    return [None, unbroadcast(g, g.where(mask, dy, 0), a), unbroadcast(g, g.where(mask, 0, dy), b)]


def _is_float(dtype: ir.DataType | None) -> bool:
    return dtype is not None and dtype.is_floating_point()


def _cast_vjp(g: GraphBuilder, node: ir.Node, dys: Sequence[ir.Value | None]
              ) -> list[ir.Value | None]:
    x, dy = source(node, 0), dys[0]
    none: list[ir.Value | None] = [None] * len(node.inputs)
    if dy is None or x.dtype is None or not (_is_float(x.dtype)
                                             and _is_float(node.outputs[0].dtype)):
        return none
    return [g.op("Cast", dy, to=x.dtype), *none[1:]]


def _cast_expr(attrs: Attrs, x: Expr, like: Expr | None = None) -> Expr:
    """Conversion of the element is the store's work; only the rounding must be said here, so
    that it is kept when the node is fused with its neighbours."""
    to = ir.DataType(get_int(attrs, "to", int(ir.DataType.FLOAT)))
    if to == ir.DataType.BOOL:
        return unary("not", binary("eq", x, 0.0))
    if _is_float(to):
        return x
    return where(binary("lt", x, 0.0), unary("ceil", x), unary("floor", x))


def _cast_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    to = ir.DataType(get_int(attrs, "to", int(ir.DataType.FLOAT)))
    return (x.astype(to.numpy()),)


def _cast_like_reference(attrs: Attrs, x: Array, like: Array) -> tuple[Array, ...]:
    return (x.astype(like.dtype),)


def _div_reference(attrs: Attrs, a: Array, b: Array) -> tuple[Array, ...]:
    """Integers are divided towards zero."""
    if np.issubdtype(a.dtype, np.integer):
        return ((np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype),)
    return (np.asarray(a / b),)


def _pow_reference(attrs: Attrs, a: Array, b: Array) -> tuple[Array, ...]:
    return (np.power(a, b.astype(np.result_type(a, b), copy=False)).astype(a.dtype),)


def _mean_reference(attrs: Attrs, *xs: Array) -> tuple[Array, ...]:
    return ((reduce(np.add, xs) / len(xs)).astype(xs[0].dtype),)


def _sum_reference(attrs: Attrs, *xs: Array) -> tuple[Array, ...]:
    return (np.asarray(reduce(np.add, xs)),)


def _max_reference(attrs: Attrs, *xs: Array) -> tuple[Array, ...]:
    return (np.asarray(reduce(np.maximum, xs)),)


def _min_reference(attrs: Attrs, *xs: Array) -> tuple[Array, ...]:
    return (np.asarray(reduce(np.minimum, xs)),)


def _reciprocal_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (np.asarray(1 / x, dtype=x.dtype),)


def _plain(name: str) -> Pointwise:
    """The instruction of this name, on one operand or on two."""
    if name in ("add", "sub", "mul", "div", "pow", "gt", "ge", "lt", "le", "eq", "and", "or"):
        return Pointwise(lambda attrs, a, b: binary(name, a, b))
    return Pointwise(lambda attrs, x: unary(name, x))


def _fold(combine: Callable[[Expr, Expr], Expr]) -> Pointwise:
    """Any number of operands, combined from the left."""
    return Pointwise(lambda attrs, *xs: reduce(combine, xs))


def _sign(attrs: Attrs, x: Expr) -> Expr:
    return where(binary("gt", x, 0.0), 1.0, where(binary("lt", x, 0.0), -1.0, x))


def _mean(attrs: Attrs, *xs: Expr) -> Expr:
    return reduce(lambda a, b: binary("add", a, b), xs) * (1 / len(xs))


UNARY = (
    Op("Neg", source="ONNX Neg-13", lower=_plain("neg"),
       vjp=_one(lambda g, x, y, dy: g.op("Neg", dy))),
    Op("Abs", source="ONNX Abs-13", lower=_plain("abs"),
       vjp=_one(lambda g, x, y, dy: g.mul(dy, g.op("Sign", x)))),
    Op("Sqrt", source="ONNX Sqrt-13", lower=_plain("sqrt"),
       vjp=_one(lambda g, x, y, dy: g.div(g.mul(dy, 0.5), y))),
    Op("Exp", source="ONNX Exp-13", lower=_plain("exp"),
       vjp=_one(lambda g, x, y, dy: g.mul(dy, y))),
    Op("Log", source="ONNX Log-13", lower=_plain("log"),
       vjp=_one(lambda g, x, y, dy: g.div(dy, x))),
    Op("Sin", source="ONNX Sin-7", lower=_plain("sin"),
       vjp=_one(lambda g, x, y, dy: g.mul(dy, g.op("Cos", x)))),
    Op("Cos", source="ONNX Cos-7", lower=_plain("cos"),
       vjp=_one(lambda g, x, y, dy: g.op("Neg", g.mul(dy, g.op("Sin", x))))),
    Op("Reciprocal", source="ONNX Reciprocal-13", lower=Pointwise(lambda attrs, x: 1.0 / x),
       vjp=_one(lambda g, x, y, dy: g.op("Neg", g.mul(dy, g.mul(y, y)))),
       reference=_reciprocal_reference),
    Op("Floor", source="ONNX Floor-13", lower=_plain("floor"), vjp=stops),
    Op("Ceil", source="ONNX Ceil-13", lower=_plain("ceil"), vjp=stops),
    Op("Round", source="ONNX Round-11 (half to even)", lower=_plain("rint"), vjp=stops),
    Op("Sign", source="ONNX Sign-13", lower=Pointwise(_sign), vjp=stops),
)

BINARY = (
    Op("Add", source="ONNX Add-14", lower=_plain("add"),
       vjp=_two(lambda g, a, b, y, dy: (dy, dy))),
    Op("Sub", source="ONNX Sub-14", lower=_plain("sub"),
       vjp=_two(lambda g, a, b, y, dy: (dy, g.op("Neg", dy)))),
    Op("Mul", source="ONNX Mul-14", lower=_plain("mul"),
       vjp=_two(lambda g, a, b, y, dy: (g.mul(dy, b), g.mul(dy, a)))),
    Op("Div", source="ONNX Div-14", lower=_plain("div"), reference=_div_reference,
       vjp=_two(lambda g, a, b, y, dy: (g.div(dy, b), g.op("Neg", g.div(g.mul(dy, y), b))))),
    Op("Pow", source="ONNX Pow-15", lower=_plain("pow"), reference=_pow_reference,
       vjp=_two(_pow_slopes)),
)

VARIADIC = (
    Op("Max", source="ONNX Max-13", lower=_fold(partial(extreme, "max")), vjp=_extreme, reference=_max_reference),
    Op("Min", source="ONNX Min-13", lower=_fold(partial(extreme, "min")), vjp=_extreme, reference=_min_reference),
    Op("Sum", source="ONNX Sum-13", lower=_fold(partial(binary, "add")), vjp=_sum_vjp, reference=_sum_reference),
    Op("Mean", source="ONNX Mean-13", lower=Pointwise(_mean), vjp=_sum_vjp,
       reference=_mean_reference),
)

LOGIC = (
    Op("Greater", source="ONNX Greater-13", lower=_plain("gt"), vjp=stops),
    Op("GreaterOrEqual", source="ONNX GreaterOrEqual-16", lower=_plain("ge"), vjp=stops,
       reference=lambda attrs, a, b: (np.asarray(a >= b),)),
    Op("Less", source="ONNX Less-13", lower=_plain("lt"), vjp=stops),
    Op("LessOrEqual", source="ONNX LessOrEqual-16", lower=_plain("le"), vjp=stops,
       reference=lambda attrs, a, b: (np.asarray(a <= b),)),
    Op("Equal", source="ONNX Equal-19", lower=_plain("eq"), vjp=stops),
    Op("And", source="ONNX And-7", lower=_plain("and"), vjp=stops),
    Op("Or", source="ONNX Or-7", lower=_plain("or"), vjp=stops),
    Op("Not", source="ONNX Not-1", lower=_plain("not"), vjp=stops),
    Op("Where", source="ONNX Where-16",
       lower=Pointwise(lambda attrs, mask, a, b: where(mask, a, b)), vjp=_where_vjp),
    Op("Cast", source="ONNX Cast-21",
       reads=("to",),
       lower=Pointwise(_cast_expr), vjp=_cast_vjp,
       reference=_cast_reference),
    Op("CastLike", source="ONNX CastLike-21", vjp=_cast_vjp, reference=_cast_like_reference),
)

ROWS = (*UNARY, *BINARY, *VARIADIC, *LOGIC)
