"""The first few in order are those of a stable sort, ties and NaN included."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law

from ganglion.kernels.top_k import TOP_K, TopKSpec

SPECS = [TopKSpec(dtype, 2, 9, inner, k, largest)
         for dtype, inner in (("float32", 1), ("float32", 3), ("int8", 2), ("uint64", 1))
         for k in (1, 4, 9) for largest in (True, False)]


def draw(family: object, spec: TopKSpec, seed: int) -> dict[str, np.ndarray]:
    """Few different numbers, so that ties abound."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5, spec.outer * spec.axis * spec.inner).astype(spec.dtype)
    if spec.floats:
        x[rng.random(x.size) < 0.2] = np.nan
        x[:3] = [np.inf, -np.inf, -0.0]
    elif spec.dtype == "uint64":
        x += np.uint64(2**64 - 8)
    return {"x": x}


@pytest.mark.parametrize("way", WAYS)
def test_the_first_are_those_of_a_sort(way: str) -> None:
    assert_law(TOP_K, SPECS, way, arrays=draw)
