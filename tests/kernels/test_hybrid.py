"""Hybrid products: float in and out, 8-bit inside; every variant gives the reference's bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, random_arrays

from ganglion.kernels.base import Family
from ganglion.kernels.hybrid import (
    HYBRID_CONV2D,
    HYBRID_MATMUL,
    HybridConvSpec,
    HybridMatMulSpec,
)
from ganglion.kernels.matmul import Epilogue

RELU = Epilogue((("input", 0), ("const", 0.0), ("max", 0, 1)))
ADD = Epilogue((("input", 0), ("input", 1), ("add", 0, 1)), 1)
SAME3 = (1, 1, 1, 1)

CONVOLUTIONS = [HybridConvSpec("float32", **shape) for shape in (
    {"n": 1, "h": 1, "w": 1, "c": 1, "o": 1, "kernel": (1, 1)},
    {"n": 1, "h": 9, "w": 7, "c": 1, "o": 8, "kernel": (3, 3), "pads": SAME3, "epilogue": RELU},
    {"n": 2, "h": 8, "w": 8, "c": 3, "o": 17, "kernel": (3, 3), "strides": (2, 2),
     "pads": (0, 0, 1, 1), "epilogue": ADD},
    {"n": 1, "h": 6, "w": 5, "c": 17, "o": 33, "kernel": (3, 3), "pads": SAME3, "unsigned": True},
    {"n": 1, "h": 5, "w": 6, "c": 16, "o": 64, "kernel": (1, 1), "bias": False},
    {"n": 2, "h": 5, "w": 7, "c": 19, "o": 21, "kernel": (1, 1), "strides": (2, 1)},
    {"n": 1, "h": 1, "w": 20, "c": 4, "o": 6, "kernel": (1, 5), "dilations": (1, 2),
     "pads": (0, 4, 0, 4), "unsigned": True},
    {"n": 1, "h": 5, "w": 5, "c": 8, "o": 34, "kernel": (3, 2), "groups": 2},
    {"n": 3, "h": 5, "w": 5, "c": 6, "o": 9, "kernel": (3, 3), "groups": 3, "pads": SAME3},
)]
PRODUCTS = [
    HybridMatMulSpec(1, 1, 1),
    HybridMatMulSpec(1, 17, 33, bias=True, epilogue=RELU),
    HybridMatMulSpec(7, 33, 5, bias=True),
    HybridMatMulSpec(30, 70, 130, epilogue=ADD, unsigned=True),
    HybridMatMulSpec(1, 128, 64, bias=True, unsigned=True),
    HybridMatMulSpec(13, 16, 64),
    HybridMatMulSpec(130, 20, 70, bias=True),
    HybridMatMulSpec(9, 5, 300, unsigned=True),
]


def drawn(family: Family[Any], spec: Any, seed: int) -> dict[str, np.ndarray]:
    """Rows of x of very different ranges; some inputs are shifted off 0, which stays a code."""
    arrays = random_arrays(family, spec, seed)
    name = "x" if "x" in arrays else "a"
    rows = arrays[name].reshape(spec.n if name == "x" else spec.m, -1)
    rows = rows * 10.0 ** np.linspace(-3, 3, len(rows))[:, None] + (seed % 3 - 1)
    arrays[name] = np.abs(rows).astype(np.float32) if spec.unsigned else rows.astype(np.float32)
    return arrays


@pytest.mark.parametrize("way", WAYS)
def test_hybrid_convolutions_give_the_same_bits_on_every_instruction_set(way: str) -> None:
    assert_law(HYBRID_CONV2D, CONVOLUTIONS, way, arrays=drawn)


@pytest.mark.parametrize("way", WAYS)
def test_hybrid_products_give_the_same_bits_on_every_instruction_set(way: str) -> None:
    assert_law(HYBRID_MATMUL, PRODUCTS, way, arrays=drawn)


def test_inputs_without_range_or_with_a_tiny_one_leave_the_bias() -> None:
    def flat(family: Family[Any], spec: Any, seed: int) -> dict[str, np.ndarray]:
        arrays = random_arrays(family, spec, seed)
        arrays["a"][:] = np.float32([0.0, 1e-38, -1e-33][seed])
        return arrays

    specs = [HybridMatMulSpec(2, 5, 70, bias=True), HybridMatMulSpec(2, 5, 70, bias=True),
             HybridMatMulSpec(2, 20, 9, bias=True)]
    assert_law(HYBRID_MATMUL, specs, "zig", arrays=flat)


def test_knowing_that_an_input_is_not_negative_changes_no_bit() -> None:
    spec = HybridMatMulSpec(5, 6, 40)
    arrays = random_arrays(HYBRID_MATMUL, spec)
    arrays["a"] = np.abs(arrays["a"])
    known = HYBRID_MATMUL.reference(replace(spec, unsigned=True), arrays)["y"]
    np.testing.assert_array_equal(known, HYBRID_MATMUL.reference(spec, arrays)["y"])
