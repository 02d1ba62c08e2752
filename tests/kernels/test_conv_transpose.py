"""Transposed convolution over strides, dilations, crops, groups; constant and given weights."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share

from ganglion.kernels.conv_transpose import CONV_TRANSPOSE, ConvTransposeSpec
from ganglion.kernels.matmul import Epilogue, Requant

FLOATS = [
    ConvTransposeSpec("float32", 2, 5, 6, 3, 4, (3, 3), (5, 6), pads=(1, 1), w_const=False),
    ConvTransposeSpec("float32", 2, 5, 6, 8, 37, (3, 3), (7, 8)),
    ConvTransposeSpec("float32", 1, 4, 5, 6, 16, (3, 3), (8, 10), (2, 2), pads=(1, 0)),
    ConvTransposeSpec("float32", 1, 4, 5, 6, 20, (2, 2), (8, 10), (2, 2), w_const=False),
    ConvTransposeSpec("float32", 1, 3, 4, 5, 9, (1, 2), (9, 13), (3, 4)),  # pixels without taps
    ConvTransposeSpec("float32", 2, 6, 7, 4, 50, (1, 1), (6, 7), w_const=False, bias=False),
    ConvTransposeSpec("float32", 1, 1, 9, 4, 8, (1, 5), (1, 19), (1, 2), (1, 1), pads=(0, 2)),
    ConvTransposeSpec("float32", 1, 5, 4, 3, 2, (3, 2), (11, 11), (1, 2), (2, 3), pads=(0, 1)),
    ConvTransposeSpec("float32", 2, 4, 4, 6, 9, (3, 3), (4, 4), pads=(1, 1), groups=3,
                      w_const=False),
    ConvTransposeSpec("float32", 2, 5, 6, 21, 21, (3, 3), (5, 6), pads=(1, 1), groups=21,
                      w_const=False, bias=False),
    ConvTransposeSpec("float32", 1, 5, 6, 16, 16, (3, 3), (10, 12), (2, 2), pads=(1, 1), groups=16),
    ConvTransposeSpec("float32", 1, 6, 6, 2, 3, (3, 3), (2, 2), pads=(3, 3)),  # a crop inside
    ConvTransposeSpec("float32", 1, 3, 3, 2, 3, (3, 3), (9, 9), (2, 2)),  # more than is reached
]
RELU_OF_SUM = Epilogue((("input", 0), ("input", 1), ("add", 0, 1), ("const", 0.0), ("max", 2, 3)),
                       extra=1)
FLOATS += [ConvTransposeSpec("float32", 2, 5, 7, 4, 37, (3, 3), (10, 13), (2, 2), pads=(1, 1),
                             w_const=w_const, epilogue=RELU_OF_SUM) for w_const in (False, True)]
INTEGERS = [
    ConvTransposeSpec("int8", 2, 4, 5, 6, 7, (3, 3), (8, 10), (2, 2), pads=(1, 0),
                      requant=Requant(-3, 5, -100, 127)),
    ConvTransposeSpec("uint8", 1, 4, 4, 6, 9, (2, 3), (5, 6), groups=3, bias=False,
                      requant=Requant(128, 0, 0, 255)),
]


def draw(family: object, spec: ConvTransposeSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.o)
    arrays = {}
    for operand in CONV_TRANSPOSE.operands(spec)[:-1]:
        if operand.name == "multiplier":
            arrays[operand.name] = rng.uniform(0.001, 0.02, operand.size).astype(np.float32)
        elif operand.dtype == "float32":
            arrays[operand.name] = rng.normal(size=operand.size).astype(np.float32)
        else:
            low, high = (-1000, 1000) if operand.dtype == "int32" else (
                np.iinfo(operand.dtype).min, np.iinfo(operand.dtype).max)
            arrays[operand.name] = rng.integers(low, high, operand.size).astype(operand.dtype)
    return arrays


@pytest.mark.parametrize("way", WAYS)
def test_transposed_convolutions_equal_their_reference(way: str) -> None:
    assert_law(CONV_TRANSPOSE, share(FLOATS + INTEGERS, way), way, lambda spec: 1e-5, draw,
               relative=2e-5)


def test_the_phases_cover_every_output_pixel_once() -> None:
    for spec in FLOATS:
        seen = np.zeros(spec.out_hw, int)
        for row, column, rows, columns, *_ in spec.blocks(8, 12).phases:
            seen[row::spec.strides[0], column::spec.strides[1]] += 1
            assert seen[row::spec.strides[0], column::spec.strides[1]].shape == (rows, columns)
        assert (seen == 1).all()
