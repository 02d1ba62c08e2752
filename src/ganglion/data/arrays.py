"""Arrays in NumPy's own files, read without NumPy's trust in their headers.

An .npy is a magic word, a header (a Python literal of dtype, order and shape) and the elements;
an .npz is a zip of such. Source: NumPy Enhancement Proposal 1, versions 1.0 to 3.0. What a header
announces is compared with the bytes that there are before memory is taken for it.
"""

import ast
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ganglion.errors import DataError, TrustError
from ganglion.files import open_regular

MAX_BYTES = 1 << 30
"""Bytes that the packed arrays of an .npz may unpack to, unless more is asked for; or
`MAX_GROWTH` times those of the file, if that is more."""
MAX_GROWTH = 4
MAX_HEADER = 4096
"""Characters of a header; NumPy writes 118 for arrays of few axes."""
MAX_MEMBERS = 100_000
_MAGIC = b"\x93NUMPY"
_LENGTHS: Mapping[int, str] = {1: "<H", 2: "<I", 3: "<I"}
"""How each version writes the length of its header."""
_DTYPE = re.compile(r"[<>=|]?(?:[biufcSUV][1-9]\d{0,8}|[mM]8(?:\[\w{1,12}\])?)")


class Archive(Mapping[str, np.ndarray]):
    """The arrays of an open .npz by name, each read when it is asked for. Raises DataError for a
    damaged one and for more than `max_bytes` together, TrustError for pickles."""

    def __init__(self, file: IO[bytes], path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        with _damage(path):
            size = file.seek(0, 2)
            file.seek(0)
            self._zip = zipfile.ZipFile(file)
            entries = self._zip.infolist()
        if len(entries) > MAX_MEMBERS:
            raise DataError(f"{path} has {len(entries)} members, expected at most {MAX_MEMBERS}")
        self._members = {e.filename.removesuffix(".npy"): e for e in entries}
        if len(self._members) != len(entries):
            raise DataError(f"{path} has two members of one name; save it again with numpy.savez")
        self._left = self._allowed = max(max_bytes, MAX_GROWTH * size)

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._members[name]
        if entry.flag_bits & 1:
            raise DataError(f"{self._path}: {name} is encrypted; save it without a password")
        self._left -= entry.file_size
        if self._left < 0:
            raise DataError(f"{self._path} unpacks to more than {self._allowed} bytes; if it is "
                            "to be trusted, unpack it with numpy.load and pass the arrays, or save "
                            "it in parts")
        with _damage(self._path), self._zip.open(entry) as stream:
            return _array(stream, entry.file_size, self._path, f"{self._path}: {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@contextmanager
def open_npz(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[Archive]:
    """The arrays of an .npz, while it is open. Raises as `Archive`."""
    with open_regular(path, DataError) as file:
        yield Archive(file, path, max_bytes)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz. Raises DataError for another file, TrustError for pickles."""
    if path.suffix != ".npz":
        raise DataError(f"{path}: expected an .npz, an .npy or a .csv, found {path.suffix!r}")
    with open_npz(path) as archive:
        return dict(archive)


def read_npy(path: Path) -> np.ndarray:
    """An .npy. Raises DataError for another file, TrustError for pickles."""
    with open_regular(path, DataError) as file, _damage(path):
        size = file.seek(0, 2)
        file.seek(0)
        return _array(file, size, path, str(path))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns what a damaged archive raises into DataError."""
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, IndexError, RuntimeError, NotImplementedError,
            OverflowError, struct.error, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: not readable, is it cut short? ({why})")


def _array(stream: IO[bytes], size: int, path: Path, where: str) -> np.ndarray:
    """The array in a stream of `size` bytes."""
    dtype, fortran, shape, start = _header(stream, path, where)
    count = math.prod(shape)
    if count * dtype.itemsize != size - start:
        raise DataError(f"{where}: its header announces {list(shape)} elements of {dtype}, "
                        f"{count * dtype.itemsize} bytes, but {size - start} follow; it is cut "
                        "short or was changed")
    data = bytearray(size - start)
    filled, view = 0, memoryview(data)
    while filled < len(data):
        part = stream.read(min(len(data) - filled, 1 << 24))
        if not part:
            raise _unreadable(path, f"{where} ends after {filled} of {len(data)} bytes")
        view[filled:filled + len(part)] = part
        filled += len(part)
    flat = np.frombuffer(data, dtype, count)
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def _header(stream: IO[bytes], path: Path, where: str
            ) -> tuple[np.dtype[np.generic], bool, tuple[int, ...], int]:
    """dtype, whether the first axis lies innermost, shape, and where the elements start."""
    lead = stream.read(8)
    code = _LENGTHS.get(lead[6]) if len(lead) == 8 and lead[:6] == _MAGIC else None
    if code is None:
        raise DataError(f"{where} does not start as an .npy of version 1 to 3 does; save it with "
                        "numpy.save")
    width = struct.calcsize(code)
    length, = struct.unpack(code, stream.read(width))
    if length > MAX_HEADER:
        raise DataError(f"{where} has a header of {length} bytes, expected at most {MAX_HEADER}")
    text = stream.read(length)
    if len(text) < length:
        raise _unreadable(path, f"{where} ends within its header")
    try:
        found = ast.literal_eval(text.decode("utf-8" if lead[6] == 3 else "latin-1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{where} has a header that is no Python literal: {error}") from error
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise DataError(f"{where} has the header {text[:80]!r}; expected descr, fortran_order and "
                        "shape")
    fortran = found["fortran_order"]
    if not isinstance(fortran, bool):
        raise DataError(f"{where}: fortran_order is {fortran!r}, expected True or False")
    return (_dtype(found["descr"], where), fortran, _shape(found["shape"], where),
            8 + width + length)


def _dtype(text: object, where: str) -> np.dtype[np.generic]:
    if isinstance(text, str) and text.lstrip("<>=|") == "O":
        raise TrustError(f"{where}: holds pickled Python objects, which can run code when loaded; "
                         "save plain arrays instead")
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise DataError(f"{where}: has elements of the type {str(text)[:80]!r}; expected plain "
                        "numbers, truth values or texts, not records")
    try:
        return np.dtype(text)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: has elements of the type {text!r}: {error}") from error


def _shape(given: object, where: str) -> tuple[int, ...]:
    if not isinstance(given, tuple) or len(given) > 32 or not all(
            type(n) is int and 0 <= n < 2**63 for n in given):
        raise DataError(f"{where}: has the shape {str(given)[:80]}; expected at most 32 whole "
                        "numbers from 0 up")
    return given
