"""All kernel families by name."""

from functools import cache
from typing import Any

from ganglion.kernels.base import Family


@cache
def families() -> dict[str, Family[Any]]:
    """Every family; a family file is listed here once."""
    from ganglion.kernels import (
        conv_grad,
        conv_transpose,
        matmul,
        move,
        normalize,
        pool_grad,
        random,
        recurrent,
        reduce,
        softmax,
    )

    table: dict[str, Family[Any]] = {}
    for module in (conv_grad, conv_transpose, matmul, move, normalize, pool_grad, random, recurrent,
                   reduce, softmax):
        for family in module.FAMILIES:
            table[family.name] = family
    return table
