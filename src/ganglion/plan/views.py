"""Where values lie while a Plan is made: storages, and strided views of them.

A Transpose permutes a view's strides, a Slice moves its offset, an Expand sets a stride to 0:
no byte moves until a kernel asks for an order that the view does not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np


@dataclass(eq=False)
class Storage:
    """A run of `size` elements. Its place may still change while planning.

    `place`: "arena", "input", "output", "state" or "const"; `index`: which input, output or state
    tensor. `array`: the contents of a constant, in storage order.
    """

    name: str
    dtype: str
    size: int
    place: str = "arena"
    index: int = 0
    array: np.ndarray | None = None

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize


@dataclass(frozen=True)
class View:
    """A logical [shape] on a storage: element i is at offset + Σ i·strides (in elements)."""

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    @property
    def span(self) -> int:
        """Elements from the first to behind the last that the view reaches (strides >= 0)."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides)) if self.size else 0

    def transposed(self, perm: Sequence[int]) -> "View":
        return replace(self, shape=tuple(self.shape[p] for p in perm),
                       strides=tuple(self.strides[p] for p in perm))

    def broadcast(self, shape: Sequence[int]) -> "View":
        """The view repeated along new or unit axes, by strides of 0 (NumPy's rule)."""
        lead = len(shape) - len(self.shape)
        strides = [0] * lead + [0 if n == 1 and m != 1 else s for n, m, s in
                                zip(self.shape, shape[lead:], self.strides)]
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def dense_in(self, order: Sequence[int]) -> bool:
        """Whether the elements lie without gaps, axes outermost first as in `order`."""
        wanted = 1
        for axis in reversed(order):
            if self.shape[axis] != 1 and self.strides[axis] != wanted:
                return False
            wanted *= self.shape[axis]
        return True

    def lies_as(self, other: "View") -> bool:
        """Whether both reach their elements by the same offset and strides; those of axes of one
        element do not count."""
        return (self.shape == other.shape and self.offset == other.offset
                and all(n == 1 or a == b for n, a, b in zip(self.shape, self.strides,
                                                            other.strides)))

    def whole(self) -> bool:
        """Whether the view reaches every element of its storage."""
        return self.offset == 0 and self.size == self.storage.size

    def order(self) -> tuple[int, ...]:
        """Axes from the widest stride to the narrowest; unit axes stay beside their neighbour."""
        ranked = [i for i in range(len(self.shape)) if self.shape[i] != 1]
        ranked.sort(key=lambda i: -self.strides[i])
        result: list[int] = []
        units = [i for i in range(len(self.shape)) if self.shape[i] == 1]
        for axis in ranked:
            result += [u for u in units if u < axis and u not in result]
            result.append(axis)
        return tuple(result + [u for u in units if u not in result])

    def reshaped(self, shape: Sequence[int]) -> "View | None":
        """The same bytes under another shape, or None where that needs a copy."""
        ghost = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), self.shape, self.strides)
        try:
            strides = ghost.reshape(shape, copy=False).strides
        except ValueError:
            return None
        return replace(self, shape=tuple(shape), strides=tuple(strides))


def dense_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of a gapless array whose axes lie in `order`, outermost first.

    >>> dense_strides((1, 3, 5, 5), (0, 2, 3, 1))
    (75, 1, 15, 3)
    """
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def row_major(rank: int) -> tuple[int, ...]:
    return tuple(range(rank))


def collapse(dims: Sequence[int], *streams: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Merges neighbouring loop dimensions that every stream walks as one, and drops unit ones.

    >>> collapse((2, 3, 4), (12, 4, 1), (0, 4, 1))
    ((2, 12), (12, 1), (0, 1))
    """
    kept: list[list[int]] = []
    for column in zip(dims, *streams):
        if column[0] == 1:
            continue
        if kept and all(a == b * column[0] for a, b in zip(kept[-1][1:], column[1:])):
            kept[-1] = [kept[-1][0] * column[0], *column[1:]]
        else:
            kept.append(list(column))
    if not kept:
        kept = [[1, *(0 for _ in streams)]]
    return tuple(zip(*kept))
