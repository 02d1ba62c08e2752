"""Where an operator's answer jumps, and where it has none.

`JUMPS`: a change of one rounding in the first input may change the answer by a whole step.
`UNDEFINED`: what ONNX leaves open. Each entry gives the inputs with another value in place of what
has no answer, and where in the first output the answer is then anything at all; None where all of
it is defined.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int, get_str
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs
from ganglion.ops.values import attributes

Arrays = list[Array | None]
Open = tuple[Arrays, Array | None]
Rule = Callable[[Attrs, Arrays], Open]

JUMPS = frozenset({
    "QuantizeLinear", "DynamicQuantizeLinear", "Round", "Floor", "Ceil", "Sign", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "ArgMax", "ArgMin", "TopK", "Mod"})
OWN_JUMPS = frozenset({"FakeQuantize", "HybridConv", "HybridGemm", "MaxPoolGrad"})


def jumps(node: ir.Node, arrays: Arrays, outputs_integer: bool = False) -> bool:
    """Whether the node decides between answers that lie apart, by a float that it reads."""
    if not arrays or arrays[0] is None or arrays[0].dtype.kind != "f":
        return False
    if node.domain == GANGLION_DOMAIN:
        return node.op_type in OWN_JUMPS
    return node.op_type in JUMPS or (node.op_type in ("Cast", "CastLike") and outputs_integer)


def undefined(node: ir.Node, arrays: Arrays, hybrid: bool = False) -> Open:
    """The inputs made harmless, and where the first output is open; see `UNDEFINED`.

    `hybrid`: the build takes the node's answer from codes, as HybridConv and HybridGemm do."""
    if hybrid or node.op_type in ("HybridConv", "HybridGemm"):
        return _codes(arrays)
    rule = UNDEFINED.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return (arrays, None) if rule is None else rule(attributes(node), arrays)


def _changed(arrays: Arrays, at: int, new: Array, where: Array) -> Open:
    if not where.any():
        return arrays, None
    return [*arrays[:at], new, *arrays[at + 1:]], where


def _present(arrays: Arrays, *at: int) -> list[Array]:
    """These inputs, those left out as empty."""
    return [a if k < len(arrays) and (a := arrays[k]) is not None else np.zeros(0) for k in at]


def _division(attrs: Attrs, arrays: Arrays) -> Open:
    """Integers by zero, and the least one by -1, whose quotient is no integer of the type."""
    a, b = _present(arrays, 0, 1)
    if a.dtype.kind not in "iu":
        return arrays, None
    bad = (b == 0) | np.zeros(a.shape, bool)
    if a.dtype.kind == "i":
        bad |= (b == -1) & (a == np.iinfo(a.dtype).min)
    b = np.where(bad, b.dtype.type(1), b)
    return _changed(arrays, 1, b, bad)


def _power(attrs: Attrs, arrays: Arrays) -> Open:
    """Integers to a negative power, and what a float power of an integer gives beyond its type."""
    a, b = _present(arrays, 0, 1)
    if a.dtype.kind not in "iu":
        return arrays, None
    bad = (b < 0) | np.zeros(a.shape, bool)
    if b.dtype.kind == "f":
        with np.errstate(all="ignore"):
            bad |= _outside(np.power(a.astype(np.float64), b.astype(np.float64)), a.dtype)
    b = np.where(bad, b.dtype.type(1), b)
    return _changed(arrays, 1, b, bad)


def _outside(x: Array, dtype: np.dtype) -> Array:
    """Where a float, cut to an integer, is none of this type."""
    info = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        inside = (x > float(info.min) - 1) & (x < float(info.max) + 1)
        if info.bits > 32:
            inside = (x >= float(info.min)) & (x < -float(info.min) if info.min else x < 2.0 ** 64)
    return np.asarray(~inside)


def _conversion(dtype: np.dtype, arrays: Arrays) -> Open:
    x = _present(arrays, 0)[0]
    if x.dtype.kind != "f" or dtype.kind not in "iu":
        return arrays, None
    bad = _outside(x, dtype)
    return _changed(arrays, 0, np.where(bad, x.dtype.type(0), x), bad)


def _cast(attrs: Attrs, arrays: Arrays) -> Open:
    return _conversion(ir.DataType(get_int(attrs, "to", 1)).numpy(), arrays)


def _cast_like(attrs: Attrs, arrays: Arrays) -> Open:
    return _conversion(_present(arrays, 1)[0].dtype, arrays)


def _quantize(attrs: Attrs, arrays: Arrays) -> Open:
    """NaN has no code."""
    x = _present(arrays, 0)[0]
    if x.dtype.kind != "f":
        return arrays, None
    bad = np.isnan(x)
    return _changed(arrays, 0, np.where(bad, x.dtype.type(0), x), bad)


def _codes(arrays: Arrays) -> Open:
    """A product of codes has no answer where one input is no number."""
    x = _present(arrays, 0)[0]
    if x.dtype.kind != "f":
        return arrays, None
    bad = ~np.isfinite(x)
    return _changed(arrays, 0, np.where(bad, x.dtype.type(0), x), np.asarray(bad.any()))


def _extreme(attrs: Attrs, arrays: Arrays) -> Open:
    """The place of the greatest among NaN."""
    x = _present(arrays, 0)[0]
    if x.dtype.kind != "f" or not x.ndim:
        return arrays, None
    axis = get_int(attrs, "axis", 0)
    bad = np.isnan(x).any(axis=axis, keepdims=bool(get_int(attrs, "keepdims", 1)))
    return _changed(arrays, 0, np.where(np.isnan(x), x.dtype.type(0), x), bad)


def _clipped(index: Array, size: int) -> tuple[Array, Array]:
    bad = (index < -size) | (index >= size)
    return np.where(bad, index.dtype.type(0), index), bad


def _gather(attrs: Attrs, arrays: Arrays) -> Open:
    x, index = _present(arrays, 0, 1)
    axis = get_int(attrs, "axis", 0) % max(x.ndim, 1)
    new, bad = _clipped(index, x.shape[axis])
    shape = (*[1] * axis, *index.shape, *[1] * (x.ndim - axis - 1))
    full = (*x.shape[:axis], *index.shape, *x.shape[axis + 1:])
    return _changed(arrays, 1, new, np.broadcast_to(bad.reshape(shape), full))


def _gather_elements(attrs: Attrs, arrays: Arrays) -> Open:
    x, index = _present(arrays, 0, 1)
    return _changed(arrays, 1, *_clipped(index, x.shape[get_int(attrs, "axis", 0)]))


def _scatter_elements(attrs: Attrs, arrays: Arrays) -> Open:
    """An index outside, and without a reduction two updates of one element."""
    x, index = _present(arrays, 0, 1)
    axis = get_int(attrs, "axis", 0) % x.ndim
    new, bad = _clipped(index, x.shape[axis])
    grid: list[Array] = list(np.indices(index.shape))
    grid[axis] = np.asarray(new % x.shape[axis])
    return _scattered(attrs, arrays, new, tuple(grid), bool(bad.any()), x)


def _scatter_nd(attrs: Attrs, arrays: Arrays) -> Open:
    x, index = _present(arrays, 0, 1)
    sizes = np.asarray(x.shape[:index.shape[-1]], index.dtype)
    bad = (index < -sizes) | (index >= sizes)
    new = np.where(bad, index.dtype.type(0), index)
    return _scattered(attrs, arrays, new, tuple(np.moveaxis(new % sizes, -1, 0)),
                      bool(bad.any()), x)


def _scattered(attrs: Attrs, arrays: Arrays, new: Array, places: tuple[Array, ...], bad: bool,
               x: Array) -> Open:
    hits = np.zeros(x.shape, np.int64)
    np.add.at(hits, places, 1)
    many = hits > 1 if get_str(attrs, "reduction", "none") == "none" else np.zeros(x.shape, bool)
    return _changed(arrays, 1, new, np.ones(x.shape, bool) if bad else many)


def _weights(attrs: Attrs, arrays: Arrays) -> Open:
    """Padding times infinite weights: zeros may be multiplied or left out."""
    w = _present(arrays, 1)[0]
    return arrays, None if np.isfinite(w).all() else np.ones((), bool)


UNDEFINED: Mapping[str, Rule] = {
    "Conv": _weights, "ConvTranspose": _weights,
    "Div": _division, "Mod": _division, "Pow": _power, "Cast": _cast, "CastLike": _cast_like,
    "QuantizeLinear": _quantize, "ArgMax": _extreme, "ArgMin": _extreme, "Gather": _gather,
    "GatherElements": _gather_elements, "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd}
