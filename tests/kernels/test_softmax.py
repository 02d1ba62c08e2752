"""Softmax: the float law within rounding, the integer law to the bit."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share

from ganglion.kernels.softmax import SOFTMAX, SoftmaxSpec, table

SHAPES = [(3, 1, 1), (2, 10, 1), (4, 16, 1), (2, 37, 1), (3, 5, 4), (2, 3, 8), (1, 7, 33)]
FLOATS = [SoftmaxSpec("float32", *shape, log=log) for shape in SHAPES for log in (False, True)]
INTEGERS = [SoftmaxSpec("int8", 3, 12, 1, x_scale=0.11, y_scale=1 / 256, zero_point=-128),
            SoftmaxSpec("uint8", 2, 5, 7, x_scale=0.03, y_scale=1 / 256),
            SoftmaxSpec("int8", 2, 300, 1, x_scale=1.0, y_scale=1 / 128, zero_point=5)]


def draw(family: object, spec: SoftmaxSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.axis)
    size = spec.outer * spec.axis * spec.inner
    if spec.dtype != "float32":
        return {"x": rng.integers(*spec.limits, size, endpoint=True).astype(spec.dtype),
                "table": table(spec)}
    x = rng.normal(-5, 8, size).astype(np.float32)
    x[0] = 100.0  # its exponential is beyond float32
    return {"x": x}


@pytest.mark.parametrize("way", WAYS)
def test_softmax_equals_its_reference(way: str) -> None:
    assert_law(SOFTMAX, share(FLOATS + INTEGERS, way), way, lambda spec: 5e-7, draw, relative=4e-6)


def test_the_table_falls_from_one_and_fits_its_sum() -> None:
    values = table(INTEGERS[0])
    assert values[0] == 2**23
    assert (np.diff(values.astype(np.int64)) <= 0).all()
