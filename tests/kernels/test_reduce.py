"""Reductions equal their reference in every mode, lane position and length."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share, tried

from ganglion.kernels.reduce import ARGS, EXTREMES, REDUCE, SUMS, ReduceSpec

SHAPES = [(3, 1, 1), (2, 37, 1), (1, 700, 1), (2, 5, 3), (1, 70, 16), (2, 9, 100), (1, 3, 64)]
SPECS = [ReduceSpec(mode, "float32", *shape) for shape in SHAPES
         for mode in (*SUMS, *EXTREMES, "prod", *ARGS)]
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SPECS += [ReduceSpec(mode, dtype, 2, 6, 3) for dtype in INTEGERS
          for mode in ("sum", "mean", "prod", "sumsq", *EXTREMES, *ARGS)]
SPECS += [ReduceSpec(mode, "bool", 3, 4, 2) for mode in (*EXTREMES, *ARGS)]
MISSING = [ReduceSpec(mode, "float32", *shape) for shape in SHAPES if shape[1] > 1
           for mode in ("max", "min", *ARGS)]


def draw(family: object, spec: ReduceSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.axis)
    size = spec.outer * spec.axis * spec.inner
    if spec.dtype == "float32":
        centre = 1.0 if spec.mode == "prod" else 0.3
        return {"x": rng.normal(centre, 0.1 if spec.mode == "prod" else 1.0, size
                                ).astype(np.float32)}
    if spec.dtype == "bool":
        return {"x": rng.integers(0, 2, size).astype(bool)}
    info = np.iinfo(spec.dtype)
    return {"x": rng.integers(info.min, info.max, size, dtype=spec.dtype, endpoint=True)}


@pytest.mark.parametrize("way", WAYS)
def test_reductions_equal_their_reference(way: str) -> None:
    assert_law(REDUCE, share(SPECS, way), way, lambda spec: 2e-5, draw, relative=1e-5)


def test_every_mode_has_a_scalar_variant() -> None:
    for spec in SPECS:
        assert any(v.isa.name == "scalar" and v.accepts(spec) for v in REDUCE.variants), spec


def test_the_first_of_equal_extremes_wins() -> None:
    spec = ReduceSpec("argmax", "float32", 1, 4, 1)
    x = np.array([1, 3, 3, 2], np.float32)
    ((_, found),) = tried(REDUCE, [spec], "zig", lambda *_: {"x": x})
    assert found["y"].tolist() == [1]


def test_a_long_sum_loses_little() -> None:
    spec = ReduceSpec("sum", "float32", 1, 100_000, 1)
    x = np.full(100_000, 0.1, np.float32)
    for _, found in tried(REDUCE, [spec], "zig", lambda *_: {"x": x}):
        assert abs(found["y"][0] - 1e4) < 0.05


def _with_missing(family: object, spec: ReduceSpec, seed: int) -> dict[str, np.ndarray]:
    """NaN somewhere, at either end of the axis too, and infinities beside it."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf], (spec.outer, spec.axis, spec.inner))
    for o, n in np.ndindex(spec.outer, spec.inner):
        x[o, [0, -1, rng.integers(spec.axis)][(o + n) % 3], n] = np.nan
    return {"x": x.astype(np.float32).reshape(-1)}


@pytest.mark.parametrize("way", WAYS)
def test_nan_is_the_extreme_wherever_it_stands(way: str) -> None:
    assert_law(REDUCE, MISSING, way, arrays=_with_missing)
