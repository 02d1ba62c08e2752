"""Reductions along one run of axes; float32 (sums of int32 and int64 too)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import CTYPES, Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa

SUMS = ("sum", "mean", "sumsq", "l2")
EXTREMES = ("max", "min")
ARGS = ("argmax", "argmin")


@dataclass(frozen=True)
class ReduceSpec:
    """x: [outer, axis, inner] → y: [outer, inner]; axis is at least 1.

    `mode`: "sum", "mean", "max", "min", "prod", "sumsq", "l2" (sqrt Σx²), "argmax", "argmin"
    (first index wins, y is int64). float32 takes every mode; int32 and int64 "sum", "prod" and
    "sumsq" (modulo 2^bits); every dtype "max", "min", "argmax", "argmin". Operands: x, y.
    Float sums add runs of `RUN` elements, then the runs, so that rounding grows slowly.
    """

    mode: str
    dtype: str
    outer: int
    axis: int
    inner: int

    @property
    def wide(self) -> str:
        """C type in which a product or sum of the dtype is defined for every value."""
        return {"int32": "uint32_t", "int64": "uint64_t"}.get(self.dtype, CTYPES[self.dtype])

    @property
    def element(self) -> str:
        """C type of one element of x."""
        return CTYPES[self.dtype]


RUN = 64
"""Elements of x (per lane) added in one go before they join the total."""


def operands(spec: ReduceSpec) -> list[Operand]:
    """The arrays of a reduction, in parameter order."""
    out = "int64" if spec.mode in ARGS else spec.dtype
    return [Operand("x", spec.dtype, spec.outer * spec.axis * spec.inner),
            Operand("y", out, spec.outer * spec.inner, "output")]


def reference(spec: ReduceSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float modes in float64; integers modulo their width."""
    x = arrays["x"].reshape(spec.outer, spec.axis, spec.inner)
    if spec.mode in ARGS:
        return {"y": getattr(x, spec.mode)(axis=1).astype(np.int64)}
    if spec.dtype == "float32":
        x = x.astype(np.float64)
    same = x.dtype
    if spec.mode == "sumsq":
        y = (x * x).sum(axis=1, dtype=same)
    elif spec.mode == "l2":
        y = np.sqrt((x * x).sum(axis=1))
    elif spec.mode in ("sum", "prod"):
        y = getattr(x, spec.mode)(axis=1, dtype=same)
    else:
        y = getattr(x, spec.mode)(axis=1)
    return {"y": y.astype(spec.dtype)}


def _is_plain(spec: ReduceSpec) -> bool:
    if spec.dtype == "float32":
        return spec.mode in ("prod", *ARGS)
    allowed = spec.dtype in ("int32", "int64") and spec.mode in ("sum", "prod", "sumsq")
    return allowed or spec.mode in (*EXTREMES, *ARGS)


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


REDUCE: Family[ReduceSpec] = Family(
    "reduce", operands, reference,
    variants=(_float(SCALAR),
              Variant("reduce_any__scalar", SCALAR, "reduce_any.c.j2", accepts=_is_plain,
                      cost=lambda spec: 2.0 * spec.outer * spec.axis * spec.inner),
              *(_float(isa) for isa in (AVX2, AVX512, NEON, SIMD128))),
    macs=lambda spec: spec.outer * spec.axis * spec.inner)
FAMILIES = (REDUCE,)
