"""Measured choices in a file: a section for each processor, instruction sets, compiler, kernels.

{"format": 1, "sections": [{"cpu": text, "isas": [text], "compiler": text, "kernels": digest,
"choices": {key of plan.choices: variant}}]}
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganglion import cpu
from ganglion.errors import DataError
from ganglion.files import MAX_JSON_BYTES, parse_json, read_regular, write_atomic
from ganglion.plan.choices import Choices, kernel_version
from ganglion.toolchain.targets import Target

FORMAT = 1


@dataclass(frozen=True)
class Section:
    """Choices, and what they hold for. `kernels`: `kernel_version` when they were measured."""

    cpu: str
    isas: tuple[str, ...]
    compiler: str
    kernels: str
    choices: Choices

    def measured_like(self, other: "Section") -> bool:
        """Whether the two differ in their choices alone."""
        return replace(self, choices=other.choices) == other


def default_path() -> Path:
    """`tuning.json` in $GANGLION_CACHE, or in this system's folder for caches."""
    if chosen := os.environ.get("GANGLION_CACHE"):
        return Path(chosen) / "tuning.json"
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "ganglion" / "tuning.json"


def read(path: Path) -> tuple[Section, ...]:
    """The sections of a cache file. Raises DataError for a missing or damaged one."""
    if not os.path.lexists(path):
        raise DataError(f"there is no tuning cache {path}: `ganglion compile --tune` on the "
                        "machine that will run the network writes one")
    return parse(read_regular(path, DataError, MAX_JSON_BYTES), path)


def parse(data: bytes, path: Path) -> tuple[Section, ...]:
    """The sections in the bytes of a cache file. Raises DataError where they are damaged."""
    try:
        document = parse_json(data, DataError, "its text")
    except DataError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, f"not of format {FORMAT}")
    sections = document.get("sections")
    if not isinstance(sections, list):
        raise _damaged(path, "no list of sections")
    return tuple(_section(path, entry) for entry in sections)


def write(path: Path, sections: Sequence[Section]) -> None:
    """Replaces the file, sections and keys sorted: the same choices, the same bytes."""
    ordered = sorted(sections, key=lambda s: (s.cpu, s.isas, s.compiler, s.kernels))
    document = {"format": FORMAT, "sections": [
        {"cpu": s.cpu, "isas": list(s.isas), "compiler": s.compiler, "kernels": s.kernels,
         "choices": dict(sorted(s.choices.variants.items()))} for s in ordered]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(document, indent=1) + "\n").encode())


def add(path: Path, section: Section) -> None:
    """Puts the section in the file in place of its like; the same machine's sections that were
    measured with other kernels, which can't hold any more, go."""
    old = read(path) if path.exists() else ()
    kept = [s for s in old if not section.measured_like(s)
            and (s.cpu != section.cpu or s.kernels == section.kernels)]
    write(path, [*kept, section])


def find(path: Path, target: Target, compiler: str) -> Section:
    """The section for a target: measured with its instruction sets and today's kernels.

    Where several are, this processor's comes first if the target is this machine, then the same
    compiler's. Raises DataError where there is none, or no telling which.
    """
    sections = read(path)
    fitting = [s for s in sections if s.isas == target.isas]
    if not fitting:
        found = "; ".join(f"{s.cpu} ({', '.join(s.isas)})" for s in sections) or "nothing"
        raise DataError(f"{path} has no choices for the instruction sets of target "
                        f"{target.name!r} ({', '.join(target.isas)}); it has: {found}. Tune on "
                        "the device, for the same instruction sets")
    current = [s for s in fitting if s.kernels == kernel_version()]
    if not current:
        raise DataError(f"{path} was measured with the kernels of another version of ganglion: "
                        "tune again on the device with this version")
    own = cpu.name() if target.emulator == "native" else None
    ranks = [(s.cpu == own, s.compiler == compiler) for s in current]
    best = [s for s, rank in zip(current, ranks) if rank == max(ranks)]
    if len(best) > 1:
        names = "; ".join(f"{s.cpu} with {s.compiler}" for s in best)
        raise DataError(f"{path} has choices of several machines for target {target.name!r} "
                        f"({names}): give a cache of one machine")
    return best[0]


def _section(path: Path, entry: object) -> Section:
    if not isinstance(entry, dict):
        raise _damaged(path, "a section is no object")
    cpu_name, isas, compiler, kernels, choices = (
        entry.get(k) for k in ("cpu", "isas", "compiler", "kernels", "choices"))
    if not (isinstance(cpu_name, str) and isinstance(compiler, str) and isinstance(kernels, str)
            and isinstance(isas, list) and all(isinstance(i, str) for i in isas)
            and isinstance(choices, dict) and all(isinstance(v, str) for v in choices.values())):
        raise _damaged(path, "a section lacks cpu, isas, compiler, kernels or choices")
    return Section(cpu_name, tuple(isas), compiler, kernels, Choices(choices))


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"the tuning cache {path} is damaged ({why}): delete it and tune again, or "
                     "name another one")
