"""The first few along an axis, in order of size."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ganglion.kernels.base import Cut, Family, OfElements, Operand, Variant
from ganglion.kernels.isa import SCALAR
from ganglion.kernels.split import rows_part


@dataclass(frozen=True)
class TopKSpec(OfElements):
    """The first k of `axis` elements by size, and where they were; 1 <= k <= axis.

    `largest`: from the largest down, else from the smallest up. NaN is larger than any number; of
    equals the first comes first. Operands: x [outer, axis, inner], y and the int64 `place`
    [outer, k, inner].
    """

    dtype: str
    outer: int
    axis: int
    inner: int
    k: int
    largest: bool = True


def operands(spec: TopKSpec) -> list[Operand]:
    """The arrays, in parameter order."""
    found = spec.outer * spec.k * spec.inner
    return [Operand("x", spec.dtype, spec.outer * spec.axis * spec.inner),
            Operand("y", spec.dtype, found, "output"), Operand("place", "int64", found, "output")]


def reference(spec: TopKSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By a stable sort; from the largest down it goes over the elements from behind."""
    x = arrays["x"].reshape(spec.outer, spec.axis, spec.inner)
    turned = x[:, ::-1] if spec.largest else x
    place = np.argsort(turned, axis=1, kind="stable")
    place = spec.axis - 1 - place[:, ::-1] if spec.largest else place
    place = place[:, :spec.k]
    return {"y": np.take_along_axis(x, place, 1), "place": place.astype(np.int64)}


def _row(spec: TopKSpec) -> dict[str, int]:
    found = spec.k * spec.inner
    return {"x": spec.axis * spec.inner, "y": found, "place": found}


def _cost(spec: TopKSpec) -> float:
    return prod((spec.outer, spec.inner, spec.axis)) * (3.0 + 0.5 * spec.k)


TOP_K: Family[TopKSpec] = Family(
    "top_k", operands, reference,
    variants=(Variant("top_k__scalar", SCALAR, "top_k.c.j2", cost=_cost),),
    cut=Cut(lambda spec: spec.outer, rows_part("outer", _row)))
FAMILIES = (TOP_K,)
