"""Pixels read at given places are those of the reference, at the edges and far outside too."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law

from ganglion.kernels.grid_sample import GRID_SAMPLE, TAPS, GridSampleSpec

SPECS = [GridSampleSpec(2, 3, 5, 4, 24, mode, padding, align) for mode in TAPS
         for padding in ("zeros", "border", "reflection") for align in (False, True)]
SPECS += [GridSampleSpec(1, 2, 1, 1, 9, "linear", padding) for padding in ("border", "zeros")]


def draw(family: object, spec: GridSampleSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    grid = rng.uniform(-2.5, 2.5, (spec.n, spec.points, 2)).astype(np.float32)
    grid[0, :8] = [[-1, -1], [1, 1], [0, 0], [1, -1], [-1e6, 3], [40, -40], [1e-7, -1], [-3, 1e9]]
    return {"x": rng.normal(size=spec.n * spec.channels * spec.height * spec.width
                            ).astype(np.float32), "grid": grid}


@pytest.mark.parametrize("way", WAYS)
def test_every_mode_equals_its_reference(way: str) -> None:
    assert_law(GRID_SAMPLE, SPECS, way, arrays=draw)
