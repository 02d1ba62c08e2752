"""Differences of weights as few bytes: pure functions of the numbers and, where they draw, of a
generator.

A codec takes points of the lattice [n] and gives bytes; `decode` gives points again, the same on
every machine. `sizes`: how many of the n belong to each tensor.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.errors import DataError
from ganglion.federated.device import bits
from ganglion.federated.device.lattice import MOST, Lattice

Sizes = Sequence[int]

STEP_BITS = 32
"""Of the step in front of a block of numbers."""


class Codec(ABC):
    """What all codecs share. `feedback`: what was left out is added to the next difference."""

    feedback: bool = False

    @abstractmethod
    def encode(self, points: Lattice, sizes: Sizes, draw: np.random.Generator) -> bytes:
        """The bytes for these points."""

    @abstractmethod
    def decode(self, data: bytes, sizes: Sizes) -> Lattice:
        """The points that these bytes stand for. Raises DataError for bytes that are none of this
        codec's."""


@dataclass(frozen=True)
class Dense(Codec):
    """Every number as it is, 4 bytes each."""

    def encode(self, points: Lattice, sizes: Sizes, draw: np.random.Generator) -> bytes:
        return points.astype("<i4").tobytes()

    def decode(self, data: bytes, sizes: Sizes) -> Lattice:
        if len(data) != 4 * sum(sizes):
            raise DataError(f"{len(data)} bytes for {sum(sizes)} numbers of 4 bytes: the message "
                            "is damaged, or of another network")
        return np.frombuffer(data, "<i4").astype(np.int64)


@dataclass(frozen=True)
class Stochastic(Codec):
    """Each tensor in steps of its largest number / 2^(bits - 2), rounded up or down by chance so
    that the mean is right (QSGD: Alistarh et al., 2017), then Rice coded."""

    bits: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 2 <= self.bits <= 16:
            raise DataError(f"Stochastic(bits={self.bits!r}): expected a whole number from 2 to 16")

    def encode(self, points: Lattice, sizes: Sizes, draw: np.random.Generator) -> bytes:
        levels = 1 << (self.bits - 2)
        parts = []
        for part in _split(points, sizes):
            most = int(np.abs(part).max(initial=0))
            step = -(-most // levels)
            parts.append(step.to_bytes(4, "big"))
            if step:
                up = draw.random(len(part)) * step
                whole = (np.abs(part) + up.astype(np.int64)) // step
                parts.append(bits.pack(np.sign(part) * whole))
        return b"".join(parts)

    def decode(self, data: bytes, sizes: Sizes) -> Lattice:
        return _stepped(bits.Reader.over(data), sizes)


@dataclass(frozen=True)
class TopK(Codec):
    """The `share` of all numbers that are largest, in steps of the smallest of them.

    `values`: how these are rounded instead (`TopK(0.05, Stochastic(4))`). `feedback`: what was left
    out or rounded off is added to the next difference; goes stale where devices are drawn seldom.
    """

    share: float = 0.1
    values: Stochastic | None = None
    feedback: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise DataError(f"TopK(share={self.share!r}): expected a number above 0, at most 1")

    def encode(self, points: Lattice, sizes: Sizes, draw: np.random.Generator) -> bytes:
        large = np.abs(points)
        kept = max(1, round(self.share * len(points)))
        least = max(1, int(np.partition(large, -kept)[-kept]))
        chosen = np.where(large >= least, points, 0)
        if self.values is not None:
            return self.values.encode(chosen, sizes, draw)
        steps = np.sign(chosen) * ((2 * np.abs(chosen) + least) // (2 * least))
        return least.to_bytes(4, "big") + bits.pack(steps)

    def decode(self, data: bytes, sizes: Sizes) -> Lattice:
        if self.values is not None:
            return self.values.decode(data, sizes)
        return _stepped(bits.Reader.over(data), [sum(sizes)])


def _stepped(reader: bits.Reader, sizes: Sizes) -> Lattice:
    """Blocks of a step, 4 bytes, and numbers of such steps; nothing behind a step of 0."""
    parts = []
    for size in sizes:
        step = reader.number(STEP_BITS)
        numbers = reader.numbers(size) if step else np.zeros(size, np.int64)
        if step * int(np.abs(numbers).max(initial=0)) >= 2 * MOST:
            raise DataError("a coded difference is beyond what weights can be: the message is "
                            "damaged")
        parts.append(numbers * step)
    if reader.left:
        raise DataError(f"a message has {reader.left} bits behind its end: it is damaged, or of "
                        "another network")
    return np.concatenate([*parts, np.zeros(0, np.int64)])


def _split(points: Lattice, sizes: Sizes) -> list[Lattice]:
    return np.split(points, np.cumsum(sizes)[:-1])
