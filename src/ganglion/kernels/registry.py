"""All kernel families by name."""

from functools import cache
from typing import Any

from ganglion.kernels.base import Family


@cache
def families() -> dict[str, Family[Any]]:
    """Every family; a family file is listed here once."""
    from ganglion.kernels import (
        conv2d,
        conv_grad,
        matmul,
        move,
        pointwise,
        pool,
        pool_grad,
        reduce,
        softmax,
        table,
    )

    found: dict[str, Family[Any]] = {}
    for module in (
        conv2d,
        conv_grad,
        matmul,
        move,
        pointwise,
        pool,
        pool_grad,
        reduce,
        softmax,
        table,
    ):
        for family in module.FAMILIES:
            found[family.name] = family
    return found
