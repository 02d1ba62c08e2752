"""Random numbers that are the same bits on every machine and with every release of NumPy.

Only the raw 64-bit words of NumPy's Philox generator are used, which its documentation promises
to keep (NEP 19); all that follows is whole-number arithmetic and additions, products and quotients
that IEEE 754 fixes. (NumPy's own normal and beta distributions go through the C library's exp, log
and pow, whose last bit differs between machines.)
"""

import numpy as np

from ganglion.errors import DataError

MOST_ALPHA = 2.0
"""Above it `beta` would reject nearly all it draws."""

LN_2, LN_3_4 = 0.6931471805599453, -0.2876820724517809
"""The natural logarithms of 2 and of 3/4."""

LEAST = -700.0
"""The logarithm that stands for everything smaller, so that two of them can be divided."""


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
        count = int(np.prod(shape, dtype=np.int64))
        sixteenths = self._raw(3 * count).astype("<u8").view("<u2").reshape(12, count)
        total = sixteenths.sum(axis=0, dtype=np.int32) - np.int32(6 * 0xFFFF)
        return np.asarray(total.astype(np.float32) * np.float32(2.0 ** -16)).reshape(shape)

    def permutation(self, count: int) -> np.ndarray:
        """The numbers below `count` in a random order."""
        return np.argsort(self._raw(count), kind="stable")

    def beta(self, alpha: float, count: int) -> np.ndarray:
        """float32 [count] distributed as Beta(alpha, alpha), by Jöhnk's method (1964)."""
        if not 0 < alpha <= MOST_ALPHA:
            raise DataError(f"alpha={alpha}: expected above 0 and at most {MOST_ALPHA:g}")
        found, left = np.empty(count), np.arange(count)
        while len(left):
            u, v = _power((self._raw(2, len(left)) >> np.uint64(11)) * 2.0 ** -53 + 2.0 ** -54,
                          1 / alpha)
            kept = u + v <= 1
            found[left[kept]] = u[kept] / (u + v)[kept]
            left = left[~kept]
        return found.astype(np.float32)

    def _raw(self, *shape: int) -> np.ndarray:
        return self._words.random_raw(int(np.prod(shape, dtype=np.int64))).reshape(shape)


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    """base ** exponent for float64 above 0, by additions, products and quotients alone.

    ln from the series of atanh, exp from Taylor's, both of arguments brought near 0 by powers of
    two (Muller, "Elementary Functions", 2016, chapters 3 and 11). Far below float32's rounding.
    """
    share, twos = np.frexp(base)
    s = (share - 0.75) / (share + 0.75)
    square, series = s * s, np.zeros_like(s)
    for k in range(25, 0, -2):
        series = series * square + 1 / k
    logarithm = (twos * LN_2 + LN_3_4) + 2 * s * series
    wanted = np.maximum(logarithm * exponent, LEAST)
    twos = np.rint(wanted / LN_2)
    rest, power = wanted - twos * LN_2, np.ones_like(wanted)
    for k in range(18, 0, -1):
        power = 1 + power * rest / k
    return np.asarray(np.ldexp(power, twos.astype(np.int64)))
