"""All kernel families by name."""

from functools import cache
from typing import Any

from ganglion.kernels.base import Family


@cache
def families() -> dict[str, Family[Any]]:
    """Every family; a family file is listed here once."""
    from ganglion.kernels import conv2d, depthwise, matmul, pointwise, pool

    table: dict[str, Family[Any]] = {}
    for module in (pointwise, matmul, conv2d, depthwise, pool):
        for family in module.FAMILIES:
            table[family.name] = family
    return table
