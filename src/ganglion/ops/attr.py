"""Typed access to an operator's attributes, which `graph.attributes` gives as plain values."""

from collections.abc import Sequence

import numpy as np

from ganglion.errors import ModelError
from ganglion.ops.base import Array, Attrs


def get_int(attrs: Attrs, name: str, default: int) -> int:
    """An integer attribute. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if not isinstance(value, int | np.integer):
        raise ModelError(f"attribute {name!r} is {value!r}; an integer is expected")
    return int(value)


def get_float(attrs: Attrs, name: str, default: float) -> float:
    """A number attribute. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if not isinstance(value, int | float | np.number):
        raise ModelError(f"attribute {name!r} is {value!r}; a number is expected")
    return float(value)


def get_str(attrs: Attrs, name: str, default: str) -> str:
    """A text attribute; bytes are read as UTF-8. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise ModelError(f"attribute {name!r} is {value!r}; a text is expected")
    return value


def get_ints(attrs: Attrs, name: str, default: Sequence[int]) -> list[int]:
    """A list of integers. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if not isinstance(value, list | tuple):
        raise ModelError(f"attribute {name!r} is {value!r}; a list of integers is expected")
    return [int(v) for v in value]


def get_floats(attrs: Attrs, name: str, default: Sequence[float]) -> list[float]:
    """A list of numbers. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if not isinstance(value, list | tuple):
        raise ModelError(f"attribute {name!r} is {value!r}; a list of numbers is expected")
    return [float(v) for v in value]


def get_strs(attrs: Attrs, name: str, default: Sequence[str]) -> list[str]:
    """A list of texts. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if not isinstance(value, list | tuple):
        raise ModelError(f"attribute {name!r} is {value!r}; a list of texts is expected")
    return [v.decode() if isinstance(v, bytes) else str(v) for v in value]


def get_array(attrs: Attrs, name: str, default: Array) -> Array:
    """A tensor attribute as an array. Raises ModelError when it holds something else."""
    value = attrs.get(name, default)
    if not isinstance(value, np.ndarray):
        raise ModelError(f"attribute {name!r} is {value!r}; a tensor is expected")
    return value
