"""Matrix products of integers, modulo the width of their type."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Family, OfElements, Operand, Variant
from ganglion.kernels.isa import SCALAR


@dataclass(frozen=True)
class WholeMatMulSpec(OfElements):
    """y[b, m, n] = Σ_k A[b, m, k] · B[b, k, n] (+ bias[n]), modulo 2^bits of `dtype`, an integer.

    a is stored [batch, M, K], or [batch, K, M] when trans_a; b [batch, K, N], or [batch, N, K] when
    trans_b; strides of 0 in `a_batch`/`b_batch` (elements) repeat one matrix. k may be 0.
    Operands: a, b, [bias [N]], y.
    """

    dtype: str
    batch: int
    m: int
    n: int
    k: int
    trans_a: bool = False
    trans_b: bool = False
    a_batch: int = 0
    b_batch: int = 0
    bias: bool = False


def operands(spec: WholeMatMulSpec) -> list[Operand]:
    """The arrays of a product, in parameter order."""
    a, b = (spec.m * spec.k, spec.k * spec.n)
    found = [Operand("a", spec.dtype, a * (spec.batch if spec.a_batch else 1)),
             Operand("b", spec.dtype, b * (spec.batch if spec.b_batch else 1))]
    if spec.bias:
        found.append(Operand("bias", spec.dtype, spec.n))
    return [*found, Operand("y", spec.dtype, spec.batch * spec.m * spec.n, "output")]


def reference(spec: WholeMatMulSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """NumPy's own product of the dtype."""
    a = arrays["a"].reshape((-1, spec.k, spec.m) if spec.trans_a else (-1, spec.m, spec.k))
    b = arrays["b"].reshape((-1, spec.n, spec.k) if spec.trans_b else (-1, spec.k, spec.n))
    y = (a.swapaxes(1, 2) if spec.trans_a else a) @ (b.swapaxes(1, 2) if spec.trans_b else b)
    if spec.bias:
        y = y + arrays["bias"]
    return {"y": np.broadcast_to(y, (spec.batch, spec.m, spec.n)).reshape(-1)}


def macs(spec: WholeMatMulSpec) -> int:
    """Multiply-adds of a product."""
    return spec.batch * spec.m * spec.n * spec.k


WHOLE_MATMUL: Family[WholeMatMulSpec] = Family(
    "whole_matmul", operands, reference,
    (Variant("whole_matmul_any__scalar", SCALAR, "matmul_whole.c.j2",
             cost=lambda spec: 2.0 * macs(spec)),), macs)
FAMILIES = (WHOLE_MATMUL,)
