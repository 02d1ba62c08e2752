"""All kernel families by name."""

from functools import cache
from importlib import import_module
from typing import Any

from ganglion.kernels.base import Family

MODULES = (
    "conv2d",
    "conv_grad",
    "conv_transpose",
    "depthwise",
    "grid_sample",
    "hybrid",
    "matmul",
    "matmul_whole",
    "move",
    "normalize",
    "pointwise",
    "pool",
    "pool_grad",
    "random",
    "recurrent",
    "recurrent_grad",
    "reduce",
    "scatter",
    "softmax",
    "table",
    "top_k",
)
"""The family files; each has a tuple `FAMILIES`."""


@cache
def families() -> dict[str, Family[Any]]:
    """Every family, from every file of `MODULES`."""
    return {family.name: family for module in MODULES
            for family in import_module(f"ganglion.kernels.{module}").FAMILIES}
