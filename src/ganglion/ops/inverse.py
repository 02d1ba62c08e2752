"""Inverse trigonometric and hyperbolic functions, and questions about infinity and NaN."""

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int
from ganglion.ops.base import Attrs, Op, Pointwise
from ganglion.ops.building import Builder
from ganglion.ops.gradients import of_one_argument, stops
from ganglion.ops.pointwise import Expr, binary, cast, const, log_of_more, unary, where

LARGE = 1e8
"""Where 1 + x^2 is x^2 in float32."""


def _in_single(function: Callable[[Expr], Expr]) -> Pointwise:
    """The function of one argument, halves in float32."""
    def expr(attrs: Attrs, x: Expr) -> Expr:
        return cast(function(x if x.dtype == "float64" else cast(x, "float32")), x.dtype)
    return Pointwise(expr)


def _with_sign(x: Expr, size: Expr) -> Expr:
    """The value of an odd function from that for |x|."""
    return where(binary("lt", x, 0.0), -size, size)


ABOVE = (-8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
         -1.228866684490136173410e2, -6.485021904942025371773e1)
BELOW = (2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
         4.853903996359136964868e2, 1.945506571482613964425e2)
"""Coefficients of P and Q, the highest power first but for the 1 of Q (Moshier, Cephes, atan)."""


def _atan(x: Expr) -> Expr:
    """Brought to |t| <= 0.66, then t + t^3 P(t^2) / Q(t^2)."""
    a = unary("abs", x)
    steep, middle = binary("gt", a, math.tan(3 * math.pi / 8)), binary("gt", a, 0.66)
    t = where(steep, -1.0 / a, where(middle, (a - 1.0) / (a + 1.0), a))
    start = where(steep, math.pi / 2, where(middle, math.pi / 4, const(0.0, a.dtype)))
    z = t * t
    above, below = _polynomial(z * ABOVE[0], ABOVE[1:], z), _polynomial(z, BELOW, z)
    return _with_sign(x, start + (t + t * (z * (above / below))))


def _polynomial(leading: Expr, rest: Sequence[float], z: Expr) -> Expr:
    """By Horner's rule, from the term of the highest power over z^(n - 1)."""
    return reduce(lambda found, each: found * z + each, rest[1:], leading + rest[0])


def _asin(x: Expr) -> Expr:
    return _atan(x / unary("sqrt", (1.0 - x) * (1.0 + x)))


def _acos(x: Expr) -> Expr:
    return 2.0 * _atan(unary("sqrt", (1.0 - x) / (1.0 + x)))


def _log_of_more(x: Expr) -> Expr:
    """log(1 + x) for any x."""
    return where(binary("lt", x, 1.0), log_of_more(x), unary("log", x + 1.0))


def _asinh(x: Expr) -> Expr:
    a = unary("abs", x)
    near = _log_of_more(a + a * a / (unary("sqrt", a * a + 1.0) + 1.0))
    return _with_sign(x, where(binary("gt", a, LARGE), unary("log", a) + math.log(2), near))


def _acosh(x: Expr) -> Expr:
    t = x - 1.0
    near = _log_of_more(t + unary("sqrt", t) * unary("sqrt", t + 2.0))
    return where(binary("gt", x, LARGE), unary("log", x) + math.log(2), near)


def _atanh(x: Expr) -> Expr:
    a = unary("abs", x)
    return _with_sign(x, 0.5 * _log_of_more(2.0 * a / (1.0 - a)))


def _is_infinite(attrs: Attrs, x: Expr) -> Expr:
    wide = x if x.dtype == "float64" else cast(x, "float32")
    most = float(np.finfo(wide.dtype).max)
    above, below = binary("gt", wide, most), binary("lt", wide, -most)
    positive = get_int(attrs, "detect_positive", 1)
    if not get_int(attrs, "detect_negative", 1):
        return above if positive else binary("gt", wide, wide)
    return binary("or", above, below) if positive else below


def _is_nan(attrs: Attrs, x: Expr) -> Expr:
    return unary("not", binary("eq", x, x))


def _square(g: Builder, x: ir.Value) -> ir.Value:
    return g.mul(x, x)


def _over_root(g: Builder, dy: ir.Value, square: ir.Value) -> ir.Value:
    return g.div(dy, g.op("Sqrt", square))


ROWS = (
    Op("Atan", source="ONNX Atan-7", lower=_in_single(_atan),
       limits=(-math.pi / 2, math.pi / 2), vjp=of_one_argument(
           lambda g, x, y, dy: g.div(dy, g.add(_square(g, x), 1)))),
    Op("Asin", source="ONNX Asin-7", lower=_in_single(_asin),
       limits=(-math.pi / 2, math.pi / 2), vjp=of_one_argument(
           lambda g, x, y, dy: _over_root(g, dy, g.sub(1, _square(g, x))))),
    Op("Acos", source="ONNX Acos-7", lower=_in_single(_acos),
       limits=(0, math.pi), vjp=of_one_argument(
           lambda g, x, y, dy: g.op("Neg", _over_root(g, dy, g.sub(1, _square(g, x)))))),
    Op("Asinh", source="ONNX Asinh-9", lower=_in_single(_asinh), vjp=of_one_argument(
        lambda g, x, y, dy: _over_root(g, dy, g.add(_square(g, x), 1)))),
    Op("Acosh", source="ONNX Acosh-9", lower=_in_single(_acosh), vjp=of_one_argument(
        lambda g, x, y, dy: _over_root(g, dy, g.sub(_square(g, x), 1)))),
    Op("Atanh", source="ONNX Atanh-9", lower=_in_single(_atanh), vjp=of_one_argument(
        lambda g, x, y, dy: g.div(dy, g.sub(1, _square(g, x))))),
    Op("IsInf", source="ONNX IsInf-20", reads=("detect_negative", "detect_positive"),
       lower=Pointwise(_is_infinite), vjp=stops),
    Op("IsNaN", source="ONNX IsNaN-20", lower=Pointwise(_is_nan), vjp=stops),
)
