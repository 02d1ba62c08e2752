"""Runs on disk: killed at any moment they end with the bits of the undisturbed run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.federated.small import data, parts, plan

from ganglion import federated as fed
from ganglion.errors import DataError
from ganglion.federated.store import FILE, read_rounds

SETTINGS = {"rounds": 6, "up": fed.TopK(0.2), "down": fed.TopK(0.3), "method": fed.Scaffold(),
            "correction": True, "personal": ["head/bias"]}
ROOT = Path(__file__).parents[2]

RUN = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
import numpy as np
from tests.federated.test_store import SETTINGS, TEST, broken_parts
from tests.federated.small import plan
from ganglion import federated as fed
print("ready", flush=True)
fed.simulate(plan(**SETTINGS), broken_parts(), TEST, run=sys.argv[1])
"""
TEST = data(200, seed=1)


def broken_parts() -> list[fed.Part]:
    """One device of them never manages to learn."""
    given = parts()
    given[4] = (np.full_like(given[4][0], np.inf), given[4][1])
    return given


def test_a_killed_run_ends_with_the_bits_of_the_undisturbed_one(tmp_path: Path) -> None:
    whole = fed.simulate(plan(**SETTINGS), broken_parts(), TEST)
    draw, kills = np.random.default_rng(0), 0
    for attempt in range(40):
        with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)],
                              stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if attempt < 8:
                time.sleep(draw.uniform(0.1, 0.8))
                process.send_signal(signal.SIGKILL)
        if process.returncode == 0:
            break
        kills += 1
    again = fed.simulate(plan(**SETTINGS), broken_parts(), TEST, run=tmp_path)
    assert kills >= 2
    assert again.rounds == whole.rounds
    assert again.figures == whole.figures
    for name, array in whole.weights.items():
        assert np.array_equal(array, again.weights[name]), name


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_round_that_was_half_answered_is_not_counted_twice(tmp_path: Path, stop: int) -> None:
    """The process ends behind the `stop`-th answer of a round: here by an error of the disk."""
    whole = fed.simulate(plan(**SETTINGS), broken_parts(), TEST)
    first = fed.Simulation(plan(**SETTINGS), broken_parts(), run=tmp_path)
    first.step(TEST)
    kept = first.store.answered
    seen: list[int] = []

    def failing(client: int, *rest: object) -> None:
        if len(seen) == stop:
            raise OSError("the disk is gone")
        seen.append(client)
        kept(client, *rest)

    first.store.answered = failing
    with pytest.raises(OSError, match="disk is gone"):
        first.step(TEST)
    first.store.close()
    again = fed.simulate(plan(**SETTINGS), broken_parts(), TEST, run=tmp_path)
    assert again.rounds == whole.rounds
    assert all(np.array_equal(a, again.weights[name]) for name, a in whole.weights.items())


def test_a_run_that_is_done_is_read_back(tmp_path: Path) -> None:
    history = fed.simulate(plan(), parts(), TEST, run=tmp_path)
    assert [r for r, _ in read_rounds(tmp_path)] == history.rounds
    assert fed.simulate(plan(), parts(), TEST, run=tmp_path).figures == history.figures


def test_another_plan_does_not_take_up_a_run(tmp_path: Path) -> None:
    fed.simulate(plan(rounds=1), parts(), run=tmp_path)
    for other, given in ((plan(rounds=1, seed=9), parts()), (plan(rounds=1), parts(3))):
        with pytest.raises(DataError, match="another plan"):
            fed.simulate(other, given, run=tmp_path)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        read_rounds(tmp_path)
    (tmp_path / FILE).write_bytes(b"something else, and long enough to be read as a page" * 40)
    with pytest.raises(DataError, match="can't be read"):
        read_rounds(tmp_path)
    with pytest.raises(DataError, match="cannot keep the run"):
        fed.simulate(plan(rounds=1), parts(), run=tmp_path)
