"""A plan as a TOML file, for the command line.

Keys are the fields of `Plan`, with `artefact` (a folder, from the file's own) for its `step`. A
method, a rule and a codec are a name, or a table of a name and settings:

    up = { name = "stochastic", bits = 3 }

`[simulation]` says whose data learn when the run is simulated: `data` (an .npz), `devices`, and
`alpha`, as in `dirichlet`.
"""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ganglion.errors import DataError
from ganglion.federated import rules
from ganglion.federated.device.naming import MAKERS as DEVICE_MAKERS
from ganglion.federated.device.naming import Makers, made, require_known
from ganglion.federated.plan import KINDS, Plan

MOST_BYTES = 1 << 20
"""Of a plan's file."""
MAKERS: Makers = {**DEVICE_MAKERS, ** {rule.__name__.lower(): rule for rule in (
    rules.Mean, rules.Median, rules.TrimmedMean, rules.Krum, rules.ClippedMean)}}
"""What a name in the file stands for."""


@dataclass(frozen=True)
class Simulated:
    """Whose data learn: rows of the file `data`, dealt to `devices` as `dirichlet` does."""

    data: Path
    devices: int = 10
    alpha: float = 0.5


def read_plan(path: Path) -> tuple[Plan, Simulated | None]:
    """The plan in a file, and what it says of simulation. Raises DataError for a file that can't be
    read, unknown keys and names, and what `Plan` refuses."""
    found = _parsed(path)
    simulation = found.pop("simulation", None)
    artefact = found.pop("artefact", None)
    if not isinstance(artefact, str):
        raise DataError(f"{path}: artefact={artefact!r}: expected the folder that `ganglion "
                        "compile-training` wrote")
    require_known(found, [f.name for f in fields(Plan) if f.name != "step"], str(path))
    things = {name: made(found[name], f"{path}: {name}", MAKERS)
              for name, _, _ in KINDS if name in found}
    plan = Plan(path.parent / artefact, **found | things)
    return plan, None if simulation is None else _simulated(path, simulation)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} is larger than {MOST_BYTES} bytes; a plan is a page of text")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no TOML file: {error}") from error


def _simulated(path: Path, given: object) -> Simulated:
    if not isinstance(given, dict) or not isinstance(given.get("data"), str):
        raise DataError(f"{path}: [simulation] needs data, an .npz with x and y")
    require_known(given, [f.name for f in fields(Simulated)], f"{path}: [simulation]")
    found = Simulated(**given | {"data": path.parent / given["data"]})
    if not isinstance(found.devices, int) or found.devices < 1:
        raise DataError(f"{path}: devices={found.devices!r}: expected a whole number from 1 up")
    if not isinstance(found.alpha, int | float) or not 0 < found.alpha < float("inf"):
        raise DataError(f"{path}: alpha={found.alpha!r}: expected a finite number above 0")
    return found


