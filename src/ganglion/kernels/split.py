"""How a kernel's work divides into parts that can be computed at the same time.

A part is a spec of the same family on a stretch of the operands: some rows of an image, some rows
or columns of a product. Work divides over independent results alone, never over the terms of a sum,
so the parts together give the bits of the whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ganglion.kernels.base import Family, Part, Variant

ELEMENTS = 64
"""Element-wise work without rows is cut at multiples of this many elements: whole vectors."""


def pixels_under(first: int, stop: int, size: int, stride: int, reach: int, before: int
                 ) -> tuple[int, int, int, int]:
    """Input pixels [start, end) under the output pixels [first, stop) along one axis, and how many
    pixels of padding lie in front of them and behind. `reach`: pixels under one window."""
    start = first * stride - before
    end = (stop - 1) * stride - before + reach
    return max(start, 0), min(end, size), max(-start, 0), max(end - size, 0)


def results(spec: Any, x: int, y: int, source: str = "x") -> dict[str, int]:
    """Where a part of a product starts in its input and its results."""
    extras = spec.epilogue.extra if spec.epilogue else 0
    return {source: x, "y": y} | {f"r{i + 1}": y for i in range(extras)}


def rows_part(name: str, row: Callable[[Any], Mapping[str, int]]
              ) -> Callable[[Any, int, int], Part]:
    """Parts of a spec whose field `name` counts rows; `row`: elements of a row, by operand."""
    def part(spec: Any, start: int, stop: int) -> Part:
        sizes = row(spec)
        return Part(replace(spec, **{name: stop - start}),
                    {operand: start * size for operand, size in sizes.items()})
    return part


def parts(family: Family[Any], spec: object, variant: Variant[Any], size: int
          ) -> tuple[Part, ...]:
    """Parts of `size` slices each, the last one what is left; none where the family, the spec or
    the variant can't be divided so."""
    if family.cut is None:
        return ()
    extent = family.cut.extent(spec)
    found = []
    for start in range(0, extent, size):
        part = family.cut.part(spec, start, min(start + size, extent))
        if part is None or not variant.accepts(part.spec):
            return ()
        found.append(part)
    return tuple(found) if len(found) > 1 else ()


def sizes(family: Family[Any], spec: object, variant: Variant[Any], most: int
          ) -> tuple[int, ...]:
    """The sizes of parts worth trying, so that there are 2 to `most` of them."""
    if family.cut is None:
        return ()
    extent = family.cut.extent(spec)
    found = {-(-extent // (count * unit)) * unit
             for count in range(2, most + 1) for unit in family.cut.units(spec, variant)}
    return tuple(sorted(size for size in found if 0 < size < extent))
