"""The Plan: everything that emitting needs, and nothing that it would have to decide."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Port:
    """One input or output of the generated function, as the caller sees it.

    Row-major [shape] of dtype; `scale` and `zero_point` where the element is quantised per tensor:
    real = (element - zero_point) * scale. `default`: what a caller without a wish gives.
    `limit`: for indices, the rows of what they index. `classes`: names of what the columns of an
    output stand for.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None
    default: float | None = None
    limit: int | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StateTensor:
    """A tensor that lives between calls: bytes [offset, offset + nbytes) of the state block.

    `order`: its axes as they lie in memory, outermost first. `weight`: whether it is a weight of
    the network, which a deployed build takes over; `statistic`: whether that is a running
    statistic, which batches move and not gradients.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    offset: int
    initial: bytes
    weight: bool = False
    statistic: bool = False


@dataclass(frozen=True)
class Constant:
    """Bytes known when building, already packed for the kernel that reads them."""

    name: str
    dtype: str
    data: bytes

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Ref:
    """Where an operand's bytes are. `place`: "input", "output" (index), "arena", "state" (byte
    offset), "const" (index in Plan.constants, byte offset in it)."""

    place: str
    index: int
    offset: int = 0


@dataclass(frozen=True)
class Piece:
    """A part of a step: the same variant on a smaller spec. Its scratch is its worker's."""

    spec: object
    operands: tuple[Ref, ...]


@dataclass(frozen=True)
class Step:
    """One kernel call. `node`: the Model's node(s) that it computes, for reports.

    `pieces`: the same work for several cores, in any order or at the same time; empty where the
    step is computed whole.
    """

    node: str
    family: str
    variant: str
    spec: object
    operands: tuple[Ref, ...]
    scratch: Ref | None = None
    macs: int = 0
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A further function of a network, called as its first one is, with an arena and the same
    state."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Step, ...]
    arena_bytes: int


@dataclass(frozen=True)
class Plan:
    """A network, decided to the last byte. `isas`: headers that the variants need.

    `arena_bytes`: enough for each of its functions, which are `run` and the `entries`;
    `worker_bytes`: scratch for each of the cores that compute pieces of `run`.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    state: tuple[StateTensor, ...]
    constants: tuple[Constant, ...]
    steps: tuple[Step, ...]
    arena_bytes: int
    state_bytes: int
    isas: tuple[str, ...]
    digest: str
    entries: tuple[Entry, ...] = ()
    worker_bytes: int = 0

    @property
    def const_bytes(self) -> int:
        """Bytes of weights and tables in the library's read-only part."""
        return sum(len(c.data) for c in self.constants)

    @property
    def divided(self) -> bool:
        """Whether some step has pieces for several cores."""
        return any(s.pieces for s in self.steps)

    @property
    def macs(self) -> int:
        """Multiply-adds of one call."""
        return sum(s.macs for s in self.steps)


ALIGNMENT = 64
"""Bytes to which the arena, the state block and every buffer in them are aligned."""


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to the alignment.

    >>> aligned(65)
    128
    """
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def as_constant(name: str, array: np.ndarray) -> Constant:
    """An array's bytes, row-major and little-endian."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return Constant(name, str(array.dtype), little.tobytes())
