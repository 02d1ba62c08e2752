"""How answers become one: the mean, and rules that a few bad answers cannot move far.

A rule takes differences [clients, n] on the lattice and how many each counts, and gives [n].
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError
from ganglion.federated.device import lattice
from ganglion.federated.device.lattice import Lattice


class Rule(ABC):
    """What all rules share."""

    @abstractmethod
    def combine(self, differences: Lattice, counts: NDArray[np.int64]) -> Lattice:
        """The difference that the model moves by; at least one answer is given."""


@dataclass(frozen=True)
class Mean(Rule):
    """The mean, weighted by the counts: exact sums, rounded to the lattice once."""

    def combine(self, differences: Lattice, counts: NDArray[np.int64]) -> Lattice:
        return lattice.mean(counts @ differences, int(counts.sum()))


@dataclass(frozen=True)
class Median(Rule):
    """The median of each weight, whatever the counts (Yin et al., 2018)."""

    def combine(self, differences: Lattice, counts: NDArray[np.int64]) -> Lattice:
        middle: Lattice = np.rint(np.median(differences, axis=0)).astype(np.int64)
        return middle


@dataclass(frozen=True)
class TrimmedMean(Rule):
    """The mean of each weight without the `share` of largest and of smallest answers
    (Yin et al., 2018)."""

    share: float = 0.2

    def __post_init__(self) -> None:
        if not isinstance(self.share, int | float) or not 0 <= self.share < 0.5:
            raise DataError(f"TrimmedMean(share={self.share!r}): expected a number from 0 up, "
                            "below 0.5")

    def combine(self, differences: Lattice, counts: NDArray[np.int64]) -> Lattice:
        cut = min(int(np.ceil(self.share * len(differences))), (len(differences) - 1) // 2)
        kept = np.sort(differences, axis=0)[cut:len(differences) - cut]
        return lattice.mean(kept.sum(axis=0), len(kept))


@dataclass(frozen=True)
class Krum(Rule):
    """The mean of the `keep` answers that lie nearest to their neighbours, where at most `bad` of
    them all are bad (Blanchard et al., 2017; keep > 1: Multi-Krum)."""

    bad: int = 1
    keep: int = 1

    def __post_init__(self) -> None:
        if self.bad < 0 or self.keep < 1:
            raise DataError(f"{self}: expected bad from 0 up and keep from 1 up")

    def combine(self, differences: Lattice, counts: NDArray[np.int64]) -> Lattice:
        clients = len(differences)
        if clients < self.bad + 3:
            raise DataError(f"Krum with bad={self.bad} needs at least {self.bad + 3} answers, this "
                            f"round has {clients}: ask more clients, or expect fewer bad ones")
        real = differences.astype(np.float64)
        squares = np.einsum("cn,cn->c", real, real)
        distances = np.maximum(squares[:, None] + squares[None] - 2 * real @ real.T, 0)
        np.fill_diagonal(distances, 0)
        near = np.sort(distances, axis=1)[:, 1:clients - self.bad - 1].sum(axis=1)
        best = np.sort(np.argsort(near, kind="stable")[:self.keep])
        return Mean().combine(differences[best], counts[best])


@dataclass(frozen=True)
class ClippedMean(Rule):
    """The mean of answers that are shortened to `times` the median of their lengths."""

    times: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.times, int | float) or not 0 < self.times < float("inf"):
            raise DataError(f"ClippedMean(times={self.times!r}): expected a finite number above 0")

    def combine(self, differences: Lattice, counts: NDArray[np.int64]) -> Lattice:
        norms = np.linalg.norm(differences.astype(np.float64), axis=1)
        most = self.times * float(np.median(norms))
        factors = np.minimum(1.0, most / np.maximum(norms, 1))
        clipped = np.rint(differences * factors[:, None]).astype(np.int64)
        return Mean().combine(clipped, counts)
