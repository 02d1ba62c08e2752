"""How depthwise kernels of 8-bit codes walk an image: 64 bytes at a time, four taps interleaved.

A vector of bytes is a run of channels of one output pixel or, where channels are few, of several
neighbouring pixels. Bytes outside the image are the zero point, put in while loading.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.kernels import tiling
from ganglion.kernels.borders import Window

BYTES = 64
Tap = tuple[int, int]
"""(row, column) of a window."""
Source = tuple[tuple[int, int, tuple[int, ...]], ...]
"""What up to four interleaved taps read: (row, column from the first pixel's own, masks)."""


@dataclass(frozen=True)
class Block:
    """Output pixels [first, behind) of a row, `step` at a time as vectors of `pixels` each.

    `masks`: of each window column, which bytes lie inside the image: one mask, or two where every
    other pixel is picked out of 128 bytes.
    """

    first: int
    behind: int
    step: int
    vectors: int
    masks: tuple[tuple[int, ...], ...]
    stored: int


def taps(window: Window) -> list[tuple[Tap, ...]]:
    """The groups of at most four taps; whole columns of a window, which neighbours share."""
    kh, kw = window.kernel
    if kh in (3, 4):
        return [tuple((i, k) for i in range(kh)) for k in range(kw)]
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


def _masks(window: Window, q: int, count: int, lanes: int) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    for k in range(window.kernel[1]):
        column = q * window.strides[1] + k * window.dilations[1] - window.pads[1]
        start = column * window.c
        if picked(window):
            found.append((_inside(window, start, BYTES), _inside(window, start + BYTES, BYTES)))
        elif pixels(window) > 1:
            found.append((_inside(window, start, count * window.c),))
        else:
            found.append(((1 << lanes) - 1 if 0 <= column < window.w else 0,))
    return tuple(found)


def blocks(window: Window, lanes: int, vectors: int) -> Iterator[Block]:
    """The blocks of an output row; `lanes`: channels of a vector that holds one pixel."""
    width, many = window.out_hw[1], pixels(window)
    runs: list[tuple[int, int, int, tuple[tuple[int, ...], ...]]] = []
    for start, stop, count in tiling.splits(width, many):
        for q in range(start, stop, count):
            masks = _masks(window, q, count, lanes)
            if runs and runs[-1][2:] == (count, masks):
                runs[-1] = (runs[-1][0], q + count, count, masks)
            else:
                runs.append((q, q + count, count, masks))
    for first, behind, count, masks in runs:
        for start, stop, step in tiling.splits((behind - first) // count, vectors):
            yield Block(first + start * count, first + stop * count, step * count, step, masks,
                        count * window.c if many > 1 else lanes)


def sources(window: Window, block: Block) -> list[tuple[Source, list[tuple[int, int]]]]:
    """What a block interleaves: its source, and the (vector, group of taps) that use it."""
    users: dict[Source, list[tuple[int, int]]] = {}
    for group, members in enumerate(taps(window)):
        for vector in range(block.vectors):
            first = vector * pixels(window) * window.strides[1] - window.pads[1]
            source = tuple((i, first + k * window.dilations[1], block.masks[k]) for i, k in members)
            users.setdefault(source, []).append((vector, group))
    return sorted(users.items(), key=lambda item: item[0][0][1])
