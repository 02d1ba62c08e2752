"""Depthwise convolutions: every variant; odd channels, padding, strides, dilation, multipliers."""

import pytest
from tests.support.kernel_law import CODE_WAYS, WAYS, assert_law

from ganglion.kernels.conv2d_spec import Conv2dSpec
from ganglion.kernels.depthwise import DEPTHWISE
from ganglion.kernels.matmul import Epilogue, Requant

RELU = (("input", 0), ("const", 0.0), ("max", 0, 1))
ADD = (("input", 0), ("input", 1), ("add", 0, 1))
CODES = Requant(x_zero_point=-7, zero_point=5, lo=-128, hi=127)
UNSIGNED = Requant(x_zero_point=128, zero_point=3, lo=3, hi=200)
TO_UNSIGNED = Requant(-7, 0, 0, 190, y_dtype="uint8", below_one=True)
TO_SIGNED = Requant(128, -5, -128, 127, y_dtype="int8", below_one=True)


def depthwise(dtype: str, h: int, w: int, c: int, kernel: tuple[int, int],
              requant: Requant | None = None, multiplier: int = 1, **more: object) -> Conv2dSpec:
    """A spec of two images."""
    return Conv2dSpec(dtype, 2, h, w, c, c * multiplier, kernel, groups=c, requant=requant,
                      **more)  # type: ignore[arg-type]


SHAPES: list[dict[str, object]] = [
    {"h": 5, "w": 5, "c": 1, "kernel": (3, 3)},
    {"h": 6, "w": 7, "c": 17, "kernel": (3, 3), "pads": (1, 1, 1, 1)},
    {"h": 8, "w": 8, "c": 32, "kernel": (3, 3), "strides": (2, 2), "pads": (0, 0, 1, 1)},
    {"h": 1, "w": 20, "c": 5, "kernel": (1, 5), "pads": (0, 4, 0, 4), "dilations": (1, 2)},
    {"h": 4, "w": 4, "c": 40, "kernel": (4, 4), "bias": False},
    {"h": 5, "w": 4, "c": 3, "kernel": (3, 2), "multiplier": 2},
    {"h": 1, "w": 40, "c": 5, "kernel": (1, 31), "pads": (0, 15, 0, 15)},
    {"h": 3, "w": 2, "c": 16, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    {"h": 9, "w": 13, "c": 8, "kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)},
    {"h": 4, "w": 23, "c": 24, "kernel": (3, 3), "pads": (1, 1, 1, 1)},
    {"h": 3, "w": 21, "c": 32, "kernel": (3, 3), "strides": (1, 2), "pads": (1, 0, 1, 1)},
]
FLOAT = [depthwise("float32", **s) for s in SHAPES]  # type: ignore[arg-type]
FLOAT += [depthwise("float32", **SHAPES[1], **more)  # type: ignore[arg-type]
          for more in ({"epilogue": Epilogue(RELU)}, {"epilogue": Epilogue(ADD, 1)},
                       {"w_const": False})]
EXACT = [depthwise("int8", **s, requant=CODES) for s in SHAPES]  # type: ignore[arg-type]
EXACT += [depthwise("int8", 5, 5, 130, (3, 3), requant=CODES)]
EXACT += [depthwise("uint8", **s, requant=UNSIGNED) for s in SHAPES[1:3]]  # type: ignore[arg-type]
EXACT += [depthwise("int8", **s, requant=TO_UNSIGNED) for s in SHAPES[1:3]]  # type: ignore[arg-type]
EXACT += [depthwise("uint8", **s, requant=TO_SIGNED) for s in SHAPES[8:]]  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_every_variant_filters_each_channel(way: str) -> None:
    assert_law(DEPTHWISE, FLOAT, way, lambda spec: 1e-5)


@pytest.mark.parametrize("way", CODE_WAYS)
def test_8_bit_filters_are_exact_on_every_instruction_set(way: str) -> None:
    assert_law(DEPTHWISE, EXACT, way)
