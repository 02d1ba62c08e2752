"""Small whole numbers as few bits: Rice codes, and of sparse ones the gaps between them.

Rice (1979): v is v >> k in unary, then the low k bits; all unary parts stand before all low bits,
so that both are read without a loop over numbers.

block:    form [2] and, by form,
          none    nothing: all are 0
          dense   k [5], Rice codes of all
          sparse  count [33], k [5], Rice codes of the gaps in front of those that are not 0,
                  then a block of what these are above 1
numbers:  a block of their sizes, a bit for the sign of each that is not 0, zeros to a whole byte
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError

Bits = NDArray[np.uint8]
"""[n] of 0 and 1."""
Whole = NDArray[np.int64]

NONE, DENSE, SPARSE = range(3)
FORM_BITS, K_BITS, COUNT_BITS = 2, 5, 33


def pack(numbers: Whole) -> bytes:
    """Whole numbers of either sign, below 2^31 in size."""
    signs = (numbers[numbers != 0] < 0).astype(np.uint8)
    return np.packbits(np.concatenate([_block(np.abs(numbers)), signs])).tobytes()


def _block(sizes: Whole) -> Bits:
    if not sizes.any():
        return _number(NONE, FORM_BITS)
    k, codes = _rice(sizes)
    dense = [_number(DENSE, FORM_BITS), _number(k, K_BITS), codes]
    places = np.flatnonzero(sizes)
    if len(places) > len(sizes) // 2:
        return np.concatenate(dense)
    k, codes = _rice(np.diff(places, prepend=-1) - 1)
    sparse = [_number(SPARSE, FORM_BITS), _number(len(places), COUNT_BITS), _number(k, K_BITS),
              codes, _block(sizes[places] - 1)]
    return min(np.concatenate(dense), np.concatenate(sparse), key=len)


def _rice(values: Whole) -> tuple[int, Bits]:
    """The k that takes fewest bits for these numbers from 0 up, and the codes."""
    middle = int(np.log2(max(1.0, float(values.mean()))))
    k = min(range(max(0, middle - 1), middle + 2),
            key=lambda k: int((values >> k).sum()) + k * len(values))
    high = values >> k
    unary = np.zeros(int(high.sum()) + len(values), np.uint8)
    unary[np.cumsum(high + 1) - 1] = 1
    low = (values[:, None] >> np.arange(k - 1, -1, -1)) & 1
    return k, np.concatenate([unary, low.astype(np.uint8).reshape(-1)])


@dataclass
class Reader:
    """Reads bits from the front. Every method raises DataError for what `pack` never writes."""

    bits: Bits
    at: int = 0

    @classmethod
    def over(cls, data: bytes) -> "Reader":
        """Reads the bits of these bytes, the highest of each first."""
        return cls(np.unpackbits(np.frombuffer(data, np.uint8)))

    @property
    def left(self) -> int:
        """How many bits there still are."""
        return len(self.bits) - self.at

    def take(self, count: int) -> Bits:
        """The next bits."""
        if count > self.left:
            raise _cut_off()
        self.at += count
        return self.bits[self.at - count:self.at]

    def number(self, count: int) -> int:
        """The next so many bits as one number."""
        return int(self.take(count).astype(np.int64) @ _powers(count))

    def numbers(self, count: int) -> Whole:
        """`count` numbers that `pack` wrote."""
        sizes = self._block(count)
        places = np.flatnonzero(sizes)
        negative = places[self.take(len(places)).astype(bool)]
        sizes[negative] *= -1
        if self.take(-self.at % 8).any():
            raise DataError("a message has bits behind a block's end: it is damaged")
        return sizes

    def _block(self, count: int) -> Whole:
        form = self.number(FORM_BITS)
        if form == NONE:
            return np.zeros(count, np.int64)
        if form == DENSE:
            return self._rice(count)
        if form != SPARSE or (found := self.number(COUNT_BITS)) > count // 2:
            raise DataError("a message has a block of no known form: it is damaged")
        places = np.cumsum(self._rice(found) + 1) - 1
        if found and places[-1] >= count:
            raise DataError(f"a message has a number at {places[-1]} of {count}: it is damaged")
        sizes = np.zeros(count, np.int64)
        sizes[places] = self._block(found) + 1
        return sizes

    def _rice(self, count: int) -> Whole:
        k = self.number(K_BITS)
        ends = np.flatnonzero(self.bits[self.at:])[:count]
        if len(ends) < count:
            raise _cut_off()
        if not count:
            return np.zeros(0, np.int64)
        self.at += int(ends[-1]) + 1
        high = np.diff(ends, prepend=-1) - 1
        if int(high.max()) >> (32 - k):
            raise DataError("a message has a number beyond 32 bits: it is damaged")
        low = self.take(count * k).reshape(count, k).astype(np.int64)
        return (high << k) + low @ _powers(k)


def _powers(count: int) -> Whole:
    return 1 << np.arange(count - 1, -1, -1, dtype=np.int64)


def _number(value: int, count: int) -> Bits:
    return ((value >> np.arange(count - 1, -1, -1)) & 1).astype(np.uint8)


def _cut_off() -> DataError:
    return DataError("a message ends too early: it was cut off on its way; send it again")
