"""zig's cache: where it is, and who may fill it.

zig makes the libraries that a program is linked with (C library, compiler's runtime) when they are
first needed, and keeps them for all processes of the user. Processes that fill one cache at once
may fail ("failed to rename compilation results": each renames its own folder into the same place).
So the first build of a kind holds a lock, and leaves a mark; those behind it find all there is and
only read.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ganglion.locks import locked

OURS = "ganglion"
"""The folder inside of the cache for lock and marks: whoever deletes the cache deletes them."""


def cache_folder(env: Mapping[str, str], otherwise: Path) -> Path:
    """zig's global cache under this environment, in zig's own order of places; `otherwise` where
    that can't be written (zig itself would fail, or wait for minutes)."""
    places = (("ZIG_GLOBAL_CACHE_DIR", ""), ("XDG_CACHE_HOME", "zig"), ("HOME", ".cache/zig"),
              ("LOCALAPPDATA", "zig"))
    named = next((Path(env[key]) / below for key, below in places if env.get(key)), None)
    return named if named is not None and _writable(named, os.getpid()) else otherwise


@cache
def _writable(folder: Path, _process: int) -> bool:
    """Whether files can be made there; tried, since rights alone don't say it."""
    try:
        (folder / OURS).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder / OURS):
            return True
    except OSError:
        return False


@contextmanager
def filling(cache_at: Path, command: Sequence[str], version: str) -> Iterator[None]:
    """Runs the body alone among processes and threads until a build of this kind has succeeded
    once with this cache. Raises OSError where the lock can't be taken."""
    ours = cache_at / OURS
    mark = ours / _kind(command, version)
    if mark.exists():
        yield
        return
    with alone(cache_at):
        yield
        mark.touch()


@contextmanager
def alone(cache_at: Path) -> Iterator[None]:
    """Holds the cache's lock. Raises OSError."""
    ours = cache_at / OURS
    ours.mkdir(parents=True, exist_ok=True)
    with locked(ours / "lock"):
        yield


def _kind(command: Sequence[str], version: str) -> str:
    """A name for all builds that need the same libraries: what a command says of the machine and
    the link, without sources, names and definitions."""
    told = [word for before, word in zip(["", *command], command)
            if (word.startswith("-") or before == "-target")
            and not word.startswith(("-D", "-Wl,--export="))]
    return hashlib.sha256("\0".join([version, *told]).encode()).hexdigest()[:32]
