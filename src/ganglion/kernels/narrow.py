"""Dot products of four bytes on sets of eight lanes or four.

They read what those of sixteen lanes read, unsigned bytes and panels of groups, but their sums
become codes one vector after another, as everywhere else.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from ganglion.kernels.base import Variant
from ganglion.kernels.isa import DOTPROD, Isa


class _Requant(Protocol):
    @property
    def x_zero_point(self) -> int: ...
    @property
    def fused(self) -> bool: ...


class _Spec(Protocol):
    @property
    def requant(self) -> _Requant | None: ...


S = TypeVar("S", bound=_Spec)

GROUP = 4
Make = Callable[[Isa, int, int, int], Variant[S]]
"""Of (set, rows, vectors, group) a variant; `vectors` must not be a multiple of 4, the width at
which packing for sixteen lanes deals columns out."""


def narrow(make: Make[S], isa: Isa, rows: int, vectors: int) -> Variant[S]:
    """A variant for a set of fewer than sixteen lanes."""
    made = make(isa, rows, vectors, GROUP)
    pack = made.pack
    if pack is None:
        raise ValueError(f"{made.name} does not pack its weights")

    def plain(spec: S, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rescaling is one step at sixteen lanes alone; SDOT takes codes less 128, as if the zero
        point were as much less."""
        if spec.requant is not None:
            zero = spec.requant.x_zero_point - (128 if isa is DOTPROD else 0)
            requant = replace(spec.requant, x_zero_point=zero, fused=False)  # type: ignore[type-var]
            spec = replace(spec, requant=requant)  # type: ignore[type-var]
        return pack(spec, consts)

    return replace(made, pack=plain)
