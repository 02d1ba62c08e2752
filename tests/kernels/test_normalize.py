"""Layer and batch normalisation equal their reference, statistics included."""

from typing import Any

import numpy as np
import pytest
from tests.support.kernel_laws import COMPILERS, HAS_GCC, assert_law, assert_sanitized, cases_of

from ganglion.kernels.normalize import BATCH_NORM, LAYER_NORM, BatchNormSpec, LayerNormSpec

LAYERS = [LayerNormSpec(rows, n, 1e-5, beta, statistics) for rows, n, beta, statistics in (
    (3, 1, True, False), (2, 16, False, True), (4, 37, True, True), (1, 100, True, False))]
BATCHES = [BatchNormSpec(rows, c, 1e-3, 0.99, training) for rows, c, training in (
    (7, 3, True), (200, 16, True), (65, 40, True), (5, 21, False))]


def draw(spec: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.rows)
    n = spec.n if isinstance(spec, LayerNormSpec) else spec.c
    arrays = {"x": rng.normal(3, 2, spec.rows * n), "gamma": rng.normal(1, 0.3, n),
              "beta": rng.normal(size=n), "mean": rng.normal(size=n), "var": rng.uniform(1, 2, n)}
    return {name: value.astype(np.float32) for name, value in arrays.items()}


CASES = cases_of(LAYER_NORM, LAYERS, draw) + cases_of(BATCH_NORM, BATCHES, draw)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_normalisation_equals_its_reference(compiler: tuple[str, ...]) -> None:
    assert_law(CASES, compiler, rtol=1e-5, atol=5e-6)


@pytest.mark.gcc
@HAS_GCC
def test_normalisation_touches_nothing_outside_its_operands() -> None:
    assert_sanitized(CASES)


def test_a_far_mean_does_not_swallow_the_variance() -> None:
    spec = LayerNormSpec(1, 64, 1e-6, statistics=True)
    arrays = {"x": (1000 + np.arange(64) * 0.01).astype(np.float32),
              "gamma": np.ones(64, np.float32), "beta": np.zeros(64, np.float32)}
    assert_law(cases_of(LAYER_NORM, [spec], lambda spec: arrays), COMPILERS[0].values[0],
               rtol=5e-3, atol=1e-3)
