"""A table look-up is NumPy's indexing, for every code."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, tried

from ganglion.kernels.table import TABLE, TableSpec

SPECS = [TableSpec(x, y, size) for x in ("int8", "uint8") for y in ("int8", "uint8")
         for size in (1, 257)]


@pytest.mark.parametrize("way", WAYS)
def test_look_ups_equal_their_reference(way: str) -> None:
    assert_law(TABLE, SPECS, way)


def test_the_lowest_code_finds_the_first_entry_and_the_highest_the_last() -> None:
    codes = np.arange(-128, 128).astype(np.int8)
    table = np.arange(256).astype(np.uint8)
    given = {"x": codes, "table": table}
    ((_, found),) = tried(TABLE, [TableSpec("int8", "uint8", 256)], "zig", lambda *_: given)
    assert found["y"].tolist() == list(range(256))
