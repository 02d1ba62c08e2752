"""Softmax and log-softmax along one axis; float32 and int8."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Cut, Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.split import rows_part


@dataclass(frozen=True)
class SoftmaxSpec:
    """x, y: [outer, axis, inner]. The maximum is subtracted first.

    `dtype` "int8"/"uint8": e = table[max - x] (const operand, uint32[256], made when building:
    round(exp(-d · x_scale) · 2^23)); y = clamp(rint(float(e) / float(Σe) · (1 / y_scale)) +
    zero_point), Σ in uint64 in index order, so every target gives the same bits. There is no
    integer log-softmax.
    Operands: x, [table], y.
    """

    dtype: str
    outer: int
    axis: int
    inner: int
    log: bool = False
    x_scale: float = 1.0
    y_scale: float = 1.0
    zero_point: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest code of an integer dtype."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    @property
    def y_factor(self) -> float:
        """1 / y_scale in float32."""
        return float(np.float32(1) / np.float32(self.y_scale))


def table(spec: SoftmaxSpec) -> np.ndarray:
    """The const operand of an integer softmax: uint32[256]."""
    distance = np.arange(256, dtype=np.float64)
    return np.rint(np.exp(-distance * spec.x_scale) * 2.0**23).astype(np.uint32)


def operands(spec: SoftmaxSpec) -> list[Operand]:
    """The arrays of a softmax, in parameter order."""
    size = spec.outer * spec.axis * spec.inner
    found = [Operand("x", spec.dtype, size)]
    if spec.dtype != "float32":
        found.append(Operand("table", "uint32", 256, "const"))
    return [*found, Operand("y", spec.dtype, size, "output")]


def reference(spec: SoftmaxSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float in float64, rounded once; integers exactly as the spec says."""
    x = arrays["x"].reshape(spec.outer, spec.axis, spec.inner)
    top = x.max(axis=1, keepdims=True)
    if spec.dtype == "float32":
        shifted = x.astype(np.float64) - top
        total = np.exp(shifted).sum(axis=1, keepdims=True)
        y = shifted - np.log(total) if spec.log else np.exp(shifted) / total
        return {"y": y.astype(np.float32)}
    e = arrays["table"][top.astype(np.int32) - x]
    total = e.sum(axis=1, keepdims=True, dtype=np.uint64).astype(np.float32)
    share = e.astype(np.float32) / total * np.float32(spec.y_factor)
    codes = np.rint(share).astype(np.int32) + spec.zero_point
    return {"y": np.clip(codes, *spec.limits).astype(spec.dtype)}


def _float(isa: Isa) -> Variant[SoftmaxSpec]:
    lanes = isa.lanes

    def cost(spec: SoftmaxSpec) -> float:
        if spec.inner == 1:
            return spec.outer * (-(-spec.axis // lanes) * 20.0 + (30 if lanes > 1 else 5))
        return spec.outer * -(-spec.inner // lanes) * (spec.axis * 20.0 + 10)

    return Variant(f"softmax_f32__{isa.name}", isa, "softmax_f32.c.j2",
                   accepts=lambda spec: spec.dtype == "float32", cost=cost)


def _is_integer(spec: SoftmaxSpec) -> bool:
    return spec.dtype in ("int8", "uint8") and not spec.log


def _softmax_row(spec: SoftmaxSpec) -> dict[str, int]:
    return dict.fromkeys("xy", spec.axis * spec.inner)


SOFTMAX: Family[SoftmaxSpec] = Family(
    "softmax", operands, reference,
    variants=(_float(SCALAR),
              Variant("softmax_q8__scalar", SCALAR, "softmax_q8.c.j2", accepts=_is_integer),
              *(_float(isa) for isa in (AVX2, AVX512, NEON, SIMD128))),
    macs=lambda spec: spec.outer * spec.axis * spec.inner,
    cut=Cut(lambda spec: spec.outer, rows_part("outer", _softmax_row)))
FAMILIES = (SOFTMAX,)
