"""Folders for files of a moment, in the system's temporary folder.

A process that is killed can't delete its own. So each holds a lock while it lives, and the first
folder that a process makes deletes those whose owners are dead.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ganglion.locks import hold

NAMES = re.compile(r"ganglion-[a-z]+-[a-z0-9_]{8}")
LOCK = ".lock"
STALE_SECONDS = 3600.0
"""A folder without a lock is one that is being made, or was left as it was being made."""


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A folder that only this user may enter, deleted at the end. `purpose`: letters for its name.

    Raises OSError where there is no temporary folder that can be written."""
    place = Path(tempfile.gettempdir())
    _sweep_once(place, os.getpid())
    folder, lock = _taken(place, purpose)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _taken(place: Path, purpose: str) -> tuple[Path, int]:
    """A new folder, and the open file whose lock says that its owner lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"ganglion-{purpose}-", dir=place))
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        hold(lock, wait=True)
        if (folder / LOCK).exists():
            return folder, lock
        os.close(lock)  # somebody swept it before it was locked


@cache
def _sweep_once(place: Path, _process: int) -> None:
    """Deletes what killed processes of this user left in `place`; once in each process."""
    with suppress(OSError):
        for left in place.iterdir():
            if NAMES.fullmatch(left.name):
                _sweep(left)


def _sweep(folder: Path) -> None:
    with suppress(OSError):
        found = folder.lstat()
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            return
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            if found.st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
            return
        try:
            dead = hold(lock, wait=False)
        finally:
            if os.name == "nt":
                os.close(lock)
        if dead:
            shutil.rmtree(folder, ignore_errors=True)
        if os.name != "nt":
            os.close(lock)
