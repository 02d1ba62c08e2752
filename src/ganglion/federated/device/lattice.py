"""Weights on a lattice: whole multiples of 2^-20, so that sums are exact whatever their order."""

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError
from ganglion.tensors import Array

Lattice = NDArray[np.int64]
"""[n] numbers in units of 2^-20."""

STEPS = float(1 << 20)
"""Points of the lattice between 0 and 1."""
MOST = 1 << 31
"""What a number on the lattice stays below, in either direction: weights below 2048."""


def to_lattice(numbers: Array) -> Lattice:
    """The nearest points; ties go to the even one. Raises DataError for numbers that are not finite
    and for those of 2048 and above."""
    scaled = np.rint(numbers.astype(np.float64) * STEPS)
    if not (np.abs(scaled) < MOST).all():
        raise DataError("a weight is not finite, or 2048 or more: the learning has run away; take "
                        "a smaller learning rate")
    return scaled.astype(np.int64)


def from_lattice(points: Lattice) -> NDArray[np.float32]:
    """The numbers; exact below 16, where float32 holds all points of the lattice."""
    return (points / STEPS).astype(np.float32)


def mean(total: Lattice, count: int) -> Lattice:
    """total / count, to the nearest point, upwards where two are equally near."""
    return (2 * total + count) // (2 * count)
