"""What a setting of a schedule, a rule, a callback or a loss may be, and the error where it is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import TypeGuard

import numpy as np

from ganglion.errors import DataError


@dataclass(frozen=True)
class Kind:
    """What is expected, in words, and whether a value is that."""

    words: str
    fits: Callable[[object], bool]


LARGEST = float(np.finfo(np.float32).max)


def is_number(value: object) -> TypeGuard[float]:
    """Python's or NumPy's own number that float32, in which steps compute, can hold; True and False
    are none."""
    return (isinstance(value, int | float | np.integer | np.floating)
            and not isinstance(value, bool) and bool(-LARGEST <= value <= LARGEST))


def is_whole(value: object) -> TypeGuard[int]:
    """A number without a fraction, of an integer type."""
    return is_number(value) and isinstance(value, int | np.integer)


NUMBER = Kind("a finite number", is_number)
FROM_0 = Kind("a finite number from 0 up", lambda v: is_number(v) and v >= 0)
ABOVE_0 = Kind("a finite number above 0", lambda v: is_number(v) and v > 0)
FROM_1 = Kind("a finite number from 1 up", lambda v: is_number(v) and v >= 1)
BELOW_1 = Kind("a finite number from 0 up and below 1", lambda v: is_number(v) and 0 <= v < 1)
INSIDE_0_1 = Kind("a number between 0 and 1", lambda v: is_number(v) and 0 < v < 1)
WHOLE = Kind("a whole number from 0 up", lambda v: is_whole(v) and v >= 0)
FLAG = Kind("True or False", lambda v: isinstance(v, bool | np.bool_))
NAME = Kind("a name", lambda v: isinstance(v, str) and v != "")
PATH = Kind("a path", lambda v: isinstance(v, str | PathLike))
LETTER = Kind("one character", lambda v: isinstance(v, str) and len(v) == 1)
CALLABLE = Kind("a function", callable)
MODE = Kind("auto, min or max", lambda v: isinstance(v, str) and v in ("auto", "min", "max"))


def optional(kind: Kind) -> Kind:
    """None as well."""
    return Kind(f"{kind.words}, or None", lambda v: v is None or kind.fits(v))


def several(kind: Kind) -> Kind:
    """A list, tuple or array of such values, not empty."""

    def fits(value: object) -> bool:
        return (isinstance(value, list | tuple | np.ndarray) and len(value) > 0
                and all(kind.fits(v) for v in value))

    return Kind(f"a list, each {kind.words}", fits)


def require(owner: object, **settings: tuple[object, Kind]) -> None:
    """Raises DataError naming the class, the setting, its value and what is expected, for the
    first (value, kind) that does not fit."""
    for name, (value, kind) in settings.items():
        if not kind.fits(value):
            raise DataError(f"{type(owner).__name__}({name}={value!r}): expected {kind.words}")
