"""From a range of numbers to a scale and a zero point."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

LEAST_SCALE = 2.0 ** -60
"""Keeps every product of two scales a normal float32."""

LOW, HIGH = -128, 127


@dataclass(frozen=True)
class Scale:
    """real = (code - zero_point) · scale, codes int8; `scale` is exactly a float32."""

    scale: float
    zero_point: int

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest number that a code stands for, as float32 gives them."""
        step = np.float32(self.scale)
        return (float(np.float32(LOW - self.zero_point) * step),
                float(np.float32(HIGH - self.zero_point) * step))


UNIT = Scale(1 / 256, LOW)
"""For results in [0, 1]: sigmoid, softmax."""
SIGNED_UNIT = Scale(1 / 128, 0)
"""For results in [-1, 1]: tanh."""


def asymmetric(lo: float, hi: float) -> Scale:
    """The finest int8 codes for [lo, hi], which is widened to hold 0; 0 is a code.

    An empty range [0, 0] has scale 1.
    """
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if lo == hi:
        return Scale(1.0, 0)
    step = max(float(np.float32((hi - lo) / (HIGH - LOW))), LEAST_SCALE)
    return Scale(step, int(np.clip(np.rint(LOW - lo / step), LOW, HIGH)))


def symmetric(lo: float, hi: float) -> Scale:
    """Codes -127 .. 127 with zero point 0, as a second factor of a product needs."""
    most = max(abs(lo), abs(hi))
    return Scale(1.0, 0) if most == 0 else Scale(
        max(float(np.float32(most / HIGH)), LEAST_SCALE), 0)


def within(lo: float, hi: float, bounds: tuple[float, float]) -> Scale:
    """As `asymmetric`, but no number that is rounded to a code leaves `bounds`.

    A clamp at a bound rounds it to a code; so that this code lies inside, the step divides the
    upper bound (or, where that is 0, the lower one) and the other bound is rounded inwards.
    """
    plain = asymmetric(max(lo, bounds[0]), min(hi, bounds[1]))
    lowest, highest = max(min(lo, 0.0), bounds[0]), min(max(hi, 0.0), bounds[1])
    if lowest > 0 or highest < 0 or _kept(plain, bounds):
        return plain
    if highest <= 0 or lowest >= 0:
        most = max(highest, -lowest)
        step = _below(most / (HIGH - LOW))
        return Scale(step, LOW if highest > 0 else HIGH)
    for parts in range(HIGH - LOW - 1, 0, -1):
        step = _below(highest / parts)
        below = int(np.floor(-lowest / step + 0.5))
        candidate = Scale(step, LOW + below)
        if parts + below <= HIGH - LOW and _kept(candidate, bounds):
            return candidate
    return plain


def _kept(scale: Scale, bounds: tuple[float, float]) -> bool:
    """Whether the codes nearest to the bounds stand for numbers within them."""
    step = np.float32(scale.scale)
    for bound, sign in ((bounds[0], -1), (bounds[1], 1)):
        if np.isinf(bound):
            continue
        code = np.clip(np.rint(np.float32(bound) / step) + scale.zero_point, LOW, HIGH)
        if sign * (float(np.float32(code - scale.zero_point) * step) - bound) > 0:
            return False
    return True


def _below(step: float) -> float:
    """The greatest float32 not above `step`."""
    nearest = np.float32(step)
    if Fraction(float(nearest)) > Fraction(step):
        nearest = np.nextafter(nearest, np.float32(0))
    return max(float(nearest), LEAST_SCALE)


def weight_scales(w: np.ndarray, axis: int | None, high: int = HIGH) -> np.ndarray:
    """float32 scales of symmetric weights, one a slice along `axis`, or a single one.

    All-zero slices get 1. `high`: the greatest code, 127 of int8.
    """
    axes = tuple(i for i in range(w.ndim) if i != axis) if axis is not None else None
    most = np.abs(w.astype(np.float64)).max(axis=axes, initial=0.0)
    scales = np.where(most == 0, 1.0, np.maximum(most / high, LEAST_SCALE))
    return np.asarray(scales, np.float32)


def quantized_weights(w: np.ndarray, scales: np.ndarray, axis: int | None,
                      high: int = HIGH) -> np.ndarray:
    """int8 codes in [-high, high], rounded half to even; `scales` as `weight_scales` gives them."""
    codes: np.ndarray = np.clip(np.rint(w / along(scales, axis, w.ndim)), -high,
                                high).astype(np.int8)
    return codes


def along(scales: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """Scales shaped to broadcast along `axis` of a tensor; [1] where there is a single one."""
    return scales.reshape([-1 if i == axis else 1 for i in range(rank)] if axis is not None else 1)


def least_error_scales(w: np.ndarray, axis: int | None, high: int) -> np.ndarray:
    """As `weight_scales`, each shrunk to where the squared error of the codes is least."""
    widest = weight_scales(w, axis, high)
    axes = tuple(i for i in range(w.ndim) if i != axis) if axis is not None else None
    best, least = widest, np.full(widest.shape, np.inf)
    for factor in np.linspace(1.0, 0.3, 36):
        scales = np.asarray(widest * factor, np.float32)
        real = quantized_weights(w, scales, axis, high) * along(scales, axis, w.ndim)
        error = np.asarray(((real - w.astype(np.float64)) ** 2).sum(axis=axes))
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return np.asarray(best, np.float32)
