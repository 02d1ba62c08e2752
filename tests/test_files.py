"""Laws of safe writing: whatever fails, and whenever, a reader finds the old or the new, whole."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ganglion import files
from ganglion.errors import DataError, TrustError

CALLS = ("open", "write", "fsync", "close", "replace", "rename", "mkdir", "unlink", "rmdir")
OLD = {"manifest.json": b"old", "net.c": b"int old;"}
NEW = {"manifest.json": b"new", "src/net.h": b"new" * 1000}


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Disk:
    """Counts the system calls of `os`; from call number `at` on they fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, dead: bool) -> None:
        self.count, self.at, self.dead = 0, at, dead
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            self.count += 1
            if self.dead and self.count >= self.at:
                raise Killed
            if self.count == self.at:
                if call.__name__ == "close":
                    call(*args, **kwargs)
                raise OSError(errno.ENOSPC, "no space left on device")
            return call(*args, **kwargs)
        return wrapped


def read(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*") if p.is_file()}


def steps_of(action: Callable[[], None]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, at=10**9, dead=False)
        action()
    return disk.count


def fails(action: Callable[[], None], at: int, dead: bool) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, at, dead)
        try:
            action()
        except (OSError, Killed):
            return True
    return False


@pytest.mark.parametrize("dead", [False, True], ids=["error", "kill"])
def test_file_is_old_or_new_after_a_failure_at_any_step(tmp_path: Path, dead: bool) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    steps = steps_of(lambda: files.write_atomic(path, b"new"))
    assert path.read_bytes() == b"new"
    failures = 0
    for at in range(1, steps + 1):
        path.write_bytes(b"old")
        failures += fails(lambda: files.write_atomic(path, b"new"), at, dead)
        assert path.read_bytes() in (b"old", b"new")
        if not dead and path.read_bytes() == b"old":
            assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert failures > steps // 2


@pytest.mark.parametrize("dead", [False, True], ids=["error", "kill"])
def test_folder_is_old_or_new_after_a_failure_at_any_step(tmp_path: Path, dead: bool) -> None:
    trial = tmp_path / "trial" / "digits"
    trial.parent.mkdir()
    files.replace_folder(trial, OLD)
    steps = steps_of(lambda: files.replace_folder(trial, NEW))
    failures = 0
    for at in range(1, steps + 1):
        path = tmp_path / str(at) / "digits"
        path.parent.mkdir()
        files.replace_folder(path, OLD)
        failures += fails(lambda path=path: files.replace_folder(path, NEW), at, dead)
        if dead:
            files.recover_folder(path)
        assert read(path) in (OLD, NEW)
        files.replace_folder(path, NEW)
        assert read(path) == NEW
    assert failures > steps // 2


def test_first_save_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "digits"
    assert fails(lambda: files.replace_folder(path, NEW), 5, dead=False)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_in_the_middle_of_the_bytes_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(b"old")
    code = ("import resource, sys\nfrom pathlib import Path\nfrom ganglion.files import *\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
            "try: write_atomic(Path(sys.argv[1]), bytes(20000))\n"
            "except OSError: sys.exit(7)\n")
    source = str(Path(files.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False,
                          env={**os.environ, "PYTHONPATH": source})
    assert done.returncode == 7
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["big.bin"]


def test_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"old")
    link = tmp_path / "a"
    link.symlink_to(tmp_path / "real" / "a")
    files.write_atomic(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"new"


def test_new_file_follows_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    files.write_atomic(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_leftovers_of_a_killed_run_are_swept_and_fresh_ones_are_not(tmp_path: Path) -> None:
    stale, fresh = tmp_path / ".a.00.partial", tmp_path / ".a.11.partial"
    stale.write_bytes(b"")
    fresh.write_bytes(b"")
    os.utime(stale, (0, 0))
    files.write_atomic(tmp_path / "a", b"new")
    assert not stale.exists()
    assert fresh.exists()


def test_folder_of_somebody_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_bytes(b"years of work")
    with pytest.raises(DataError, match=r"manifest\.json"):
        files.replace_folder(tmp_path, NEW)
    assert read(tmp_path) == {"thesis.txt": b"years of work"}


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(DataError, match="is a file"):
        files.replace_folder(tmp_path / "x", NEW)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a\\..\\x", "a\0b"])
def test_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrustError, match="relative name"):
        files.replace_folder(tmp_path / "d", {**NEW, name: b""})
    assert list(tmp_path.iterdir()) == []
