"""Rounding to codes and back in one float operator, through which a network learns.

FakeQuantize(x, scale; zero_point, low, high): y = (q - zero_point) · scale with
q = clip(rint(x / scale) + zero_point, low, high), as QuantizeLinear-21 followed by
DequantizeLinear-21 give it, for any range of codes (-7 to 7 are 4-bit weights). `scale` broadcasts
against x: [] or [1] for a tensor, [O, 1, 1, 1] for the output channels of a kernel.

Rounding has no useful gradient, so the identity stands in for it (the straight-through estimator:
Bengio, Léonard and Courville, arXiv:1308.3432, 2013; Jacob et al., CVPR 2018, section 3). What the
chain rule then gives:

    dy/dx     = 1 where low - 0.5 <= x / scale + zero_point <= high + 0.5, else 0
    dy/dscale = rint(v) - v inside, v = x / scale; low - zero_point or high - zero_point outside

(the second is equation 3 of Esser et al., "Learned Step Size Quantization", ICLR 2020). The range
reaches half a step beyond its last codes, to where clipping begins to do more than rounding does:
so the largest weight of a channel, from which its scale was taken, does not lie on the edge.
The attribute `gain` multiplies the gradient of the scale (their section 2.2), 1 if absent.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_float, get_int
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs, Dims, Op, Pointwise
from ganglion.ops.building import Builder
from ganglion.ops.gradients import source, unbroadcast
from ganglion.ops.pointwise import Expr, binary, unary
from ganglion.ops.values import attributes, dims

NAME = "FakeQuantize"


def is_fake_quantize(node: ir.Node | None) -> bool:
    """Whether the node is this file's operator."""
    return node is not None and node.op_type == NAME and node.domain == GANGLION_DOMAIN


def codes_of(attrs: Attrs) -> tuple[int, int, int]:
    """(zero point, lowest code, highest code) of a node; those of int8 where it does not say."""
    return get_int(attrs, "zero_point", 0), get_int(attrs, "low", -128), get_int(attrs, "high", 127)


def _expr(attrs: Attrs, x: Expr, scale: Expr) -> Expr:
    """The bound stands first, so that NaN stays NaN."""
    zero, low, high = codes_of(attrs)
    steps = binary("max", float(low - zero), unary("rint", x / scale))
    return binary("min", float(high - zero), steps) * scale


def _reference(attrs: Attrs, x: Array, scale: Array) -> tuple[Array]:
    zero, low, high = codes_of(attrs)
    steps = np.clip(np.rint(x / scale), low - zero, high - zero)
    return ((steps * scale).astype(x.dtype),)


def _vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> list[ir.Value | None]:
    x, scale, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None, None]
    attrs = attributes(node)
    zero, low, high = codes_of(attrs)
    v = g.div(x, scale)
    inside = g.op("And", g.op("GreaterOrEqual", v, g.scalar(low - zero - 0.5, v)),
                  g.op("LessOrEqual", v, g.scalar(high - zero + 0.5, v)))
    steps = g.div(node.outputs[0], scale)
    slope = g.where(inside, g.sub(steps, v), steps)
    gain = get_float(attrs, "gain", 1.0)
    return [g.where(inside, dy, 0), unbroadcast(g, g.mul(g.mul(dy, slope), gain), scale)]


def _infer(attrs: Attrs, inputs: Sequence[ir.Value | None]) -> list[tuple[ir.DataType, Dims]]:
    x = inputs[0]
    return [] if x is None or x.dtype is None else [(x.dtype, dims(x))]


ROWS = (
    Op(NAME, source="QuantizeLinear-21 and DequantizeLinear-21 as one; Jacob et al. 2018",
       domain=GANGLION_DOMAIN, reads=("gain", "high", "low", "zero_point"),
       lower=Pointwise(_expr), learned=(1,),
       vjp=_vjp, reference=_reference, infer=_infer),
)
