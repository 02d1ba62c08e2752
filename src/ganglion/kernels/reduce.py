"""Reductions along one run of axes; float32 (sums of int32 and int64 too)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReduceSpec:
    """x: [outer, axis, inner] → y: [outer, inner].

    `mode`: "sum", "mean", "max", "min", "prod", "sumsq", "l2" (sqrt Σx²), "argmax", "argmin"
    (first index wins, y is int64). Operands: x, y.
    """

    mode: str
    dtype: str
    outer: int
    axis: int
    inner: int
