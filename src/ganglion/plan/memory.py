"""The arena: which buffers live when, computed in place where allowed, and their offsets."""

from collections.abc import Sequence
from dataclasses import dataclass

from ganglion.plan.types import aligned


@dataclass(frozen=True)
class Interval:
    """A buffer of `nbytes` that must be kept from step `first` to step `last`, both included."""

    first: int
    last: int
    nbytes: int

    def meets(self, other: "Interval") -> bool:
        return self.first <= other.last and other.first <= self.last


def assign_offsets(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """Byte offsets such that no two buffers alive at once overlap, and the arena's size.

    Greedy by size, each into the lowest gap that holds it (Pisarchyk and Lee, "Efficient Memory
    Management for Deep Neural Net Inference", 2020, section 5).
    """
    offsets = [0] * len(intervals)
    placed: list[int] = []
    by_size = sorted(range(len(intervals)), key=lambda i: (-intervals[i].nbytes, i))
    for i in by_size:
        need = aligned(intervals[i].nbytes)
        taken = sorted((offsets[j], offsets[j] + aligned(intervals[j].nbytes))
                       for j in placed if intervals[i].meets(intervals[j]))
        at = 0
        for begin, end in taken:
            if begin - at >= need:
                break
            at = max(at, end)
        offsets[i] = at
        placed.append(i)
    total = max((o + aligned(b.nbytes) for o, b in zip(offsets, intervals)), default=0)
    return offsets, total
