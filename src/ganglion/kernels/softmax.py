"""Softmax and log-softmax along one axis; float32 and int8."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SoftmaxSpec:
    """x, y: [outer, axis, inner]. The maximum is subtracted first.

    `dtype` "int8"/"uint8": e = table[max - x] (const operand, uint32[256], made when building:
    round(exp(-d · x_scale) · 2^23)); y = clamp(rint(float(e) / float(Σe) · (1 / y_scale)) +
    zero_point), Σ in uint64 in index order, so every target gives the same bits.
    Operands: x, [table], y.
    """

    dtype: str
    outer: int
    axis: int
    inner: int
    log: bool = False
    x_scale: float = 1.0
    y_scale: float = 1.0
    zero_point: int = 0
