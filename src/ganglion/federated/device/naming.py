"""Codecs and methods as tables of plain values, for files and for the wire."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ganglion.errors import DataError
from ganglion.federated.device import codecs, methods

Makers = Mapping[str, type]

MAKERS: Makers = {made.__name__.lower(): made for made in (
    codecs.Dense, codecs.Stochastic, codecs.TopK, methods.FedAvg, methods.FedProx,
    methods.Scaffold, methods.FedNova)}
"""What a name stands for."""


def table(thing: object) -> dict[str, Any]:
    """{"name": ..., its settings}, settings that are such things themselves as tables too."""
    assert is_dataclass(thing)
    settings = {f.name: getattr(thing, f.name) for f in fields(thing)}
    return {"name": type(thing).__name__.lower(),
            **{k: table(v) if is_dataclass(v) else v for k, v in settings.items()}}


def made(given: object, what: str, makers: Makers = MAKERS) -> Any:
    """The thing that a name, or a table of a name and settings, stands for. `what`: what it is
    for, in the error. Raises DataError for unknown names and settings, and what they refuse."""
    found = {"name": given} if isinstance(given, str) else given
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise DataError(f"{what}={given!r}: expected a name, or a table with one")
    settings = dict(found)
    name = settings.pop("name")
    if name not in makers:
        raise DataError(f"{what}={name!r}: unknown; there are {', '.join(sorted(makers))}")
    require_known(settings, [f.name for f in fields(makers[name])], f"{what}={name!r}")
    return makers[name](**{k: made(v, f"{what}.{k}", makers) if isinstance(v, dict) else v
                           for k, v in settings.items()})


def require_known(given: Mapping[str, object], known: list[str], what: str) -> None:
    """DataError for a setting that is none of the known ones."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise DataError(f"{what}: there is no setting {unknown[0]!r}; there are "
                        f"{', '.join(sorted(known)) or 'none'}")
