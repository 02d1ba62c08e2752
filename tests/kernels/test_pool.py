"""Pools: every variant; padding never counts for a maximum, and for an average only on request."""

from dataclasses import replace

import pytest
from tests.support.kernel_law import WAYS, assert_law

from ganglion.kernels.pool import POOL, PoolSpec

SHAPES = [
    PoolSpec("max", "float32", 1, 4, 4, 1, (2, 2), (2, 2), (2, 2)),
    PoolSpec("max", "float32", 2, 5, 7, 17, (3, 3), (5, 7), pads=(1, 1)),
    PoolSpec("max", "float32", 1, 6, 6, 33, (3, 2), (3, 3), (2, 2), pads=(1, 0)),
    PoolSpec("max", "float32", 1, 7, 7, 8, (2, 2), (5, 5), dilations=(2, 2)),
    PoolSpec("max", "float32", 1, 5, 5, 64, (5, 5), (1, 1)),
    PoolSpec("max", "float32", 1, 5, 5, 3, (2, 2), (3, 3), (2, 2)),
    PoolSpec("max", "float32", 2, 6, 9, 70, (3, 5), (2, 2), (2, 3), dilations=(2, 1)),
    PoolSpec("max", "float32", 1, 1, 30, 40, (1, 3), (1, 14), (1, 2)),
]
AVERAGE = [replace(s, mode="average", count_include_pad=flag) for s in SHAPES
           for flag in (False, True)]


def coded(spec: PoolSpec, dtype: str) -> PoolSpec:
    """The same pool of 8-bit codes, with a rescaling average."""
    zero = 7 if dtype == "int8" else 131
    return replace(spec, dtype=dtype, x_zero_point=zero - 11, zero_point=zero, multiplier=1.37)


@pytest.mark.parametrize("way", WAYS)
def test_every_variant_takes_maxima(way: str) -> None:
    assert_law(POOL, SHAPES, way)


@pytest.mark.parametrize("way", WAYS)
def test_every_variant_takes_averages(way: str) -> None:
    assert_law(POOL, AVERAGE, way, lambda spec: 1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_8_bit_pools_are_exact_on_every_instruction_set(way: str) -> None:
    dtypes = ("int8", "uint8")
    assert_law(POOL, [coded(s, dtypes[i % 2]) for i, s in enumerate(SHAPES + AVERAGE)], way)
