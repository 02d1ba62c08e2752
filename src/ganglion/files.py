"""Files that are either whole or not there: written aside, synced, then renamed; and files of
strangers, which are opened by `open_regular` alone.

A full disk, an I/O error or a kill at any moment leaves what stood under the name before. Only
files beside the target, in the same folder, are ever touched, so a rename never crosses devices.
When writing, errors of the system (`OSError`: no space, no permission) reach the caller as they
are.
"""

import ctypes
import errno
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

from ganglion.errors import DataError, GanglionError, TrustError
from ganglion.locks import hold

AT_FDCWD = -100
MOST_TRIES = 1000
"""How often a save begins again because others changed its folder meanwhile."""

STALE_SECONDS = 3600.0
"""A file written aside that is this much older than a finished one was left by a killed run."""

MAX_JSON_BYTES = 16 << 20
"""Largest JSON that is parsed: its lists and numbers take up to thirty times as much memory."""


def open_regular(path: Path, error: type[GanglionError], limit: int | None = None) -> BinaryIO:
    """A file opened for reading which is a regular one and at most `limit` bytes long.

    A pipe, a device or a folder is refused, and none of them can hold the caller up. Raises
    `error` for what is missing, cannot be read or is too large, TrustError for what is no file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        # Looked at before it is opened, because opening a device may do something already.
        _require_regular(path, Path(path).stat().st_mode)
        fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as missing:
        raise error(f"cannot read {path}: no such file") from missing
    except (OSError, ValueError) as failed:
        raise error(f"cannot read {path}: {failed}") from failed
    file = os.fdopen(fd, "rb")
    try:
        status = os.fstat(fd)
        _require_regular(path, status.st_mode)
        if limit is not None and status.st_size > limit:
            raise error(f"{path} has {status.st_size} bytes, expected at most {limit}")
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, error: type[GanglionError], limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises as `open_regular`."""
    with open_regular(path, error, limit) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = file.read(size + 1)  # reading takes room for all that it may get
        except OSError as failed:
            raise error(f"cannot read {path}: {failed}") from failed
    if len(data) > size:
        raise error(f"{path} grows while it is read, beyond {size} bytes")
    return data


def parse_json(data: bytes | str, error: type[GanglionError], what: str, *,
               finite: bool = True) -> object:
    """JSON as RFC 8259 has it: no NaN (unless not `finite`), and no name twice in an object, whose
    meaning would depend on the reader. Raises `error`, which calls it `what`."""
    if len(data) > MAX_JSON_BYTES:
        raise error(f"{what} has {len(data)} bytes, expected at most {MAX_JSON_BYTES}")
    try:
        return json.loads(data, object_pairs_hook=_named_once,
                          parse_constant=_no_constant if finite else float)
    except (ValueError, RecursionError) as failed:
        raise error(f"{what} is not JSON: {failed}") from failed


def _named_once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"an object names something twice: {[name for name, _ in pairs][:20]}")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise TrustError(f"{path} is {kind}, expected a file")


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces the file at `path` by `data`, or leaves it as it was and raises OSError.

    A symbolic link is followed: the file that it names is replaced, the link stays.
    """
    target = Path(os.path.realpath(path))
    aside = _aside(target, "partial")
    try:
        _write_synced(aside, data)
        aside.replace(target)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    _sync_folder(target.parent)
    _sweep(target, "partial")


def replace_folder(path: Path, files: Mapping[str, bytes], *,
                   marker: str = "manifest.json") -> None:
    """Replaces the folder at `path` by one that holds exactly `files` (relative name -> bytes).

    The new folder is written aside, then takes the old one's place in one step, and the old one is
    deleted: whoever opens the folder finds one of them, whole, and of several calls at once each
    puts its own there, whole, and the last one's stays. Where the system can't exchange two
    folders, the old one is renamed away and the new one renamed in. A kill between these two leaves
    the old folder under a hidden name, from where the next call, or `recover_folder`, brings it
    back.

    `marker` is the file that tells our folders from others: it must be among `files`, and an
    existing folder with anything in it but no marker is refused, so that a wrong `path` deletes
    nothing. Raises DataError for that, TrustError for a name that leaves the folder, OSError.
    """
    if marker not in files:
        raise ValueError(f"the files to write lack the marker {marker!r}: {sorted(files)}")
    for name in files:
        _check_name(name)
    target = Path(os.path.realpath(path))
    new = _aside(target, "new")
    try:
        recover_folder(target)
        _check_ours(target, marker)
        _write_folder(new, files)
        for _ in range(MOST_TRIES):
            if _put(new, target, marker):
                break
        else:
            raise DataError(f"{target} could not be replaced: other processes kept changing it; "
                            "let one of them write at a time")
    except BaseException:
        with suppress(OSError):
            recover_folder(target)
        shutil.rmtree(new, ignore_errors=True)
        raise
    _sync_folder(target.parent)
    shutil.rmtree(new, ignore_errors=True)  # the old one, where there was one
    _discard(target)
    _sweep(target, "new")


def _put(new: Path, target: Path, marker: str) -> bool:
    """Puts a folder in the place of `target`, which then is `new` or retired, if it was there.

    False, and nothing changed, where another process changed `target` meanwhile."""
    try:
        if not target.exists():
            new.rename(target)
            return True
        _check_ours(target, marker)
        if _exchange(new, target):
            return True
        with _alone(target.parent):
            target.rename(_retired(target))
            new.rename(target)
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) or not new.exists():
            raise
        with _alone(target.parent):
            recover_folder(target)
        return False


def _exchange(one: Path, two: Path) -> bool:
    """Lets two folders change places in one step; False where the system can't.

    Linux: renameat2 with RENAME_EXCHANGE; macOS: renamex_np with RENAME_SWAP."""
    names = os.fsencode(one), os.fsencode(two)
    if sys.platform == "win32":
        return False
    process = ctypes.CDLL(None, use_errno=True)
    if hasattr(process, "renameat2"):
        failed = process.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], 2)
    elif hasattr(process, "renamex_np"):
        failed = process.renamex_np(*names, 2)
    else:
        return False
    number = ctypes.get_errno() if failed else 0
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    if failed:
        raise OSError(number, os.strerror(number), str(two))
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, where folders have one, so that two renames stay together."""
    if os.name != "posix":
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # network drives may refuse; renames that meet are tried again
            hold(fd, wait=True)
        yield
    finally:
        os.close(fd)


def recover_folder(path: Path) -> None:
    """Finishes what a killed `replace_folder` left: brings the old folder back if none is there.

    Does nothing when there is nothing to recover. Whoever opens such a folder may call it first.
    """
    target = Path(os.path.realpath(path))
    old = _retired(target)
    if not old.exists():
        return
    if target.exists():
        _discard(target)
        return
    try:
        old.rename(target)
    except OSError as error:  # another process brought it back, or put a new one there
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
    _sync_folder(target.parent)


def _retired(target: Path) -> Path:
    """Where the old folder waits between the two renames: one fixed name, so that it is found."""
    return target.parent / f".{target.name}.old"


def _aside(target: Path, kind: str) -> Path:
    """A name nobody else uses: two writers at once must not write into each other's file."""
    return target.parent / f".{target.name}.{secrets.token_hex(8)}.{kind}"


def _discard(target: Path) -> None:
    """Deletes a retired folder. It is renamed first: a half-deleted one must never be recovered."""
    trash = _aside(target, "new")
    with suppress(OSError):
        _retired(target).rename(trash)
        shutil.rmtree(trash)


def _sweep(target: Path, kind: str) -> None:
    """Deletes what killed runs left beside `target`, judged against the time of `target` itself."""
    with suppress(OSError):
        finished = target.stat().st_mtime
        for left in target.parent.iterdir():
            ours = left.name.startswith(f".{target.name}.") and left.name.endswith(f".{kind}")
            if ours and left.lstat().st_mtime < finished - STALE_SECONDS:
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    folders = {folder}
    for name, data in sorted(files.items()):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(place, data)
        folders.update(p for p in place.parents if folder in p.parents)
    for each in folders:
        _sync_folder(each)


def _write_synced(path: Path, data: bytes) -> None:
    """Creates the file (never follows or overwrites) and waits until the disk has its bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left):]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable, where the system lets folders be opened."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in name or "\0" in name:
        raise TrustError(f"refusing to write {name!r}: it would leave the folder; "
                         "use a relative name without '..'")


def _check_ours(target: Path, marker: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(f"{target} is a file, expected a folder to write into; "
                        "choose another path or move the file away")
    if any(target.iterdir()) and not (target / marker).exists():
        raise DataError(f"{target} holds files but no {marker}, so it was not written by this "
                        "project and will not be replaced; choose a new or an empty folder")
