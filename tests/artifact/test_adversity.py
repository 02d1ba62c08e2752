"""Builds in a bad place: many at once over a fresh cache, after a kill, without room or home."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact import Artifact
from ganglion.errors import GanglionError
from ganglion.scratch import NAMES

TARGETS = ("host", "raspberrypi4", "wasm32")
BUILD = ("import ganglion as gg; from ganglion import layers as L; "
         "gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(2)], name='line'), isas=('scalar',))")


def built(width: int, target: str = "host") -> Artifact:
    net = gg.Sequential([gg.Input((4,)), L.Dense(width, activation="tanh")], name="line")
    return gg.compile(net, target, isas=("scalar",) if target == "host" else None, check=False)


def build_three(seed: int) -> None:
    with ThreadPoolExecutor(len(TARGETS)) as pool:
        for one in pool.map(lambda t: built(seed % 2 + 2, t), TARGETS):
            assert one.library is not None


def test_processes_and_threads_build_at_once_over_a_fresh_cache(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "cache"))
    context = multiprocessing.get_context("spawn")
    builders = [context.Process(target=build_three, args=(seed,)) for seed in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0] * 4


def test_what_a_killed_build_leaves_is_no_hindrance_and_is_swept(tmp_path: Path) -> None:
    places = os.environ | {"TMPDIR": str(tmp_path)}
    killed = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", BUILD], env=places)
        end = time.monotonic() + 60
        while not any(NAMES.fullmatch(p.name) for p in tmp_path.iterdir()):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3
    subprocess.run([sys.executable, "-c", BUILD], env=places, check=True)
    assert not [p.name for p in tmp_path.iterdir() if NAMES.fullmatch(p.name)]


def test_a_build_needs_no_home(tmp_path: Path) -> None:
    barred = {k: v for k, v in os.environ.items()
              if k not in ("ZIG_GLOBAL_CACHE_DIR", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", BUILD],
                   env=barred | {"HOME": "/proc/none", "TMPDIR": str(tmp_path)}, check=True)


def without_room(folder: Path, what: str) -> None:
    """In a process of its own, for the limit stays."""
    one = built(2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    with pytest.raises(GanglionError, match=r"room|too large|large"):
        {"build": lambda: built(3), "save": lambda: one.save(folder),
         "open": lambda: gg.Session(folder)}[what]()


@pytest.mark.parametrize("what", ["build", "save", "open"])
def test_without_room_a_build_or_a_save_ends_with_an_error_of_its_own(tmp_path: Path, what: str
                                                                      ) -> None:
    built(2).save(tmp_path / "build")
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=without_room, args=(tmp_path / "build", what))
    process.start()
    process.join()
    assert process.exitcode == 0
    answer = gg.Session(tmp_path / "build").run(np.ones((1, 4), np.float32))
    assert answer.shape == (1, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["build"]
