"""How depthwise kernels of 8-bit codes walk an image: 64 bytes at a time, four taps interleaved.

A vector of bytes is a run of channels of one output pixel or, where channels are few, of several
neighbouring pixels. Bytes outside the image are the zero point, put in while loading.
"""

from dataclasses import dataclass

from ganglion.kernels import tiling
from ganglion.kernels.borders import Window

BYTES = 64
Tap = tuple[int, int]
"""(row, column) of a window."""
Source = tuple[tuple[int, int, tuple[int, ...]], ...]
"""What up to four interleaved taps read: (row, column from the first pixel's own, masks)."""


@dataclass(frozen=True)
class Vector:
    """Output pixels of one vector. `stored`: bytes.

    `masks`: of each window column, which bytes lie inside the image: one mask, or two where every
    other pixel is picked out of 128 bytes.
    """

    masks: tuple[tuple[int, ...], ...]
    stored: int


@dataclass(frozen=True)
class Block:
    """Output pixels [first, behind) of a row, `step` at a time as vectors of bytes."""

    first: int
    behind: int
    step: int
    vectors: tuple[Vector, ...]


def rows(window: Window) -> int:
    """Output rows that share what is interleaved: four rows of an image hold two windows of three,
    one below the other."""
    alike = window.kernel[0] == 3 and window.strides[0] == window.dilations[0] == 1
    return 2 if alike and window.out_hw[0] > 1 else 1


def taps(window: Window) -> list[tuple[Tap, ...]]:
    """The groups of at most four taps; whole columns of a window, which neighbours share."""
    kh, kw = window.kernel
    high = kh + rows(window) - 1
    if high in (3, 4):
        return [tuple((i, k) for i in range(high)) for k in range(kw)]
    every = [(i, k) for i in range(kh) for k in range(kw)]
    return [tuple(every[i:i + 4]) for i in range(0, len(every), 4)]


def pixels(window: Window) -> int:
    """Output pixels of one vector."""
    many = max(1, BYTES // window.c)
    if window.strides[1] == 1 or many == 1:
        return many
    return many if window.strides[1] == 2 and window.c % 8 == 0 else 1


def picked(window: Window) -> bool:
    """Whether a vector takes every other pixel of two."""
    return window.strides[1] == 2 and pixels(window) > 1


def pick(window: Window) -> list[int]:
    """Which eight-byte pieces of 128 bytes those pixels are."""
    each = window.c // 8
    found = [2 * each * (i // each) + i % each for i in range(pixels(window) * each)]
    return found + [0] * (8 - len(found))


def _inside(window: Window, start: int, wanted: int) -> int:
    """Mask of the bytes [start, start + wanted) of a row that are in the image."""
    size = window.w * window.c
    return sum(1 << i for i in range(min(wanted, BYTES)) if 0 <= start + i < size)


def beyond(window: Window) -> int:
    """How many bytes behind a run of channels are loaded with it: loads of whole vectors are
    cheaper than masked ones. What is loaded too much is never stored."""
    return BYTES - window.c % BYTES if pixels(window) == 1 and window.c % BYTES else 0


def _masks(window: Window, q: int, count: int) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    for k in range(window.kernel[1]):
        column = q * window.strides[1] + k * window.dilations[1] - window.pads[1]
        start = column * window.c
        if picked(window):
            found.append((_inside(window, start, BYTES), _inside(window, start + BYTES, BYTES)))
        elif pixels(window) > 1:
            found.append((_inside(window, start, count * window.c),))
        else:
            found.append(((1 << BYTES) - 1 if 0 <= column < window.w else 0,))
    return tuple(found)


def blocks(window: Window, lanes: int, vectors: int) -> list[Block]:
    """The blocks of an output row, of at most `vectors` vectors; neighbours that read alike are one
    loop. `lanes`: channels of a vector that holds one pixel."""
    many = pixels(window)
    row = [(q, count) for start, stop, count in tiling.splits(window.out_hw[1], many)
           for q in range(start, stop, count)]
    found: list[Block] = []
    for start in range(0, len(row), vectors):
        part = row[start:start + vectors]
        each = tuple(Vector(_masks(window, q, count),
                            count * window.c if many > 1 else lanes) for q, count in part)
        first, step = part[0][0], sum(count for _, count in part)
        if found and (found[-1].step, found[-1].vectors) == (step, each):
            first = found.pop().first
        found.append(Block(first, part[0][0] + step, step, each))
    return found


Users = list[tuple[int, int]]
"""(vector, group of taps)."""


def sources(window: Window, block: Block, silent: bool) -> list[tuple[Source, Users]]:
    """What a block interleaves, from left to right, and who uses it. `silent`: what lies outside
    the image counts nothing and is left out."""
    users: dict[Source, Users] = {}
    for group, members in enumerate(taps(window)):
        for at, vector in enumerate(block.vectors):
            first = at * pixels(window) * window.strides[1] - window.pads[1]
            source = tuple((i, first + k * window.dilations[1], vector.masks[k])
                           for i, k in members)
            if not silent or any(any(masks) for _, _, masks in source):
                users.setdefault(source, []).append((at, group))
    return sorted(users.items(), key=lambda item: item[0][0][1])


def life(found: list[tuple[Source, Users]], vector: int) -> tuple[int, int]:
    """The first and the last source that a vector uses; the first of all if it uses none."""
    used = [k for k, (_, users) in enumerate(found) if vector in {v for v, _ in users}]
    return (used[0], used[-1]) if used else (0, 0)
