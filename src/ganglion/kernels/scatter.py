"""Elements put, or combined with what is there, at places that indices give."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ganglion.kernels.base import Family, OfElements, Operand, Variant
from ganglion.kernels.isa import SCALAR
from ganglion.kernels.move import index_in

COMBINED = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
"""What becomes of an element and its update; an update alone where it is None."""


@dataclass(frozen=True)
class ScatterSpec(OfElements):
    """y = x, then for every step t of `loops`, in row-major order, and every n below `inner`:

    y[Σ loop·stride + Σ_k index[t, k]·stride_k + n] = mode(that, u[t, n])

    `loops`: (count, stride in x) each; `axes`: (size, stride in x) of each axis that an index
    picks from; strides in elements. x, y: [size]; index: [steps, axes]; u: [steps, inner].
    Integers wrap modulo 2^n; NaN is the extreme where there is one. Indices as in GatherSpec.
    Operands: x, index, u, y (y may share x's bytes).
    """

    mode: str
    dtype: str
    index_dtype: str
    loops: tuple[tuple[int, int], ...]
    axes: tuple[tuple[int, int], ...]
    inner: int
    size: int

    @property
    def steps(self) -> int:
        """How often indices are read."""
        return prod(count for count, _ in self.loops)


def _operands(spec: ScatterSpec) -> list[Operand]:
    return [Operand("x", spec.dtype, spec.size),
            Operand("index", spec.index_dtype, spec.steps * len(spec.axes)),
            Operand("u", spec.dtype, spec.steps * spec.inner),
            Operand("y", spec.dtype, spec.size, "output", alias=("x",))]


def _reference(spec: ScatterSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    y = arrays["x"].reshape(-1).copy()
    at = np.zeros([count for count, _ in spec.loops], np.int64)
    for axis, (count, stride) in enumerate(spec.loops):
        at += (np.arange(count) * stride).reshape([-1 if k == axis else 1
                                                   for k in range(len(spec.loops))])
    at = at.reshape(-1)
    index = arrays["index"].reshape(-1, len(spec.axes))
    for k, (size, stride) in enumerate(spec.axes):
        at = at + index_in(index[:, k], size) * stride
    places = (at[:, None] + np.arange(spec.inner)).reshape(-1)
    combine, updates = COMBINED[spec.mode], arrays["u"].reshape(-1)
    if combine is None:
        y[places] = updates
    else:
        combine.at(y, places, updates)
    return {"y": y}


SCATTER: Family[ScatterSpec] = Family(
    "scatter", _operands, _reference,
    variants=(Variant("scatter_any__scalar", SCALAR, "scatter.c.j2"),))
FAMILIES = (SCATTER,)
