"""Sums to codes by one multiply-add where a conversion and a multiplication stood.

An int32 sum that begins at the bits of 1.5 · 2^23 instead of 0 is, read as a float32, 1.5 · 2^23
plus the sum: no conversion is needed. What the large number adds to the product is taken away by
the addition of a fused multiply-add; rounded to float32, that is not exactly as much. So sums begin
a little higher or lower, by a number found for each channel with which every code begins at the
very sum at which it begins by definition. Both functions only ever rise: nothing else can differ.

About one channel in two thousand has no such number: multipliers close to a fraction of small
numbers, whose multiples lie on the middle between two codes again and again.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

ISAS = ("vnni",)
"""Instruction sets whose kernels make use of it."""
BITS = 0x4B400000
"""1.5 · 2^23 as a float32, which is followed by the next integers."""
START = 1.5 * 2.0 ** 23
REACH = 2 ** 22
"""How far a sum may lie from START."""
SHIFTS = (256, 8192, 2 ** 20)
"""How many are looked through; more, where fewer have not served."""
ULPS = (0, 1, -1)
"""By how much a multiplier may differ, where nothing else serves."""
TRIED = 8
LEAST_ROOM = 2 ** 16
ROUND = 2 ** 16
FAILED = 2 ** 40


@dataclass(frozen=True)
class Rescale:
    """code = rint(fma(as_float(BITS + shift + sum), factor, offset)); all are arrays [O]."""

    shifts: np.ndarray
    factors: np.ndarray
    offsets: np.ndarray


def of_sums(weights: np.ndarray, bias: np.ndarray | None, multiplier: np.ndarray,
            x: tuple[int, int], y: tuple[int, int]) -> Rescale | None:
    """For the sums Σ x · w + bias: weights int8 [O, terms], bias int32 [O], multiplier float32 [O].

    `x`, `y`: the least and greatest number, zero points taken away. None where there is none.
    """
    w = weights.astype(np.int64)
    ends = np.stack([w * x[0], w * x[1]])
    bounds = np.stack([ends.min(0).sum(1), ends.max(0).sum(1)])
    if bias is not None:
        bounds = bounds + bias.reshape(-1)
    return _known(multiplier.astype(np.float32).tobytes(), bounds.tobytes(), *y)


@lru_cache(maxsize=256)
def _known(multiplier: bytes, bounds: bytes, lo: int, hi: int) -> Rescale | None:
    """Asked for once when a layer is planned, and again when its weights are packed."""
    least, most = np.frombuffer(bounds, np.int64).reshape(2, -1)
    return fit(np.frombuffer(multiplier, np.float32), least, most, lo, hi)


def fit(multiplier: np.ndarray, least: np.ndarray, most: np.ndarray, lo: int, hi: int
        ) -> Rescale | None:
    """Shifts (int32), factors and offsets (float32), or None where a channel has none.

    `multiplier`: float32 [O]; `least`, `most`: bounds of each channel's sum; `lo`, `hi`: bounds of
    what is rounded. A channel's numbers do not depend on the others, so that a part of a layer is
    served as the whole is.
    """
    middle = -((least.astype(np.int64) + most) // 2)
    room = REACH - (most + middle) - 1
    if room.min() < LEAST_ROOM or multiplier.min() <= 1e-30:
        return None
    first = _firsts(multiplier.astype(np.float64), lo, hi)
    limits = np.stack([least, most], axis=1)
    shifts, factors = np.full(multiplier.size, FAILED), multiplier.astype(np.float64)
    for ulps, count in product(ULPS, SHIFTS):
        left = np.flatnonzero(shifts == FAILED)
        factors[left] = multiplier[left] + ulps * np.spacing(multiplier[left])
        for some in np.array_split(left, -(-left.size * count // 2 ** 20) or 1):
            tried = _tried(middle[some][:, None], room[some][:, None], count)
            shifts[some] = _serving(factors[some], tried, first[some], lo, limits[some])
    if (shifts == FAILED).any():
        return None
    offsets = (-(START + shifts) * factors).astype(np.float32)
    return Rescale(shifts.astype(np.int32), factors.astype(np.float32), offsets)


def _tried(middle: np.ndarray, room: np.ndarray, count: int) -> np.ndarray:
    """Shifts [O, ...] in [middle, middle + room]: the first, and round ones, with which multipliers
    of few digits leave no error at all; middle, room: [O, 1]."""
    first = middle + np.minimum(np.arange(count), room)
    round_ones = (-(-middle // ROUND) + np.arange(16)) * ROUND
    return np.concatenate([first, np.where(round_ones > middle + room, middle, round_ones)], 1)


def _serving(m: np.ndarray, shifts: np.ndarray, first: np.ndarray, lo: int, limits: np.ndarray
             ) -> np.ndarray:
    """One of `shifts` [O, count] that serves the factor m, for each channel; else FAILED.

    `first`: of every number from lo + 1 on the least sum that comes to it; `limits`: of sums.
    """
    if not m.size:
        return np.zeros(0, np.int64)
    large = (START + shifts) * m[:, None]
    nearest = np.argpartition(np.abs(large - large.astype(np.float32)), TRIED)[:, :TRIED]
    codes = np.arange(lo + 1, lo + 1 + first.shape[1])
    least, most = limits[:, :1], limits[:, 1:]
    at, before = np.clip(first, least, most), np.clip(first - 1, least, most)
    found = np.full(m.size, FAILED)
    for shift in np.take_along_axis(shifts, nearest, 1).T:
        offset = (-(START + shift) * m).astype(np.float32).astype(np.float64)[:, None]
        # the product has 48 digits and mostly cancels: exact in float64, then rounded once
        start = (START + shift)[:, None]
        reached = np.rint(((start + at) * m[:, None] + offset).astype(np.float32)) >= codes
        below = np.rint(((start + before) * m[:, None] + offset).astype(np.float32)) < codes
        good = ((reached | (first > most)) & (below | (first <= least))).all(axis=1)
        found = np.where((found == FAILED) & good, shift, found)
    return found


def _firsts(m: np.ndarray, lo: int, hi: int) -> np.ndarray:
    """The least sum of each of lo + 1 to hi, as rint(float32(sum · m)) defines it, [O, hi - lo].

    Numbers that no sum within reach comes to begin behind it.
    """
    codes = np.arange(lo + 1, hi + 1)
    about = np.floor(np.clip((codes - 0.5) / m[:, None], -2.0 * REACH, 2.0 * REACH))
    near = about[..., None] + np.arange(-2, 4)
    reached = np.rint((near * m[:, None, None]).astype(np.float32)) >= codes[:, None]
    return np.asarray(np.take_along_axis(near, reached.argmax(-1)[..., None], -1)[..., 0])
