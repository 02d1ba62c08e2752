"""Reductions along one run of axes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Cut, Family, OfElements, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.split import rows_part

SUMS = ("sum", "mean", "sumsq", "l2")
EXTREMES = ("max", "min")
ARGS = ("argmax", "argmin", "argmax_last", "argmin_last")


@dataclass(frozen=True)
class ReduceSpec(OfElements):
    """x: [outer, axis, inner] → y: [outer, inner]; axis is at least 1.

    `mode`: "sum", "mean", "max", "min", "prod", "sumsq", "l2" (sqrt Σx²), "argmax", "argmin"
    (first index wins, y is int64), "argmax_last", "argmin_last". NaN is the extreme where there is
    one. float32 takes every mode, integers all but "l2": modulo 2^bits, the mean being the sum
    divided towards zero; bool takes the extremes. Operands: x, y.
    Float sums add runs of `RUN` elements, then the runs, so that rounding grows slowly.
    """

    mode: str
    dtype: str
    outer: int
    axis: int
    inner: int

    @property
    def quotient(self) -> str:
        """C type in which a sum of integers is divided."""
        return "uint64_t" if self.dtype.startswith("u") else "int64_t"

    @property
    def places(self) -> bool:
        """Whether the result is the place of an extreme."""
        return self.mode in ARGS

    @property
    def last(self) -> bool:
        """Whether the last of equal extremes wins."""
        return self.mode.endswith("_last")


RUN = 64
"""Elements of x (per lane) added in one go before they join the total."""


def operands(spec: ReduceSpec) -> list[Operand]:
    """The arrays of a reduction, in parameter order."""
    out = "int64" if spec.places else spec.dtype
    return [Operand("x", spec.dtype, spec.outer * spec.axis * spec.inner),
            Operand("y", out, spec.outer * spec.inner, "output")]


def reference(spec: ReduceSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float modes in float64; integers modulo their width."""
    x = arrays["x"].reshape(spec.outer, spec.axis, spec.inner)
    if spec.places:
        place = getattr(np, spec.mode[:6])
        found = place(x[:, ::-1], axis=1) if spec.last else place(x, axis=1)
        return {"y": np.asarray(spec.axis - 1 - found if spec.last else found, np.int64)}
    if spec.dtype == "float32":
        x = x.astype(np.float64)
    same = x.dtype
    if spec.mode == "sumsq":
        y = (x * x).sum(axis=1, dtype=same)
    elif spec.mode == "l2":
        y = np.sqrt((x * x).sum(axis=1))
    elif spec.mode == "mean" and same.kind in "iu":
        total = x.sum(axis=1, dtype=same).astype(np.uint64 if same.kind == "u" else np.int64)
        count = total.dtype.type(spec.axis)
        y = (total - np.fmod(total, count)) // count
    elif spec.mode in ("sum", "prod"):
        y = getattr(x, spec.mode)(axis=1, dtype=same)
    else:
        y = getattr(x, spec.mode)(axis=1)
    return {"y": y.astype(spec.dtype)}


def _is_plain(spec: ReduceSpec) -> bool:
    if spec.dtype == "float32":
        return spec.mode in ("prod", *ARGS)
    integers = not spec.floats and spec.dtype != "bool"
    return spec.mode in (*EXTREMES, *ARGS) or (integers and spec.mode != "l2")


def _float(isa: Isa) -> Variant[ReduceSpec]:
    lanes = isa.lanes

    def accepts(spec: ReduceSpec) -> bool:
        if spec.dtype != "float32" or spec.mode not in (*SUMS, *EXTREMES):
            return False
        return spec.mode in SUMS or spec.inner > 1 or spec.axis >= lanes

    def cost(spec: ReduceSpec) -> float:
        if spec.inner == 1 and lanes > 1:
            return spec.outer * (spec.axis / lanes + 20)
        return spec.outer * (-(-spec.inner // lanes) * spec.axis + 10.0)

    return Variant(f"reduce_f32__{isa.name}", isa, "reduce_f32.c.j2", accepts=accepts, cost=cost,
                   tile={"vectors": 4, "run": RUN})


def _reduce_row(spec: ReduceSpec) -> dict[str, int]:
    return {"x": spec.axis * spec.inner, "y": spec.inner}


REDUCE: Family[ReduceSpec] = Family(
    "reduce", operands, reference,
    variants=(_float(SCALAR),
              Variant("reduce_any__scalar", SCALAR, "reduce_any.c.j2", accepts=_is_plain,
                      cost=lambda spec: 2.0 * spec.outer * spec.axis * spec.inner),
              *(_float(isa) for isa in (AVX2, AVX512, NEON, SIMD128))),
    macs=lambda spec: spec.outer * spec.axis * spec.inner,
    cut=Cut(lambda spec: spec.outer, rows_part("outer", _reduce_row)))
FAMILIES = (REDUCE,)
