"""Bytes → a library in this process, and out of it again when nobody needs it.

The bytes go through a file that nobody else can name: in memory where the system has such files,
else in a folder of its own. So what was read and checked is what is loaded, whatever happens to the
file that it came from. The path is one that never was before, since a loader that is given a path
for the second time hands back the old library.
"""

import ctypes
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

from ganglion import cpu
from ganglion.errors import TargetError

if sys.platform == "win32":
    from _ctypes import FreeLibrary as _close
    from _ctypes import LoadLibrary as _load

    _procedure = ctypes.WinDLL("kernel32").GetProcAddress
    _procedure.argtypes, _procedure.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p

    def _find(handle: int, name: str) -> int:
        return _procedure(handle, name.encode()) or 0
else:
    from _ctypes import dlclose as _close
    from _ctypes import dlopen as _load
    from _ctypes import dlsym as _find

PROCESS_FILES = "/proc/self/fd"


class Library:
    """A library in this process, closed when the last that holds this is gone: whoever keeps an
    address of it keeps this too."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def address(self, name: str) -> int:
        """Where a symbol is."""
        return _find(self._handle, name)

    def __del__(self, close: Callable[[int], object] = _close) -> None:
        close(self._handle)


def open_library(data: bytes, suffix: str, where: str) -> Library:
    """Load bytes as a library.

    Raises TargetError, which calls it `where`, for what this machine can't load, and where it has
    no room for the file."""
    failed: OSError | None = None
    for place in _places():
        try:
            with place(data, suffix) as path:
                return Library(_load(path))
        except OSError as error:
            failed = error
    raise TargetError(f"{where}: this machine ({cpu.machine()}, {sys.platform}) can't load the "
                      f"library ({failed}): {_hint(failed)}") from failed


Place = Callable[[bytes, str], AbstractContextManager[str]]


def _places() -> tuple[Place, ...]:
    """Where a file may be, the best first."""
    in_memory = hasattr(os, "memfd_create") and Path(PROCESS_FILES).exists()
    return (_in_memory, _in_folder) if in_memory else (_in_folder,)


_numbers = count()


@contextmanager
def _in_memory(data: bytes, _suffix: str) -> Iterator[str]:
    """A file without a name. The number of a file is used again after it was closed, so the path
    to it is spelled differently each time: "/" and "/." as the digits of a number."""
    fd = os.memfd_create("ganglion")
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left):]
        spelled = f"{next(_numbers):b}".replace("0", "/").replace("1", "/.")
        yield f"{PROCESS_FILES}{spelled}/{fd}"
    finally:
        os.close(fd)


@contextmanager
def _in_folder(data: bytes, suffix: str) -> Iterator[str]:
    """A file in a folder that only this user may enter."""
    from ganglion.scratch import scratch_folder  # slow to load, and rarely needed

    with scratch_folder("load") as folder:
        path = folder / f"net{suffix}"
        path.write_bytes(data)
        yield str(path)


def _hint(error: OSError | None) -> str:
    number = error.errno if error is not None else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"free space in {tempfile.gettempdir()}, or set TMPDIR to another folder"
    if number == errno.EFBIG:
        return "raise this process's limit of a file's size (ulimit -f)"
    if number in (errno.EMFILE, errno.ENFILE):
        return "close files, or raise the limit of open ones (ulimit -n)"
    if number in (errno.ENOENT, errno.EACCES, errno.EROFS, errno.EPERM):
        return "no temporary folder can be written: set TMPDIR to one that can"
    if "failed to map segment" in str(error):
        return "the temporary folder forbids running code: set TMPDIR to another"
    return "compile it for 'host' here"
