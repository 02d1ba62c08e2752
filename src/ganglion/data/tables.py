"""Samples in files: the arrays of an .npz, the columns of a .csv, read whole and checked."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganglion.data.arrays import MAX_BYTES, open_npz
from ganglion.errors import DataError
from ganglion.files import open_regular


@dataclass(frozen=True)
class Samples:
    """What a loader gives: `x` [rows, ...], `y` [rows, ...], and the names of the classes that
    the numbers in `y` count, where the source names them."""

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] = ()

    def numbered_by(self, classes: Sequence[str]) -> "Samples":
        """The same samples with the numbers that these names have; as they are where they have no
        names. Raises DataError for a class that is not among them."""
        if not self.classes or tuple(classes) == self.classes:
            return self
        unknown = sorted(set(self.classes) - set(classes))
        if unknown:
            raise DataError(f"the class {unknown[0]!r} is none that the network knows; expected "
                            f"{', '.join(map(repr, classes))}")
        numbers = np.array([list(classes).index(name) for name in self.classes])
        return Samples(self.x, numbers[self.y], tuple(classes))


def load_npz(path: str | Path, x: str = "x", y: str = "y", *,
             max_bytes: int = MAX_BYTES) -> Samples:
    """The arrays named `x` and `y` of an .npz.

    `max_bytes`: what a packed file (numpy.savez_compressed) of less than a quarter of it may
    unpack to. Raises DataError when they are not there, of different lengths or larger, TrustError
    for pickles.
    """
    with open_npz(Path(path), max_bytes) as arrays:
        for name in (x, y):
            if name not in arrays:
                raise DataError(f"{path}: has no array {name!r}, it holds {sorted(arrays)}; say "
                                "which ones to take: load_npz(path, x=..., y=...)")
        given, targets = arrays[x], arrays[y]
    if given.ndim == 0 or targets.ndim == 0 or len(given) != len(targets):
        raise DataError(f"{path}: {x} has shape {list(given.shape)} and {y} {list(targets.shape)}; "
                        "expected one row of each for every sample")
    return Samples(given, targets)


def load_csv(path: str | Path, target: int | str = -1) -> Samples:
    """A table with one sample a line: x float32 [rows, columns - 1], y the column `target`.

    A first line without any number names the columns. `target`: a column's number (negative from
    the end) or its name. Targets that are words are numbered in sorted order, and `classes` says
    which is which; numbers are float32. Raises DataError with the line and
    column of what is no number.
    """
    header, rows, lines = _cells(Path(path))
    column = _column(path, header, len(rows[0]), target)
    words = [row.pop(column).strip() for row in rows]
    x = _numbers(path, rows, lines, skipped=column)
    if all(_is_number(word) for word in words):
        return Samples(x, np.array(words, np.float32))
    mixed = next((k for k, word in enumerate(words) if _is_number(word)), None)
    if mixed is not None:
        raise DataError(f"{path}, line {lines[mixed]}, column {column + 1}: {words[mixed]!r} is a "
                        "number, but other targets are words; expected one kind: numbers, or names "
                        "of classes")
    classes = sorted(set(words))
    number = {word: k for k, word in enumerate(classes)}
    return Samples(x, np.array([number[word] for word in words]), tuple(classes))


def read_csv(path: Path, features: int | None = None) -> np.ndarray:
    """A .csv of numbers as float32 [rows, columns]; a first line of names is skipped.

    A table of one column more than `features` is one to train on: its last column, numbers or
    words, is the target and left out. Raises DataError with the line and column of what is no
    number, and for ragged lines.
    """
    _, rows, first = _cells(path)
    if features is not None and len(rows[0]) == features + 1:
        rows = [row[:-1] for row in rows]
    return _numbers(path, rows, first)


def _cells(path: Path) -> tuple[list[str] | None, list[list[str]], list[int]]:
    """The first line if it holds a name, the cells of the others, the number of each's line."""
    try:
        with open_regular(path, DataError) as raw, io.TextIOWrapper(
                raw, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            read = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a table of text: {error}; save it as .csv in UTF-8") \
            from error
    named = bool(read) and not any(_is_number(cell) for cell in read[0][1])
    header = read[0][1] if named else None
    rows, lines = [row for _, row in read[named:]], [line for line, _ in read[named:]]
    if not rows:
        raise DataError(f"{path}: has no lines of numbers")
    for row, line in zip(rows, lines):
        if len(row) != len(rows[0]):
            raise DataError(f"{path}, line {line}: {len(row)} columns; expected {len(rows[0])} as "
                            "in the line where the numbers start")
    return header, rows, lines


def _numbers(path: str | Path, rows: Sequence[Sequence[str]], lines: Sequence[int],
             skipped: int | None = None) -> np.ndarray:
    try:
        return np.array([[float(cell) for cell in row] for row in rows], np.float32)
    except ValueError:
        line, column, cell = next(
            (line, k, cell) for row, line in zip(rows, lines)
            for k, cell in enumerate(row) if not _is_number(cell))
        column += 1 if skipped is None or column < skipped else 2
        raise DataError(f"{path}, line {line}, column {column}: {cell!r} is no number; fill or "
                        "drop the line, or number the words") from None


def _column(path: str | Path, header: Sequence[str] | None, count: int,
            target: int | str) -> int:
    if isinstance(target, str):
        names = [] if header is None else [name.strip() for name in header]
        if target not in names:
            raise DataError(f"{path}: no column {target!r}; "
                            + (f"the first line names {names}" if names else
                               "the first line holds no names, so give the column's number"))
        return names.index(target)
    if count < 2 or not -count <= target < count:
        raise DataError(f"{path}: target={target}, but there are {count} columns; expected one "
                        "for the target and at least one more")
    return target % count


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True

