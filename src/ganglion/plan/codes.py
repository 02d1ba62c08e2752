"""Quantised results of element-wise groups: the rounding to codes belongs to the store."""

from dataclasses import dataclass

from ganglion.ops.pointwise import Expr

DTYPES = {"int8": (-128.0, 127.0), "uint8": (0.0, 255.0)}


@dataclass(frozen=True)
class Codes:
    """`real` stored as codes: sat(rint(real / scale) + zero_point)."""

    real: Expr
    scale: float
    zero_point: int


def codes(result: Expr, dtype: str) -> Codes | None:
    """min(max(rint(x / s) + z, lo), hi) as codes of x; None for anything else.

    `lo` and `hi` are the dtype's own, s and z constants, z a code.
    """
    limits = DTYPES.get(dtype)
    clamped = _with_constant(result, "min")
    raised = _with_constant(clamped[0], "max") if clamped else None
    moved = _with_constant(raised[0], "add") if raised else None
    if limits is None or clamped is None or raised is None or moved is None:
        return None
    rounded, zero = moved
    scaled = _with_constant(rounded.args[0], "div") if rounded.name == "rint" else None
    if scaled is None or (raised[1], clamped[1]) != limits:
        return None
    if not (scaled[1] > 0 and zero.is_integer() and limits[0] <= zero <= limits[1]):
        return None
    return Codes(scaled[0], scaled[1], int(zero))


def _with_constant(e: Expr, name: str) -> tuple[Expr, float] | None:
    """The operand of an operation whose second operand is a constant, and that constant."""
    if e.name != name or e.args[1].name != "const" or e.args[1].value is None:
        return None
    return e.args[0], float(e.args[1].value)
