"""Checks that a layer's arguments have the types that it declares.

Descriptions come from people and from files, so a wrong type is theirs to hear of, early and in
the words of the layer.
"""

import math
import types
import typing

import numpy as np

MAX_INT = 1 << 31
"""No count, size or axis reaches this."""

Hint = object
"""A type as a dataclass field declares it."""


def hints(layer: type) -> dict[str, Hint]:
    """Argument name to declared type, class variables left out."""
    declared = typing.get_type_hints(layer)
    return {name: declared[name] for name in layer.__dataclass_fields__  # type: ignore[attr-defined]
            if typing.get_origin(declared[name]) is not typing.ClassVar}


def fits(value: object, hint: Hint) -> bool:
    """Whether a value has the declared type; an int is a float, a bool is no int."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and _tuple_fits(value, typing.get_args(hint))
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is int:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return whole and abs(int(value)) < MAX_INT  # type: ignore[call-overload]
    if hint is float:
        return _is_number(value)
    return isinstance(hint, type) and isinstance(value, hint)


def as_tuple(value: object, depth: int = 3) -> object:
    """Lists as tuples, as deep as any argument goes: Keras takes either."""
    if depth and isinstance(value, list | tuple):
        return tuple(as_tuple(v, depth - 1) for v in value)
    return value


def wording(hint: Hint) -> str:
    """A declared type in words."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(wording(part) for part in typing.get_args(hint)))
    if origin is tuple:
        return "a tuple of " + wording(typing.get_args(hint)[0])
    words = {int: "an integer below 2^31", float: "a finite number", bool: "True or False",
             str: "a name", types.NoneType: "None"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))  # type: ignore[call-overload,no-any-return]


def _tuple_fits(value: tuple[object, ...], parts: tuple[object, ...]) -> bool:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return all(fits(v, parts[0]) for v in value)
    return len(parts) == len(value) and all(fits(v, p) for v, p in zip(value, parts))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
