"""Locks between processes and threads: files that one holds, and that the dead hold no longer."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
    import time

    def hold(fd: int, *, wait: bool) -> bool:
        """Takes the lock of an open file, until it is closed; False where another has it."""
        while True:
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.05)
            else:
                return True
else:
    import fcntl

    def hold(fd: int, *, wait: bool) -> bool:
        """Takes the lock of an open file, until it is closed; False where another has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock at `path`, a file that is made where it is missing and stays; waits for
    whoever has it. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        hold(fd, wait=True)
        yield
    finally:
        os.close(fd)
