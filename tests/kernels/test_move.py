"""Copies, fills, gathers and scatters move exactly the elements that they name."""

from typing import Any

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, tried

from ganglion.kernels.move import (
    COPY,
    FILL,
    GATHER,
    GATHER_ELEMENTS,
    ONE_HOT,
    CopySpec,
    FillSpec,
    GatherElementsSpec,
    GatherSpec,
    OneHotSpec,
)
from ganglion.kernels.scatter import SCATTER, ScatterSpec

COPIES = [
    CopySpec("float32", (4, 6), (6, 1), (6, 1), 24, 24),
    CopySpec("float32", (5, 3, 4), (1, 20, 5), (12, 4, 1), 60, 60),  # a transpose
    CopySpec("int8", (7,), (-2,), (1,), 13, 7, x_offset=12),  # a slice with a negative step
    CopySpec("int64", (3, 2), (0, 1), (4, 1), 2, 12, y_offset=1),  # a broadcast into a part
    CopySpec("int16", (2, 3, 2, 5), (15, 5, 0, 1), (30, 10, 5, 1), 30, 60),  # upsampling
    CopySpec("bool", (), (), (), 1, 1),
    CopySpec("float64", (1, 1, 3), (9, 9, 1), (1, 1, 1), 3, 3),
    CopySpec("uint8", (0, 3), (3, 1), (3, 1), 4, 4),
]
GATHERS = [GatherSpec("float32", "int64", 2, 5, 3, 4), GatherSpec("int8", "int32", 1, 3, 1, 7),
           GatherSpec("int64", "int64", 3, 1, 2, 5)]
ELEMENTS = [GatherElementsSpec("float32", "int64", 2, 5, 3, 4),
            GatherElementsSpec("uint8", "int32", 1, 3, 1, 7)]
ONE_HOTS = [OneHotSpec("int64", 9, 4), OneHotSpec("int32", 3, 5, 2, off=-1, on=7, dtype="int8"),
            OneHotSpec("uint8", 4, 3, on=0.25)]


def draw_elements(shape: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(shape)
    return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def draw_indices(size: int, dtype: str, axis: int) -> np.ndarray:
    """In range, negative, and out of range on both sides."""
    low = 0 if dtype == "uint8" else -2 * axis
    return np.random.default_rng(size).integers(low, 2 * axis, size).astype(dtype)


def draw(family: object, spec: Any, seed: int) -> dict[str, np.ndarray]:
    if isinstance(spec, FillSpec):
        return {}
    if isinstance(spec, CopySpec):
        return {"x": draw_elements(spec.x_size, spec.dtype)}
    if isinstance(spec, OneHotSpec):
        return {"index": draw_indices(spec.outer * spec.inner, spec.index_dtype, spec.depth)}
    if isinstance(spec, ScatterSpec):
        size = spec.steps * len(spec.axes)
        return {"x": draw_elements(spec.size, spec.dtype),
                "index": draw_indices(size, spec.index_dtype, spec.axes[0][0]),
                "u": draw_elements(spec.steps * spec.inner, spec.dtype)}
    count = spec.count * (spec.outer * spec.inner if isinstance(spec, GatherElementsSpec) else 1)
    return {"x": draw_elements(spec.outer * spec.axis * spec.inner, spec.dtype),
            "index": draw_indices(count, spec.index_dtype, spec.axis)}


FILLS = [FillSpec("float32", 5, 0.1), FillSpec("float32", 3, -0.0), FillSpec("int64", 2, -2**63),
         FillSpec("uint32", 7, 2**32 - 1), FillSpec("int8", 300, 0), FillSpec("float64", 3, 1 / 3),
         FillSpec("float32", 2, float("-inf")), FillSpec("bool", 9, 1)]
PLACES = [
    ScatterSpec("add", "float32", "int64", ((11, 0),), ((6, 5),), 5, 30),
    ScatterSpec("add", "float32", "int32", ((9, 0),), ((2, 1),), 1, 2),
    ScatterSpec("none", "float32", "int64", ((5, 0),), ((4, 6), (3, 2)), 2, 24),
    ScatterSpec("add", "int8", "int32", ((40, 0),), ((7, 1),), 1, 7),  # sums wrap
    ScatterSpec("mul", "uint16", "int64", ((9, 0),), ((4, 3),), 3, 12),
    ScatterSpec("max", "float32", "int64", ((3, 5), (5, 0)), ((5, 1),), 1, 20),
    ScatterSpec("min", "int64", "int64", ((2, 0), (3, 2), (2, 1)), ((4, 6),), 1, 24),
    ScatterSpec("add", "float64", "int32", ((6, 0),), ((5, 1),), 1, 5),
    ScatterSpec("none", "float16", "int64", ((6, 0),), ((5, 1),), 1, 5)]
FAMILIES = [(FILL, FILLS), (GATHER, GATHERS), (GATHER_ELEMENTS, ELEMENTS),
            (ONE_HOT, ONE_HOTS), (SCATTER, PLACES)]


@pytest.mark.parametrize("way", WAYS)
def test_moves_equal_their_reference(way: str) -> None:
    for family, specs in FAMILIES:
        assert_law(family, specs, way, arrays=draw)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_moves_the_elements_it_names_and_no_other(way: str) -> None:
    for case, found in tried(COPY, COPIES, way, draw):
        untouched = np.full(case.spec.y_size * found["y"].itemsize, 0xA5, np.uint8)
        before = untouched.view(found["y"].dtype)
        expected = COPY.reference(case.spec, {**case.arrays, "y": before})["y"]
        assert expected.tobytes() == found["y"].tobytes(), case.spec


def test_a_negative_zero_is_not_filled_as_zero_bytes() -> None:
    ((_, found),) = tried(FILL, [FILLS[1]], "zig", draw)
    assert np.signbit(found["y"]).all()
