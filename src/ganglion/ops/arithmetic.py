"""Arithmetic, comparison, logic and conversion, element by element with broadcasting."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import inf

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int, get_str
from ganglion.ops.base import Array, Attrs, Op, Pointwise, Vjp
from ganglion.ops.building import Builder
from ganglion.ops.gradients import of_one_argument, source, stops, unbroadcast
from ganglion.ops.pointwise import BINARY as INSTRUCTIONS
from ganglion.ops.pointwise import INTEGERS, Expr, binary, cast, const, extreme, unary, where

Slopes = Callable[[Builder, ir.Value, ir.Value, ir.Value, ir.Value],
                  tuple[ir.Value, ir.Value]]
"""`slopes(g, a, b, y, dy) -> da, db` in the output's shape, for a function of two arguments."""


def _two(slopes: Slopes) -> Vjp:
    def vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        dy = dys[0]
        if dy is None:
            return [None, None]
        a, b = source(node, 0), source(node, 1)
        da, db = slopes(g, a, b, node.outputs[0], dy)
        return [unbroadcast(g, da, a), unbroadcast(g, db, b)]
    return vjp


def _pow_slopes(g: Builder, a: ir.Value, b: ir.Value, y: ir.Value, dy: ir.Value
                ) -> tuple[ir.Value, ir.Value]:
    """The exponent's gradient counts as 0 where the base is not positive (no logarithm there)."""
    if a.dtype != b.dtype and a.dtype is not None:
        b = g.op("Cast", b, to=a.dtype)
    da = g.mul(dy, g.mul(b, g.op("Pow", a, g.sub(b, 1))))
    positive = g.greater(a, 0)
    log = g.op("Log", g.where(positive, a, 1))
    return da, g.where(positive, g.mul(dy, g.mul(y, log)), 0)


def _extreme(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
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


def _sum_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
             ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    if node.op_type == "Mean":
        dy = g.mul(dy, 1 / len(node.inputs))
    return [unbroadcast(g, dy, source(node, k)) for k in range(len(node.inputs))]


def _where_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
               ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None, None, None]
    mask, a, b = (source(node, k) for k in range(3))
    return [None, unbroadcast(g, g.where(mask, dy, 0), a), unbroadcast(g, g.where(mask, 0, dy), b)]


def _is_float(dtype: ir.DataType | None) -> bool:
    return dtype is not None and dtype.is_floating_point()


def _cast_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
              ) -> list[ir.Value | None]:
    x, dy = source(node, 0), dys[0]
    none: list[ir.Value | None] = [None] * len(node.inputs)
    if dy is None or x.dtype is None or not (_is_float(x.dtype)
                                             and _is_float(node.outputs[0].dtype)):
        return none
    return [g.op("Cast", dy, to=x.dtype), *none[1:]]


def _cast_expr(attrs: Attrs, x: Expr) -> Expr:
    return cast(x, _target(attrs).name)


def _target(attrs: Attrs) -> np.dtype[np.generic]:
    return ir.DataType(get_int(attrs, "to", int(ir.DataType.FLOAT))).numpy()


def converted(x: Array, dtype: np.dtype[np.generic]) -> Array:
    """`x` in another type. Where ONNX leaves floats beyond an integer type's range undefined, they
    saturate, and NaN becomes its least number."""
    if x.dtype == bool or np.issubdtype(x.dtype, np.integer) or dtype.kind not in "iu":
        return x.astype(dtype)
    least, most = np.iinfo(dtype.name).min, np.iinfo(dtype.name).max  # "int4" has no limits here
    wide = x.astype(np.float64)
    low, high = ~(wide > least), wide >= most
    inside = np.where(low | high, 0, wide).astype(dtype)
    return np.where(low, dtype.type(least), np.where(high, dtype.type(most), inside))


def _cast_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (converted(x, _target(attrs)),)


def _cast_like_reference(attrs: Attrs, x: Array, like: Array) -> tuple[Array, ...]:
    return (converted(x, like.dtype),)


def _quotient(a: Array, b: Array) -> Array:
    """Integers are divided towards zero, and by zero give 0, as in ONNX's own reference; the least
    one by -1 wraps."""
    if np.issubdtype(a.dtype, np.integer):
        rest = np.fmod(a, b)
        return np.asarray((a - rest) // b)
    return np.asarray(a / b)


def _div_reference(attrs: Attrs, a: Array, b: Array) -> tuple[Array, ...]:
    return (_quotient(a, b),)


def _pow_reference(attrs: Attrs, a: Array, b: Array) -> tuple[Array, ...]:
    """Integers by integers modulo 2^n. A negative exponent, which ONNX leaves open, cuts 1 / a^-b
    towards zero, and gives 0 for the base 0."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        size = np.maximum(b, 0).astype(np.uint64)
        powers = np.power(a.astype(np.uint64), size).astype(a.dtype)
        one, minus = a == 1, a + a.dtype.type(1) == 0
        signed = minus & (a < 0)
        below = np.where(one, 1, np.where(signed, np.where(b % 2 == 0, 1, -1), 0))
        return (np.where(b < 0, below.astype(a.dtype), powers),)
    return (np.power(a, b.astype(np.result_type(a, b), copy=False)).astype(a.dtype),)


def _mean_reference(attrs: Attrs, *xs: Array) -> tuple[Array, ...]:
    total, count = reduce(np.add, xs), xs[0].dtype.type(len(xs))
    return (np.asarray(_quotient(total, count)).astype(xs[0].dtype),)


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
    if name in INSTRUCTIONS:
        return Pointwise(lambda attrs, a, b: binary(name, a, b))
    return Pointwise(lambda attrs, x: unary(name, x))


def _fold(combine: Callable[[Expr, Expr], Expr]) -> Pointwise:
    """Any number of operands, combined from the left."""
    return Pointwise(lambda attrs, *xs: reduce(combine, xs))


def _sign(attrs: Attrs, x: Expr) -> Expr:
    return where(binary("gt", x, 0.0), 1.0, where(binary("lt", x, 0.0), -1.0, x))


def _mean(attrs: Attrs, *xs: Expr) -> Expr:
    total = reduce(lambda a, b: binary("add", a, b), xs)
    if len(xs) == 1:
        return total
    return total * (1 / len(xs)) if total.dtype == "float32" else total / len(xs)


def _pow(attrs: Attrs, a: Expr, b: Expr) -> Expr:
    """Of integers in integers, else in float32. An exponent that is a constant whole number counts
    as an integer for an integer base; any other float is refused there."""
    if a.dtype in INTEGERS:
        if b.name == "const" and b.dtype not in INTEGERS and float(b.value or 0).is_integer():
            b = const(int(b.value or 0), "int64")
        return binary("pow", a, b)
    if a.dtype == "float64":
        return binary("pow", a, b)
    base = cast(a, "float32")
    y = binary("pow", base, cast(b, "float32"))
    if b.dtype in ("int32", "int64", "uint32", "uint64") and not _is_small(b):
        # as a float32 a large odd number becomes even
        odd = binary("eq", binary("both", b, 1), 1)
        below = binary("or", binary("lt", base, 0.0), binary("lt", 1.0 / base, 0.0))
        y = where(binary("and", odd, below), -unary("abs", y), y)
    return cast(y, a.dtype)


def _is_small(x: Expr) -> bool:
    return x.name == "const" and x.value is not None and abs(x.value) <= 2**24


def _mod(attrs: Attrs, a: Expr, b: Expr) -> Expr:
    """fmod=1: the rest has the dividend's sign; fmod=0: the divisor's, for floats too, as NumPy."""
    if get_int(attrs, "fmod", 0):
        return binary("fmod", a, b)
    if a.dtype in INTEGERS:
        return binary("mod", a, b)
    rest = binary("fmod", a, b)
    apart = _xor(attrs, binary("lt", rest, 0.0), binary("lt", b, 0.0))
    return where(binary("and", apart, unary("not", binary("eq", rest, 0.0))), rest + b, rest)


def _xor(attrs: Attrs, a: Expr, b: Expr) -> Expr:
    return binary("and", binary("or", a, b), unary("not", binary("and", a, b)))


def _shift(attrs: Attrs, a: Expr, b: Expr) -> Expr:
    return binary("shl" if get_str(attrs, "direction", "LEFT") == "LEFT" else "shr", a, b)


def _mod_slopes(g: Builder, a: ir.Value, b: ir.Value, y: ir.Value, dy: ir.Value
                ) -> tuple[ir.Value, ir.Value]:
    times = g.op("Round", g.div(g.sub(a, y), b))
    return dy, g.op("Neg", g.mul(dy, times))


UNARY = (
    Op("Neg", source="ONNX Neg-13", even=True, lower=_plain("neg"),
       vjp=of_one_argument(lambda g, x, y, dy: g.op("Neg", dy))),
    Op("Abs", source="ONNX Abs-13", even=True, limits=(0, inf), lower=_plain("abs"),
       vjp=of_one_argument(lambda g, x, y, dy: g.mul(dy, g.op("Sign", x)))),
    Op("Sqrt", source="ONNX Sqrt-13", limits=(0, inf), lower=_plain("sqrt"),
       vjp=of_one_argument(lambda g, x, y, dy: g.div(g.mul(dy, 0.5), y))),
    Op("Exp", source="ONNX Exp-13", limits=(0, inf), lower=_plain("exp"),
       vjp=of_one_argument(lambda g, x, y, dy: g.mul(dy, y))),
    Op("Log", source="ONNX Log-13", lower=_plain("log"),
       vjp=of_one_argument(lambda g, x, y, dy: g.div(dy, x))),
    Op("Sin", source="ONNX Sin-7", lower=_plain("sin"),
       vjp=of_one_argument(lambda g, x, y, dy: g.mul(dy, g.op("Cos", x)))),
    Op("Cos", source="ONNX Cos-7", lower=_plain("cos"),
       vjp=of_one_argument(lambda g, x, y, dy: g.op("Neg", g.mul(dy, g.op("Sin", x))))),
    Op("Reciprocal", source="ONNX Reciprocal-13", lower=Pointwise(lambda attrs, x: 1.0 / x),
       vjp=of_one_argument(lambda g, x, y, dy: g.op("Neg", g.mul(dy, g.mul(y, y)))),
       reference=_reciprocal_reference),
    Op("Floor", source="ONNX Floor-13", lower=_plain("floor"), vjp=stops),
    Op("Ceil", source="ONNX Ceil-13", lower=_plain("ceil"), vjp=stops),
    Op("Round", source="ONNX Round-11 (half to even)", lower=_plain("rint"), vjp=stops),
    Op("Sign", source="ONNX Sign-13", lower=Pointwise(_sign), vjp=stops),
)

BINARY = (
    Op("Add", source="ONNX Add-14", even=True, added=(0, 1), learned=(0, 1), lower=_plain("add"),
       vjp=_two(lambda g, a, b, y, dy: (dy, dy))),
    Op("Sub", source="ONNX Sub-14", even=True, lower=_plain("sub"),
       vjp=_two(lambda g, a, b, y, dy: (dy, g.op("Neg", dy)))),
    Op("Mul", source="ONNX Mul-14", even=True, lower=_plain("mul"),
       vjp=_two(lambda g, a, b, y, dy: (g.mul(dy, b), g.mul(dy, a)))),
    Op("Div", source="ONNX Div-14", even=True, lower=_plain("div"), reference=_div_reference,
       vjp=_two(lambda g, a, b, y, dy: (g.div(dy, b), g.op("Neg", g.div(g.mul(dy, y), b))))),
    Op("Pow", source="ONNX Pow-15", lower=Pointwise(_pow), reference=_pow_reference,
       vjp=_two(_pow_slopes)),
    Op("Mod", source="ONNX Mod-13", reads=("fmod",), lower=Pointwise(_mod),
       vjp=_two(_mod_slopes)),
    Op("BitwiseAnd", source="ONNX BitwiseAnd-18", lower=_plain("both"), vjp=stops),
    Op("BitwiseOr", source="ONNX BitwiseOr-18", lower=_plain("either"), vjp=stops),
    Op("BitwiseXor", source="ONNX BitwiseXor-18", lower=_plain("differ"), vjp=stops),
    Op("BitwiseNot", source="ONNX BitwiseNot-18", lower=_plain("flip"), vjp=stops),
    Op("BitShift", source="ONNX BitShift-11", reads=("direction",), lower=Pointwise(_shift),
       vjp=stops),
)

VARIADIC = (
    Op("Max", source="ONNX Max-13", even=True, lower=_fold(partial(extreme, "max")),
       vjp=_extreme, reference=_max_reference),
    Op("Min", source="ONNX Min-13", even=True, lower=_fold(partial(extreme, "min")),
       vjp=_extreme, reference=_min_reference),
    Op("Sum", source="ONNX Sum-13", even=True, lower=_fold(partial(binary, "add")), vjp=_sum_vjp,
       reference=_sum_reference),
    Op("Mean", source="ONNX Mean-13", even=True, lower=Pointwise(_mean), vjp=_sum_vjp,
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
    Op("Xor", source="ONNX Xor-7", lower=Pointwise(_xor), vjp=stops),
    Op("Not", source="ONNX Not-1", lower=_plain("not"), vjp=stops),
    Op("Where", source="ONNX Where-16", even=True,
       lower=Pointwise(lambda attrs, mask, a, b: where(mask, a, b)), vjp=_where_vjp),
    Op("Cast", source="ONNX Cast-21",
       reads=("to",),
       lower=Pointwise(_cast_expr), vjp=_cast_vjp,
       reference=_cast_reference),
    Op("CastLike", source="ONNX CastLike-21", vjp=_cast_vjp, reference=_cast_like_reference),
)

ROWS = (*UNARY, *BINARY, *VARIADIC, *LOGIC)
