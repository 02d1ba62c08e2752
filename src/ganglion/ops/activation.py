"""Activation functions. All are element-wise; each has its gradient."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_float, get_str
from ganglion.ops.base import Array, Attrs, Op, Pointwise
from ganglion.ops.building import Builder
from ganglion.ops.gradients import optional, source, unbroadcast
from ganglion.ops.pointwise import Expr, binary, extreme, log_of_more, unary, where
from ganglion.ops.values import attributes

SELU_ALPHA = 1.67326319217681884765625
SELU_GAMMA = 1.05070102214813232421875
SQRT_HALF = math.sqrt(0.5)
SQRT_2_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715

Slope = Callable[[Builder, Attrs, ir.Value, ir.Value, ir.Value], ir.Value]
"""`slope(g, attrs, x, y, dy) -> dx`."""


def _exp_minus_1(x: Expr) -> Expr:
    """exp(x) - 1 for x <= 0; larger arguments count as 0, so that nothing overflows.

    By the tangent of half the argument, which keeps its digits where exp(x) is nearly 1.
    """
    half = unary("tanh", 0.5 * binary("min", x, 0.0))
    return (half + half) / (1.0 - half)


def _softplus(x: Expr) -> Expr:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    return binary("max", x, 0.0) + log_of_more(unary("exp", -unary("abs", x)))


def _gelu(attrs: Attrs, x: Expr) -> Expr:
    if get_str(attrs, "approximate", "none") == "tanh":
        return 0.5 * x * (unary("tanh", SQRT_2_PI * (x + GELU_CUBIC * (x * x * x))) + 1.0)
    return 0.5 * x * (unary("erf", x * SQRT_HALF) + 1.0)


def _hard(attrs: Attrs, x: Expr, alpha: float, beta: float) -> Expr:
    line = get_float(attrs, "alpha", alpha) * x + get_float(attrs, "beta", beta)
    return extreme("max", extreme("min", line, 1.0), 0.0)


def _elu(attrs: Attrs, x: Expr) -> Expr:
    return where(binary("lt", x, 0.0), get_float(attrs, "alpha", 1.0) * _exp_minus_1(x), x)


def _celu_alpha(attrs: Attrs) -> float:
    alpha = get_float(attrs, "alpha", 1.0)
    if alpha == 0:
        raise UnsupportedOp("Celu with alpha=0, by which it divides; Relu is its limit")
    return alpha


def _celu(attrs: Attrs, x: Expr) -> Expr:
    alpha = _celu_alpha(attrs)
    return where(binary("lt", x, 0.0), alpha * _exp_minus_1(x / alpha), x)


def _selu(attrs: Attrs, x: Expr) -> Expr:
    alpha, gamma = get_float(attrs, "alpha", SELU_ALPHA), get_float(attrs, "gamma", SELU_GAMMA)
    return gamma * where(binary("lt", x, 0.0), alpha * _exp_minus_1(x), x)


def _clip(attrs: Attrs, x: Expr, low: Expr | None = None, high: Expr | None = None) -> Expr:
    """An absent bound is None, a present one an operand of one element."""
    if low is not None:
        x = extreme("max", low, x)
    return x if high is None else extreme("min", high, x)


# ---------------------------------------------------------------------------- gradients

def _vjp(slope: Slope) -> Callable[[Builder, ir.Node, Sequence[ir.Value | None]],
                                   list[ir.Value | None]]:
    """The gradient of a one-argument function from its slope."""
    def vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        dy = dys[0]
        if dy is None:
            return [None]
        return [slope(g, attributes(node), source(node, 0), node.outputs[0], dy)]
    return vjp


def _elu_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value, dy: ir.Value) -> ir.Value:
    alpha = get_float(attrs, "alpha", 1.0)
    return g.where(g.less(x, 0), g.mul(dy, g.add(y, alpha)), dy)


def _celu_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value, dy: ir.Value) -> ir.Value:
    alpha = _celu_alpha(attrs)
    return g.where(g.less(x, 0), g.mul(dy, g.add(g.mul(y, 1 / alpha), 1)), dy)


def _selu_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value, dy: ir.Value) -> ir.Value:
    alpha, gamma = get_float(attrs, "alpha", SELU_ALPHA), get_float(attrs, "gamma", SELU_GAMMA)
    return g.where(g.greater(x, 0), g.mul(dy, gamma), g.mul(dy, g.add(y, alpha * gamma)))


def _gelu_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value, dy: ir.Value) -> ir.Value:
    square = g.mul(x, x)
    if get_str(attrs, "approximate", "none") == "tanh":
        inner = g.mul(x, g.add(g.mul(square, SQRT_2_PI * GELU_CUBIC), SQRT_2_PI))
        t = g.op("Tanh", inner)
        rise = g.add(g.mul(square, 3 * SQRT_2_PI * GELU_CUBIC), SQRT_2_PI)
        bend = g.mul(g.mul(x, rise), g.sub(1, g.mul(t, t)))
        return g.mul(dy, g.mul(g.add(g.add(t, 1), bend), 0.5))
    area = g.mul(g.add(g.op("Erf", g.mul(x, SQRT_HALF)), 1), 0.5)
    density = g.mul(g.op("Exp", g.mul(square, -0.5)), 1 / math.sqrt(2 * math.pi))
    return g.mul(dy, g.add(area, g.mul(x, density)))


def _hard_sigmoid_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value,
                        dy: ir.Value) -> ir.Value:
    inside = g.op("And", g.greater(y, 0), g.less(y, 1))
    return g.where(inside, g.mul(dy, get_float(attrs, "alpha", 0.2)), 0)


def _hard_swish_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value,
                      dy: ir.Value) -> ir.Value:
    inside = g.mul(dy, g.add(g.mul(x, 1 / 3), 0.5))
    return g.where(g.less(x, -3), 0, g.where(g.greater(x, 3), dy, inside))


def _softsign_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value,
                    dy: ir.Value) -> ir.Value:
    rest = g.sub(1, g.op("Abs", y))
    return g.mul(dy, g.mul(rest, rest))


def _mish_slope(g: Builder, attrs: Attrs, x: ir.Value, y: ir.Value, dy: ir.Value) -> ir.Value:
    t = g.op("Tanh", g.op("Softplus", x))
    bend = g.mul(g.mul(x, g.op("Sigmoid", x)), g.sub(1, g.mul(t, t)))
    return g.mul(dy, g.add(t, bend))


def _prelu_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
               ) -> list[ir.Value | None]:
    x, slope, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None, None]
    negative = g.less(x, 0)
    return [g.where(negative, g.mul(dy, slope), dy),
            unbroadcast(g, g.where(negative, g.mul(dy, x), 0), slope)]


def _clip_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
              ) -> list[ir.Value | None]:
    """Gradient flows strictly between the bounds and not into them."""
    x, dy = source(node, 0), dys[0]
    if dy is not None:
        low, high = optional(node, 1), optional(node, 2)
        if low is not None:
            dy = g.where(g.greater(x, low), dy, 0)
        if high is not None:
            dy = g.where(g.less(x, high), dy, 0)
    return [dy, *[None] * (len(node.inputs) - 1)]


# ---------------------------------------------------------------------------- references

def _softplus_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (np.logaddexp(x, np.zeros((), x.dtype)),)


def _sigmoid_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    e = np.exp(-np.abs(x))
    return ((np.where(x >= 0, 1, e) / (1 + e)).astype(x.dtype),)


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[x.dtype])(x))


def _erf_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (_erf(x),)


def _gelu_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    if get_str(attrs, "approximate", "none") == "tanh":
        return (0.5 * x * (1 + np.tanh(SQRT_2_PI * (x + GELU_CUBIC * x ** 3))),)
    return (0.5 * x * (1 + _erf(x * SQRT_HALF)),)


def _elu_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (np.where(x < 0, get_float(attrs, "alpha", 1.0) * np.expm1(np.minimum(x, 0)), x),)


def _celu_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    alpha = _celu_alpha(attrs)
    return (np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x),)


def _selu_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    alpha, gamma = get_float(attrs, "alpha", SELU_ALPHA), get_float(attrs, "gamma", SELU_GAMMA)
    return (gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),)


def _hard_sigmoid_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    line = get_float(attrs, "alpha", 0.2) * x + get_float(attrs, "beta", 0.5)
    return (np.clip(line, 0, 1),)


def _hard_swish_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (x * np.clip(x / 6 + 0.5, 0, 1),)


def _mish_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (x * np.tanh(_softplus_reference(attrs, x)[0]),)


def _leaky_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (np.where(x < 0, get_float(attrs, "alpha", 0.01) * x, x),)


def _clip_reference(attrs: Attrs, x: Array, low: Array | None = None,
                    high: Array | None = None) -> tuple[Array, ...]:
    x = x if low is None else np.maximum(x, low)
    return (x if high is None else np.minimum(x, high),)


ROWS = (
    Op("Relu", source="ONNX Relu-14", even=True, limits=(0, math.inf),
       lower=Pointwise(lambda attrs, x: binary("max", 0.0, x)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.where(g.greater(y, 0), dy, 0))),
    Op("LeakyRelu", source="ONNX LeakyRelu-16", even=True,
       reads=("alpha",),
       lower=Pointwise(lambda attrs, x: where(
           binary("lt", x, 0.0), get_float(attrs, "alpha", 0.01) * x, x)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.where(
           g.less(x, 0), g.mul(dy, get_float(attrs, "alpha", 0.01)), dy)),
       reference=_leaky_reference),
    Op("PRelu", source="ONNX PRelu-16", even=True, learned=(1,),
       lower=Pointwise(lambda attrs, x, slope: where(binary("lt", x, 0.0), slope * x, x)),
       vjp=_prelu_vjp),
    Op("ThresholdedRelu", source="ONNX ThresholdedRelu-10", even=True,
       reads=("alpha",),
       lower=Pointwise(lambda attrs, x: where(
           binary("gt", x, get_float(attrs, "alpha", 1.0)), x, 0.0)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.where(
           g.greater(x, get_float(attrs, "alpha", 1.0)), dy, 0))),
    Op("Elu", source="ONNX Elu-6", even=True,
       reads=("alpha",),
       lower=Pointwise(_elu), vjp=_vjp(_elu_slope),
       reference=_elu_reference),
    Op("Celu", source="ONNX Celu-12", even=True,
       reads=("alpha",),
       lower=Pointwise(_celu), vjp=_vjp(_celu_slope),
       reference=_celu_reference),
    Op("Selu", source="ONNX Selu-6", even=True,
       reads=("alpha", "gamma"),
       lower=Pointwise(_selu), vjp=_vjp(_selu_slope),
       reference=_selu_reference),
    Op("Gelu", source="ONNX Gelu-20", even=True,
       reads=("approximate",),
       lower=Pointwise(_gelu), vjp=_vjp(_gelu_slope),
       reference=_gelu_reference),
    Op("Sigmoid", source="ONNX Sigmoid-13", even=True, limits=(0, 1),
       lower=Pointwise(lambda attrs, x: unary("sigmoid", x)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.mul(dy, g.mul(y, g.sub(1, y)))),
       reference=_sigmoid_reference),
    Op("HardSigmoid", source="ONNX HardSigmoid-6", even=True, limits=(0, 1),
       reads=("alpha", "beta"),
       lower=Pointwise(lambda attrs, x: _hard(attrs, x, 0.2, 0.5)),
       vjp=_vjp(_hard_sigmoid_slope), reference=_hard_sigmoid_reference),
    Op("HardSwish", source="ONNX HardSwish-14", even=True,
       lower=Pointwise(lambda attrs, x: x * _hard({}, x, 1 / 6, 0.5)),
       vjp=_vjp(_hard_swish_slope), reference=_hard_swish_reference),
    Op("Tanh", source="ONNX Tanh-13", even=True, limits=(-1, 1),
       lower=Pointwise(lambda attrs, x: unary("tanh", x)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.mul(dy, g.sub(1, g.mul(y, y))))),
    Op("Softplus", source="ONNX Softplus-1", even=True, limits=(0, math.inf),
       lower=Pointwise(lambda attrs, x: _softplus(x)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.mul(dy, g.op("Sigmoid", x))),
       reference=_softplus_reference),
    Op("Softsign", source="ONNX Softsign-1", even=True, limits=(-1, 1),
       lower=Pointwise(lambda attrs, x: x / (unary("abs", x) + 1.0)), vjp=_vjp(_softsign_slope)),
    Op("Mish", source="ONNX Mish-18", even=True,
       lower=Pointwise(lambda attrs, x: x * unary("tanh", _softplus(x))),
       vjp=_vjp(_mish_slope), reference=_mish_reference),
    Op("Erf", source="ONNX Erf-13", even=True, limits=(-1, 1),
       lower=Pointwise(lambda attrs, x: unary("erf", x)),
       vjp=_vjp(lambda g, attrs, x, y, dy: g.mul(
           dy, g.mul(g.op("Exp", g.op("Neg", g.mul(x, x))), 2 / math.sqrt(math.pi)))),
       reference=_erf_reference),
    Op("Clip", source="ONNX Clip-13", even=True, lower=Pointwise(_clip), vjp=_clip_vjp,
       reference=_clip_reference),
)
