"""The network that a command works on: a file, and the sizes and values that the user chose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.formats import load


@dataclass(frozen=True)
class Source:
    """`shapes`, `values`: as typed, NAME=1,224,224,3."""

    path: Path
    shapes: Sequence[str] | None = None
    values: Sequence[str] | None = None

    def load(self) -> ir.Model:
        """The network. Raises DataError for a size or value that is none, and what `load`
        raises."""
        return load(self.path, shapes=dict(map(_sizes, self.shapes)) if self.shapes else None,
                    values=dict(map(_numbers, self.values)) if self.values else None)


def _sizes(given: str) -> tuple[str, list[int | None]]:
    name, equals, sizes = given.rpartition("=")
    parts = [part.strip() for part in sizes.split(",")]
    if not equals or not name or not all(p == "?" or (p.isascii() and p.isdigit()) for p in parts):
        raise DataError(f"--shape {given!r}: expected NAME=1,224,224,3, with ? for a size that "
                        "stays open")
    return name, [None if part == "?" else int(part) for part in parts]


def _numbers(given: str) -> tuple[str, int | float | list[int | float]]:
    name, equals, text = given.rpartition("=")
    try:
        parts = [_number(part.strip()) for part in text.split(",")]
    except ValueError:
        parts = []
    if not equals or not name or not parts:
        raise DataError(f"--value {given!r}: expected NAME=16000 or NAME=0,1")
    return name, parts if len(parts) > 1 else parts[0]


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
