"""What passes between server and device: a task down, an answer up; bytes with a checksum.

task:    "GGT1" run [8] round [4] base [4] flags [1] | model | control | crc32 [4]
answer:  "GGA1" run [8] round [4] rows [4] steps [4] loss [4] held [4] | difference | crc32 [4]

`run`: the first bytes of the plan's digest. `base`: a checksum of the model that the difference is
taken from; `held`: of the one that the device worked from; so the two sides notice if they differ.
Blocks have their length [4] in front; numbers are little-endian.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError

RUN_BYTES = 8
_TASK = struct.Struct("<4s8sIIB")
_ANSWER = struct.Struct("<4s8sIIIfI")
_LENGTH = struct.Struct("<I")
_WHOLE, _CONTROL = 1, 2


@dataclass(frozen=True)
class Task:
    """One round's work. `model`: the coded difference from what the device has, or with `whole`
    the points themselves; `control`: the same of the control variates, where the method has
    some."""

    run: bytes
    number: int
    model: bytes
    base: int = 0
    whole: bool = False
    control: bytes | None = None

    def to_bytes(self) -> bytes:
        """The message."""
        flags = _WHOLE * self.whole + _CONTROL * (self.control is not None)
        head = _TASK.pack(b"GGT1", self.run, self.number, self.base, flags)
        return _sealed(head, self.model, *([] if self.control is None else [self.control]))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises DataError for what is no task, or damaged."""
        (magic, run, number, base, flags), blocks = _opened(data, _TASK, "task")
        if magic != b"GGT1" or flags > 3 or len(blocks) != 1 + bool(flags & _CONTROL):
            raise DataError("these bytes are no task of this version of the server's: update the "
                            "device or the server")
        return cls(run, number, blocks[0], base, bool(flags & _WHOLE),
                   blocks[1] if flags & _CONTROL else None)


@dataclass(frozen=True)
class Answer:
    """What a device made of a task: the coded `difference` of its weights, from so many `rows`
    and `steps`, and its mean `loss`."""

    run: bytes
    number: int
    rows: int
    steps: int
    loss: float
    held: int
    difference: bytes

    def to_bytes(self) -> bytes:
        """The message."""
        head = _ANSWER.pack(b"GGA1", self.run, self.number, self.rows, self.steps, self.loss,
                            self.held)
        return _sealed(head, self.difference)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises DataError for what is no answer, or damaged."""
        (magic, run, number, rows, steps, loss, held), blocks = _opened(data, _ANSWER, "answer")
        if magic != b"GGA1" or len(blocks) != 1:
            raise DataError("these bytes are no answer of this version of the device's: update the "
                            "device or the server")
        return cls(run, number, rows, steps, loss, held, blocks[0])


def checksum(points: NDArray[np.signedinteger]) -> int:
    """CRC-32 of a model's points."""
    return zlib.crc32(points.astype("<i8").tobytes())


def _sealed(head: bytes, *blocks: bytes) -> bytes:
    body = b"".join([head, *(part for b in blocks for part in (_LENGTH.pack(len(b)), b))])
    return body + _LENGTH.pack(zlib.crc32(body))


def _opened(data: bytes, head: struct.Struct, what: str) -> tuple[tuple[Any, ...], list[bytes]]:
    body, crc = data[:-_LENGTH.size], data[-_LENGTH.size:]
    if len(body) < head.size or _LENGTH.unpack(crc)[0] != zlib.crc32(body):
        raise DataError(f"a {what} of {len(data)} bytes is damaged: send it again")
    blocks, at = [], head.size
    while at < len(body):
        length = _LENGTH.unpack_from(body.ljust(at + _LENGTH.size, b"\0"), at)[0]
        at += _LENGTH.size
        if at + length > len(body):
            raise DataError(f"a {what} of {len(data)} bytes is damaged: send it again")
        blocks.append(body[at:at + length])
        at += length
    return head.unpack_from(body), blocks


def draws(seed: int, number: int, client: int, purpose: int) -> np.random.Generator:
    """A generator of its own for each purpose, round and client: a run repeats with the same
    bits, whatever the order in which devices answer."""
    return np.random.default_rng([seed, number, client, purpose])
