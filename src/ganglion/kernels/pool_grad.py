"""Gradients of max and average pooling over [N, H, W, C], float32."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.pool import PoolSpec


@dataclass(frozen=True)
class PoolGradSpec:
    """dx of a float32 pool. Max: dy goes to the first maximum in row order (operands x, dy, dx);
    average: dy / count to every pixel inside x (operands dy, dx), the count as in PoolSpec."""

    pool: PoolSpec

    @property
    def inside(self) -> bool:
        """Whether every window lies within x."""
        pool = self.pool
        return pool.pads == (0, 0) and all(
            (out - 1) * stride + (kernel - 1) * dilation < size
            for out, stride, kernel, dilation, size in zip(
                pool.out_hw, pool.strides, pool.kernel, pool.dilations, (pool.h, pool.w)))

    @property
    def apart(self) -> bool:
        """Whether no pixel of x lies in two windows, so that nothing needs adding up."""
        pool = self.pool
        return all((kernel - 1) * dilation < stride for stride, kernel, dilation in zip(
            pool.strides, pool.kernel, pool.dilations))


def operands(spec: PoolGradSpec) -> list[Operand]:
    """The arrays of a pool's gradient, in parameter order."""
    pool = spec.pool
    image = pool.n * pool.h * pool.w * pool.c
    slope = Operand("dy", "float32", pool.n * pool.out_hw[0] * pool.out_hw[1] * pool.c)
    seen = [Operand("x", "float32", image)] if pool.mode == "max" else []
    return [*seen, slope, Operand("dx", "float32", image, "output")]


def _windows(pool: PoolSpec) -> tuple[np.ndarray, np.ndarray]:
    """Flat pixel of each window place, [P·Q, kh·kw], and whether it lies inside x."""
    rows, columns = (
        np.arange(out)[:, None] * stride - pad + np.arange(kernel) * dilation
        for out, stride, pad, kernel, dilation in zip(
            pool.out_hw, pool.strides, pool.pads, pool.kernel, pool.dilations))
    row, column = rows[:, None, :, None], columns[None, :, None, :]
    inside = (row >= 0) & (row < pool.h) & (column >= 0) & (column < pool.w)
    places = np.where(inside, row * pool.w + column, 0)
    windows = pool.out_hw[0] * pool.out_hw[1]
    return places.reshape(windows, -1), inside.reshape(windows, -1)


def reference(spec: PoolGradSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Window by window, in float64."""
    pool = spec.pool
    places, inside = _windows(pool)
    dy = arrays["dy"].reshape(pool.n, -1, pool.c).astype(np.float64)
    dx = np.zeros((pool.n, pool.h * pool.w, pool.c))
    if pool.mode == "max":
        x = arrays["x"].reshape(pool.n, -1, pool.c)
        seen = np.where(inside[None, :, :, None], x[:, places], -np.inf)
        first = np.argmax(seen, axis=2)[:, :, None, :]
        share = np.where(np.arange(places.shape[1])[:, None] == first, dy[:, :, None], 0.0)
    else:
        size = pool.kernel[0] * pool.kernel[1]
        count = size if pool.count_include_pad else np.maximum(inside.sum(axis=1), 1)[:, None]
        share = np.broadcast_to((dy / count)[:, :, None], (*dy.shape[:2], size, pool.c))
    share = np.where(inside[None, :, :, None], share, 0.0)
    for window in range(places.shape[0]):
        for k in range(places.shape[1]):
            dx[:, places[window, k]] += share[:, window, k]
    return {"dx": dx.astype(np.float32)}


def _touched(spec: PoolGradSpec) -> int:
    pool = spec.pool
    return pool.n * pool.out_hw[0] * pool.out_hw[1] * pool.kernel[0] * pool.kernel[1] * pool.c


def _variant(isa: Isa) -> Variant[PoolGradSpec]:
    def cost(spec: PoolGradSpec) -> float:
        c = spec.pool.c
        return _touched(spec) / c * -(-c // isa.lanes) * (4.0 if spec.pool.mode == "max" else 2.0)

    return Variant(f"pool_grad_f32__{isa.name}", isa, "pool_grad.c.j2", cost=cost)


POOL_GRAD: Family[PoolGradSpec] = Family(
    "pool_grad", operands, reference,
    variants=tuple(_variant(isa) for isa in (SCALAR, AVX2, AVX512, NEON, SIMD128)),
    macs=_touched)
FAMILIES = (POOL_GRAD,)
