"""Gradients of pooling: the first maximum takes all, an average shares out."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share, tried

from ganglion.kernels.pool import PoolSpec
from ganglion.kernels.pool_grad import POOL_GRAD, PoolGradSpec

POOLS = [
    PoolSpec("max", "float32", 2, 4, 6, 3, (2, 2), (2, 3), (2, 2)),
    PoolSpec("max", "float32", 1, 5, 5, 17, (3, 3), (3, 3), (2, 2), pads=(1, 1)),
    PoolSpec("max", "float32", 2, 1, 9, 8, (1, 3), (1, 7)),
    PoolSpec("max", "float32", 1, 7, 7, 4, (2, 2), (4, 4), (2, 2)),  # ceil mode
    PoolSpec("average", "float32", 2, 4, 4, 33, (2, 2), (2, 2), (2, 2)),
    PoolSpec("average", "float32", 1, 5, 4, 5, (3, 3), (5, 4), pads=(1, 1)),
    PoolSpec("average", "float32", 1, 5, 4, 5, (3, 3), (5, 4), pads=(1, 1), count_include_pad=True),
    PoolSpec("average", "float32", 1, 6, 6, 2, (2, 2), (2, 2), (2, 2), dilations=(3, 3)),
    PoolSpec("average", "float32", 3, 7, 7, 16, (7, 7), (1, 1)),  # global
]
SPECS = [PoolGradSpec(pool) for pool in POOLS]


def draw(family: object, spec: PoolGradSpec, seed: int) -> dict[str, np.ndarray]:
    """Few different values, so that windows hold equal maxima."""
    rng = np.random.default_rng(spec.pool.c)
    *_, dy, dx = POOL_GRAD.operands(spec)
    arrays = {"dy": rng.normal(size=dy.size).astype(np.float32)}
    if spec.pool.mode == "max":
        arrays["x"] = rng.integers(-3, 3, dx.size).astype(np.float32)
    return arrays


@pytest.mark.parametrize("way", WAYS)
def test_pool_gradients_equal_their_reference(way: str) -> None:
    assert_law(POOL_GRAD, share(SPECS, way), way, lambda spec: 1e-6, draw)


def test_a_slope_is_neither_lost_nor_doubled() -> None:
    inside = [spec for spec in SPECS if not spec.pool.count_include_pad]
    for case, found in tried(POOL_GRAD, inside, "zig", draw):
        total = case.arrays["dy"].sum(dtype=np.float64)
        assert found["dx"].sum(dtype=np.float64) == pytest.approx(total, abs=1e-3), case.spec
