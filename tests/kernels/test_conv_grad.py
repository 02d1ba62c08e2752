"""The weight gradient of a convolution over strides, dilations, borders, groups and odd sizes."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share

from ganglion.kernels.conv_grad import CONV_WEIGHT_GRAD, ConvWeightGradSpec

SPECS = [
    ConvWeightGradSpec(2, 5, 6, 1, 4, (3, 3)),
    ConvWeightGradSpec(3, 7, 7, 3, 20, (3, 3), pads=(1, 1, 1, 1)),
    ConvWeightGradSpec(2, 8, 9, 16, 16, (3, 3), strides=(2, 2), pads=(0, 0, 1, 1)),
    ConvWeightGradSpec(1, 9, 9, 5, 35, (3, 2), dilations=(2, 3), pads=(2, 1, 0, 1)),
    ConvWeightGradSpec(4, 6, 6, 24, 50, (1, 1)),
    ConvWeightGradSpec(2, 6, 7, 8, 12, (1, 1), strides=(2, 3)),
    ConvWeightGradSpec(2, 1, 30, 4, 10, (1, 5), strides=(1, 2), pads=(0, 2, 0, 2)),
    ConvWeightGradSpec(2, 6, 5, 6, 9, (3, 3), groups=3, pads=(1, 1, 1, 1)),
    ConvWeightGradSpec(2, 9, 8, 19, 19, (3, 3), groups=19, pads=(1, 1, 1, 1)),
    ConvWeightGradSpec(1, 8, 8, 40, 40, (5, 5), strides=(2, 2), groups=40),
    ConvWeightGradSpec(1, 6, 6, 4, 8, (3, 3), groups=4),
    ConvWeightGradSpec(1, 2, 2, 2, 3, (2, 2), strides=(3, 3), pads=(3, 3, 0, 0)),
    ConvWeightGradSpec(1, 20, 20, 7, 3, (11, 11), dilations=(1, 1)),
]


def draw(family: object, spec: ConvWeightGradSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.o)
    x, dy, _ = CONV_WEIGHT_GRAD.operands(spec)
    return {"x": rng.normal(size=x.size).astype(np.float32),
            "dy": rng.normal(size=dy.size).astype(np.float32)}


@pytest.mark.parametrize("way", WAYS)
def test_weight_gradients_equal_their_reference(way: str) -> None:
    assert_law(CONV_WEIGHT_GRAD, share(SPECS, way), way, lambda spec: 2e-5, draw, relative=2e-5)


def test_the_patch_is_covered_once_whatever_the_registers() -> None:
    for spec in SPECS:
        for lanes, accumulators in ((4, 12), (8, 12), (16, 24)):
            blocks = spec.blocks(lanes, accumulators)
            rows = sorted(first + r for body in blocks.bodies for first, _ in body.places
                          for r in range(len(body.offsets)))
            assert rows == list(range(spec.patch))
            assert spec.n % blocks.images == 0
