"""The generated math functions: their stated error bounds, edges, and the same bits for every L."""

from collections.abc import Callable
from math import erf

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, tried

from ganglion.kernels.pointwise import POINTWISE, PointwiseSpec, Stream

FLOAT_MAX = float(np.finfo(np.float32).max)
EDGES = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1e-45, -1e-45, 1e-38,
                  -1e-38, 88.72, 88.73, -87.4, -103.9, -104.5, 1e4, -1e4, 16777216.0, 16777218.0,
                  FLOAT_MAX, -FLOAT_MAX, np.inf, -np.inf, np.nan, 8388607.5, 4194304.5, 2.5, 1.5,
                  -0.7, 0.625, 0.92, 4.0], np.float32)


def sweep() -> np.ndarray:
    """All magnitudes: every 2^17th bit pattern or so, dense around the working range, edges."""
    patterns = np.arange(0, 2 ** 32, 400_009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([EDGES, patterns, np.linspace(-110, 110, 20_001, dtype=np.float32),
                           np.linspace(-2, 2, 10_001, dtype=np.float32)])


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the exact value (denormals: of the least number)."""
    with np.errstate(all="ignore"):
        place = np.maximum(np.ldexp(1.0, np.frexp(exact)[1] - 24), 2.0 ** -149)
        distance = np.abs(got.astype(np.float64) - exact) / place
        same = (got == exact.astype(np.float32)) | (np.isnan(got) & np.isnan(exact))
    return np.where(same, 0.0, np.where(np.isfinite(distance), distance, np.inf))


BOUNDS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "exp": (np.exp, 1.5), "log": (np.log, 1.5), "tanh": (np.tanh, 1.5),
    "erf": (np.vectorize(erf, otypes=[np.float64]), 2.0),
    "sigmoid": (lambda x: evaluate64("sigmoid", x), 2.5), "sin": (np.sin, 2.5),
    "cos": (np.cos, 2.5), "sqrt": (np.sqrt, 0.5), "rint": (np.rint, 0.0),
    "floor": (np.floor, 0.0), "ceil": (np.ceil, 0.0)}


def evaluate64(name: str, x: np.ndarray) -> np.ndarray:
    """Sigmoid in float64."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def one_program(x: np.ndarray, names: list[str], arity: int) -> PointwiseSpec:
    """Every function of the same input (or two) into an output of its own."""
    stream = Stream("float32", (1,), x.size)
    inputs = tuple(("input", i) for i in range(arity))
    program = inputs + tuple((name, *range(arity)) for name in names)
    return PointwiseSpec((x.size,), (stream,) * arity, (stream,) * len(names), program,
                         tuple(range(arity, arity + len(names))))


@pytest.mark.parametrize("way", WAYS)
def test_functions_keep_their_error_bounds(way: str) -> None:
    x = sweep()
    spec = one_program(x, list(BOUNDS), 1)
    first: dict[str, np.ndarray] = {}
    for case, got in tried(POINTWISE, [spec], way, lambda *_: {"x0": x}):
        first = first or got
        for k, (name, (exact, bound)) in enumerate(BOUNDS.items()):
            y = got[f"y{k}"]
            assert np.array_equal(y, first[f"y{k}"], equal_nan=True), f"{case.variant.name} {name}"
            with np.errstate(all="ignore"):
                want = exact(x.astype(np.float64))
            error = ulps(y, want)
            if name in ("sin", "cos"):
                error = np.where(np.abs(y - want) < 2.0 ** -26, 0.0, error)
            worst = int(np.argmax(error))
            assert error[worst] <= bound, (f"{case.variant.name} {name}({x[worst]!r}) = {y[worst]},"
                                           f" not {want[worst]}: {error[worst]} ulp")


@pytest.mark.parametrize("way", WAYS)
def test_power_keeps_its_error_bound_and_special_cases(way: str) -> None:
    rng = np.random.default_rng(0)
    edges = np.meshgrid(EDGES, EDGES)
    magnitude = np.exp(rng.uniform(-80, 80, 20_000))
    a = np.concatenate([edges[0].ravel(), magnitude, rng.uniform(0.9, 1.1, 20_000),
                        -rng.integers(1, 40, 2000)]).astype(np.float32)
    exponent = rng.uniform(-1, 1, 20_000) * 89 / np.abs(np.log(magnitude))
    b = np.concatenate([edges[1].ravel(), exponent, rng.uniform(-800, 800, 20_000),
                        rng.integers(-20, 20, 2000)]).astype(np.float32)
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.float64), b.astype(np.float64))
    spec = one_program(a, ["pow"], 2)
    first = None
    for case, got in tried(POINTWISE, [spec], way, lambda *_: {"x0": a, "x1": b}):
        first = got["y0"] if first is None else first
        assert np.array_equal(got["y0"], first, equal_nan=True), case.variant.name
        error = ulps(got["y0"], want)
        worst = int(np.argmax(error))
        assert error[worst] <= 4.0, (f"{case.variant.name} {a[worst]!r} ** {b[worst]!r} = "
                                     f"{got['y0'][worst]}, not {want[worst]}")


def test_every_square_root_mantissa_is_correctly_rounded() -> None:
    x = np.arange(0x3f800000, 0x40800000, 37, dtype=np.uint32).view(np.float32)
    for case, got in tried(POINTWISE, [one_program(x, ["sqrt"], 1)], "zig", lambda *_: {"x0": x}):
        assert np.array_equal(got["y0"], np.sqrt(x)), case.variant.name
