"""Layer and batch normalisation equal their reference, statistics included."""

from typing import Any

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law

from ganglion.kernels.normalize import BATCH_NORM, LAYER_NORM, BatchNormSpec, LayerNormSpec

LAYERS = [LayerNormSpec(rows, n, 1e-5, beta, statistics) for rows, n, beta, statistics in (
    (3, 1, True, False), (2, 16, False, True), (4, 37, True, True), (1, 100, True, False))]
BATCHES = [BatchNormSpec(rows, c, 1e-3, 0.99, training) for rows, c, training in (
    (7, 3, True), (200, 16, True), (65, 40, True), (5, 21, False))]


def draw(family: object, spec: Any, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.rows)
    n = spec.n if isinstance(spec, LayerNormSpec) else spec.c
    arrays = {"x": rng.normal(3, 2, spec.rows * n), "gamma": rng.normal(1, 0.3, n),
              "beta": rng.normal(size=n), "mean": rng.normal(size=n), "var": rng.uniform(1, 2, n)}
    return {name: value.astype(np.float32) for name, value in arrays.items()}


@pytest.mark.parametrize("way", WAYS)
def test_layer_normalisation_equals_its_reference(way: str) -> None:
    assert_law(LAYER_NORM, LAYERS, way, lambda spec: 5e-6, draw, relative=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_batch_normalisation_equals_its_reference(way: str) -> None:
    assert_law(BATCH_NORM, BATCHES, way, lambda spec: 5e-6, draw, relative=1e-5)


def test_a_far_mean_does_not_swallow_the_variance() -> None:
    spec = LayerNormSpec(1, 64, 1e-6, statistics=True)
    arrays = {"x": (1000 + np.arange(64) * 0.01).astype(np.float32),
              "gamma": np.ones(64, np.float32), "beta": np.zeros(64, np.float32)}
    assert_law(LAYER_NORM, [spec], "zig", lambda spec: 1e-3, lambda *_: arrays, relative=5e-3)
