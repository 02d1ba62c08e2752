"""Convolutions: every variant; padding, strides, dilation, groups, few and odd channels."""

import pytest
from tests.support.kernel_law import CODE_WAYS, WAYS, assert_law

from ganglion.kernels.conv2d import CONV2D
from ganglion.kernels.conv2d_spec import Conv2dSpec
from ganglion.kernels.matmul import Epilogue, Requant

RELU = (("input", 0), ("const", 0.0), ("max", 0, 1))
ADD = (("input", 0), ("input", 1), ("add", 0, 1))
CODES = Requant(x_zero_point=-7, zero_point=5, lo=-128, hi=127)
UNSIGNED = Requant(x_zero_point=128, zero_point=3, lo=3, hi=200)
TO_UNSIGNED = Requant(-7, 0, 0, 190, y_dtype="uint8", below_one=True)
TO_SIGNED = Requant(128, -5, -128, 127, y_dtype="int8", below_one=True)
SAME3 = (1, 1, 1, 1)

SHAPES = [
    {"n": 1, "h": 1, "w": 1, "c": 1, "o": 1, "kernel": (1, 1)},
    {"n": 1, "h": 9, "w": 7, "c": 1, "o": 8, "kernel": (3, 3), "pads": SAME3},
    {"n": 2, "h": 8, "w": 8, "c": 3, "o": 17, "kernel": (3, 3), "strides": (2, 2),
     "pads": (0, 0, 1, 1)},
    {"n": 1, "h": 6, "w": 5, "c": 17, "o": 33, "kernel": (3, 3), "pads": SAME3},
    {"n": 1, "h": 5, "w": 6, "c": 16, "o": 32, "kernel": (1, 1), "bias": False},
    {"n": 2, "h": 5, "w": 7, "c": 19, "o": 21, "kernel": (1, 1), "strides": (2, 1)},
    {"n": 1, "h": 1, "w": 20, "c": 4, "o": 6, "kernel": (1, 5), "dilations": (1, 2),
     "pads": (0, 4, 0, 4)},
    {"n": 1, "h": 7, "w": 7, "c": 5, "o": 40, "kernel": (2, 4), "strides": (1, 3),
     "pads": (1, 2, 0, 1)},
    {"n": 1, "h": 5, "w": 5, "c": 6, "o": 9, "kernel": (3, 3), "groups": 3, "pads": SAME3},
    {"n": 1, "h": 5, "w": 5, "c": 8, "o": 32, "kernel": (3, 2), "groups": 2},
    {"n": 1, "h": 2, "w": 2, "c": 2, "o": 3, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    {"n": 1, "h": 4, "w": 20, "c": 16, "o": 16, "kernel": (3, 3), "pads": SAME3},
    {"n": 2, "h": 17, "w": 22, "c": 20, "o": 24, "kernel": (3, 3), "pads": (0, 2, 1, 1)},
    {"n": 1, "h": 8, "w": 8, "c": 64, "o": 64, "kernel": (3, 3), "pads": SAME3},
]
FEW_OUTPUTS = [
    {"n": 2, "h": 6, "w": 8, "c": 3, "o": 6, "kernel": (3, 3), "pads": SAME3},
    {"n": 1, "h": 7, "w": 17, "c": 1, "o": 4, "kernel": (5, 5), "strides": (2, 2),
     "pads": (2, 2, 1, 1), "bias": False},
    {"n": 1, "h": 5, "w": 12, "c": 16, "o": 3, "kernel": (1, 1)},
]
FLOAT = [Conv2dSpec("float32", **shape) for shape in SHAPES]
FLOAT += [Conv2dSpec("float32", **SHAPES[i], w_const=False) for i in (1, 2, 3, 4, 8)]
FLOAT += [Conv2dSpec("float32", **SHAPES[1], epilogue=Epilogue(RELU)),
          Conv2dSpec("float32", **SHAPES[3], epilogue=Epilogue(ADD, 1)),
          Conv2dSpec("float32", **SHAPES[12], epilogue=Epilogue(ADD, 1)),
          Conv2dSpec("float32", **SHAPES[4], epilogue=Epilogue(ADD, 1))]
EXACT = [Conv2dSpec("int8", **shape, requant=CODES) for shape in SHAPES]
EXACT += [Conv2dSpec("int8", **shape, requant=CODES) for shape in FEW_OUTPUTS]
EXACT += [Conv2dSpec("uint8", **FEW_OUTPUTS[2], requant=UNSIGNED)]
EXACT += [Conv2dSpec("uint8", **SHAPES[i], requant=UNSIGNED) for i in (1, 2, 3, 5)]
EXACT += [Conv2dSpec("int8", **SHAPES[i], requant=TO_UNSIGNED) for i in (4, 9, 13)]
EXACT += [Conv2dSpec("uint8", **SHAPES[i], requant=TO_SIGNED) for i in (4, 11, 13)]


def rounding(spec: Conv2dSpec) -> float:
    """Of unit normal operands; a Winograd transform doubles a direct sum's (see tiling)."""
    transformed = spec.kernel == (3, 3) and spec.strides == (1, 1)
    terms = spec.kernel[0] * spec.kernel[1] * spec.c
    return (1e-5 if transformed else 4e-6) * float(terms) ** 0.5


@pytest.mark.parametrize("way", WAYS)
def test_every_variant_convolves(way: str) -> None:
    assert_law(CONV2D, FLOAT, way, rounding)


@pytest.mark.parametrize("way", CODE_WAYS)
def test_8_bit_convolutions_are_exact_on_every_instruction_set(way: str) -> None:
    assert_law(CONV2D, EXACT, way)
