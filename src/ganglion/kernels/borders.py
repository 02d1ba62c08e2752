"""How a sliding window meets an image's borders without a padded copy of the image.

Rows outside the image are read from a row of fill values; columns outside are known when building:
along a row, output pixels come in segments of which each sees the same columns of its window.
"""

from dataclasses import dataclass
from typing import Protocol


class Window(Protocol):
    """What a walk must know; `Conv2dSpec` is one."""

    @property
    def h(self) -> int: ...
    @property
    def w(self) -> int: ...
    @property
    def c(self) -> int: ...
    @property
    def kernel(self) -> tuple[int, int]: ...
    @property
    def strides(self) -> tuple[int, int]: ...
    @property
    def dilations(self) -> tuple[int, int]: ...
    @property
    def pads(self) -> tuple[int, int, int, int]: ...
    @property
    def out_hw(self) -> tuple[int, int]: ...


MOST_TAPS = 300
"""Taps written out at the borders of one row of pixels; an image with more is copied."""

Segment = tuple[int, int, tuple[int, ...]]
"""(first pixel, behind the last, the window's columns that lie inside the image)."""


@dataclass(frozen=True)
class Walk:
    """`row`, `image`: elements; `outside`: some row of a window lies outside the image.

    `copied`: the image is padded in scratch, so that nothing lies outside.
    """

    row: int
    image: int
    copied: bool
    outside: bool
    segments: tuple[Segment, ...]

    @property
    def scratch(self) -> int:
        """Elements of working memory: the copy, or the row of fill values."""
        return self.image if self.copied else self.row if self.outside else 0

    @property
    def used(self) -> frozenset[int]:
        """The window's columns that any pixel sees inside the image."""
        return frozenset(k for segment in self.segments for k in segment[2])


def segments(window: Window) -> tuple[Segment, ...]:
    """Neighbouring pixels of an output row that see the same columns."""
    found: list[Segment] = []
    for q in range(window.out_hw[1]):
        first = q * window.strides[1] - window.pads[1]
        seen = tuple(k for k in range(window.kernel[1])
                     if 0 <= first + k * window.dilations[1] < window.w)
        if found and found[-1][2] == seen:
            found[-1] = (found[-1][0], q + 1, seen)
        else:
            found.append((q, q + 1, seen))
    return tuple(found)


def outside(window: Window) -> bool:
    """Whether some row of some window lies outside the image."""
    last = (window.out_hw[0] - 1) * window.strides[0] - window.pads[0]
    return window.pads[0] > 0 or last + (window.kernel[0] - 1) * window.dilations[0] >= window.h


def walk(window: Window, copied: bool = False) -> Walk:
    """The walk that needs least; `copied` asks for the padded copy."""
    top, left, bottom, right = window.pads
    kh, kw = window.kernel
    parts = segments(window)
    if copied or kh * sum(len(s[2]) for s in parts if len(s[2]) < kw) > MOST_TAPS:
        row = (window.w + left + right) * window.c
        whole = ((0, window.out_hw[1], tuple(range(kw))),)
        return Walk(row, (window.h + top + bottom) * row, True, False, whole)
    row = window.w * window.c
    return Walk(row, window.h * row, False, outside(window), parts)


def columns(window: Window, walked: Walk, pixels: int, taps: tuple[int, ...]
            ) -> list[tuple[int, list[tuple[int, int]]]]:
    """What neighbouring pixels read of a row: (column, [(pixel, column of its window), ...]).

    Columns count from the first pixel's window in a padded image, else from the image itself.
    """
    left = 0 if walked.copied else window.pads[1]
    users: dict[int, list[tuple[int, int]]] = {}
    for pixel in range(pixels):
        for k in taps:
            at = pixel * window.strides[1] + k * window.dilations[1] - left
            users.setdefault(at, []).append((pixel, k))
    return sorted(users.items())
