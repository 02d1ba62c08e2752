"""Random numbers that are the same bits on every machine and with every release of NumPy.

Only the raw 64-bit words of NumPy's Philox generator are used, which its documentation promises
to keep (NEP 19); all that follows is whole-number arithmetic, correctly rounded decimals, and
single float32 operations, which IEEE 754 fixes. (NumPy's own normal and beta distributions go
through the C library's exp, log and pow, whose last bit differs between machines.)
"""

from decimal import Context, Decimal

import numpy as np

from ganglion.errors import DataError

MOST_ALPHA = 2.0
"""Above it `beta` would reject nearly all it draws."""

EXACT = Context(prec=20)
"""Decimals whose ln and exp are correctly rounded (General Decimal Arithmetic 1.70)."""


class Draws:
    """One stream of random numbers, decided by the whole numbers it is made from."""

    def __init__(self, *key: int) -> None:
        self._words = np.random.Philox(np.random.SeedSequence(list(key)))

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """float32 from low to high, in 2^24 steps."""
        steps = (self._raw(*shape) >> np.uint64(40)).astype(np.float32)
        share = steps * np.float32(2.0 ** -24)
        return np.asarray(share * np.float32(high - low) + np.float32(low))

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """int64 from low to high, both included; the spread must be below 2^31."""
        span = np.uint64(high - low + 1)
        steps = (self._raw(*shape) >> np.uint64(32)) * span >> np.uint64(32)
        return np.asarray(steps.astype(np.int64) + low)

    def flags(self, *shape: int) -> np.ndarray:
        """bool, true for half of them."""
        return (self._raw(*shape) >> np.uint64(63)).astype(bool)

    def normal(self, *shape: int) -> np.ndarray:
        """float32 of mean 0 and deviation 1: twelve uniform numbers summed (Irwin and Hall 1927),
        so nothing lies beyond 6."""
        sixteenths = self._raw(*shape, 3)[..., None] >> np.arange(0, 64, 16, dtype=np.uint64)
        total = (sixteenths & np.uint64(0xFFFF)).sum(axis=(-1, -2)).astype(np.int64)
        return np.asarray((total - 6 * 0xFFFF).astype(np.float32) * np.float32(2.0 ** -16))

    def permutation(self, count: int) -> np.ndarray:
        """The numbers below `count` in a random order."""
        return np.argsort(self._raw(count), kind="stable")

    def beta(self, alpha: float, count: int) -> np.ndarray:
        """float32 [count] distributed as Beta(alpha, alpha), by Jöhnk's method (1964)."""
        if not 0 < alpha <= MOST_ALPHA:
            raise DataError(f"alpha={alpha}: expected above 0 and at most {MOST_ALPHA:g}")
        return np.array([float(self._beta(1 / Decimal(alpha))) for _ in range(count)], np.float32)

    def _beta(self, power: Decimal) -> Decimal:
        while True:
            u, v = (Decimal(int(word) | 1) / Decimal(2 ** 64) for word in self._raw(2))
            a = EXACT.exp(EXACT.multiply(EXACT.ln(u), power))
            b = EXACT.exp(EXACT.multiply(EXACT.ln(v), power))
            if EXACT.add(a, b) <= 1:
                return EXACT.divide(a, EXACT.add(a, b))

    def _raw(self, *shape: int) -> np.ndarray:
        return self._words.random_raw(int(np.prod(shape, dtype=np.int64))).reshape(shape)
