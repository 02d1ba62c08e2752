"""Functions of two 8-bit codes that two multiply-adds compute exactly, proven by trying all pairs.

A sum of two quantised tensors (a residual connection) is float arithmetic by definition: scale
each, add, clamp, divide, round. Between its clamps it is almost a·k0 + b·k1 + c, and as there are
only 65,536 pairs of codes, numbers that give each of them the very same result can be looked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

LARGEST_STEP = 64.0
LEAST_STEP = 2.0 ** -10
LEAST_OFFSET = 2.0 ** -24
"""Slopes between, and an offset in multiples of, these: a float64 sum of products of codes is then
exact, so that rounding it once is a fused multiply-add."""


@dataclass(frozen=True)
class Affine:
    """code = clamp(rint(fma(a, k0, fma(b, k1, c))), lo, hi), a and b codes as they are stored."""

    k0: float
    k1: float
    c: float
    lo: int
    hi: int

    def codes(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """What the kernel computes, float32 throughout; rounds half to even."""
        inner = (b.astype(np.float64) * self.k1 + self.c).astype(np.float32)
        sums = (a.astype(np.float64) * self.k0 + inner).astype(np.float32)
        return np.asarray(np.clip(np.rint(sums), self.lo, self.hi).astype(np.int64))


def fit(a: np.ndarray, b: np.ndarray, real: np.ndarray, codes: np.ndarray) -> Affine | None:
    """Numbers for which `codes(a, b)` is `codes` for every pair; None where none are found.

    a, b, codes: integers; `real`: the result before it is rounded and clamped, in steps of a code.
    """
    lo, hi = int(codes.min()), int(codes.max())
    inside = (codes > lo) & (codes < hi)
    if np.count_nonzero(inside) < 16:
        return None
    rows = np.stack([a[inside], b[inside], np.ones(np.count_nonzero(inside))], axis=1)
    best = np.linalg.lstsq(rows, real[inside], rcond=None)[0]
    exact = a * best[0] + b * best[1] + best[2]
    if not LEAST_STEP < min(abs(best[:2])) <= max(abs(best[:2])) < LARGEST_STEP:
        return None
    if np.abs(exact - real)[inside].max() > 0.01:
        return None
    close = np.abs(exact - np.floor(exact) - 0.5) < 0.01
    best[2] = np.rint(best[2] / LEAST_OFFSET) * LEAST_OFFSET
    for k0, k1, c in _near(best.astype(np.float32)):
        found = Affine(k0, k1, c, lo, hi)
        if np.array_equal(found.codes(a[close], b[close]), codes[close]):
            return found if np.array_equal(found.codes(a, b), codes) else None
    return None


def _near(start: np.ndarray, reach: int = 4) -> Iterator[tuple[float, float, float]]:
    """Float32 triples around `start`, the nearest first."""
    ulps = np.maximum(np.spacing(np.abs(start)),
                      np.asarray([0, 0, LEAST_OFFSET], np.float32))
    steps = sorted(product(range(-reach, reach + 1), repeat=3), key=lambda s: sum(map(abs, s)))
    for step in steps:
        k0, k1, c = (start + ulps * np.asarray(step, np.float32)).tolist()
        yield k0, k1, c
