"""Integer products equal NumPy's own, modulo their width, over the whole range."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law

from ganglion.kernels.matmul_whole import WHOLE_MATMUL, WholeMatMulSpec

TYPES = ("int8", "uint16", "int32", "uint32", "int64", "uint64")
SPECS = [spec for dtype in TYPES for spec in (
    WholeMatMulSpec(dtype, 1, 3, 5, 7, bias=True),
    WholeMatMulSpec(dtype, 1, 2, 33, 4, trans_a=True),
    WholeMatMulSpec(dtype, 2, 4, 1, 9, trans_b=True, a_batch=36, b_batch=9),
    WholeMatMulSpec(dtype, 3, 2, 2, 3, a_batch=6))]


def draw(family: object, spec: WholeMatMulSpec, seed: int) -> dict[str, np.ndarray]:
    rng, info = np.random.default_rng(seed), np.iinfo(spec.dtype)
    return {o.name: rng.integers(info.min, info.max, o.size, spec.dtype, endpoint=True)
            for o in WHOLE_MATMUL.operands(spec) if o.role != "output"}


@pytest.mark.parametrize("way", WAYS)
def test_integer_products_equal_numpy(way: str) -> None:
    assert_law(WHOLE_MATMUL, SPECS, way, lambda spec: 0, draw)
