"""A run killed at any step resumes to the same final weights, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support import killed_run
from tests.support.killed_run import EPOCHS, STEPS, run, weights
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.errors import DataError
from ganglion.training.callbacks import (
    Callback,
    History,
    LambdaCallback,
    Logs,
    ReduceLROnPlateau,
    Run,
)
from ganglion.training.fit import problem_of
from ganglion.training.loop.compiled import compiled
from ganglion.training.loop.epochs import train
from ganglion.training.loop.run import Saved


class Interrupt(Callback):
    """Ends a run within its process after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_batch_end(self, step: int, logs: Logs, run: Run) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, np.ndarray], History]:
    model, history = run()
    return weights(model), history


def test_the_run_uses_what_a_checkpoint_must_keep(
        whole: tuple[dict[str, np.ndarray], History]) -> None:
    rates = whole[1].history["learning_rate"]
    assert len(rates) == EPOCHS
    assert rates[0] > rates[-1] > 0


@pytest.mark.parametrize("every", [1, 4, 100])
def test_an_interrupted_run_ends_with_the_same_bits(
        every: int, tmp_path: Path, whole: tuple[dict[str, np.ndarray], History]) -> None:
    """Killed in the first step, around the end of an epoch, in the last step, anywhere."""
    drawn = np.random.default_rng(every).choice(range(1, STEPS), 2, replace=False)
    for killed in (1, STEPS // EPOCHS, STEPS) if every == 1 else drawn:
        file = tmp_path / f"{killed}.npz"
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint=file, every=every, callbacks=(Interrupt(killed),))
        model, resumed = run(checkpoint=file, every=every)
        assert _same(weights(model), whole[0]), killed
        assert resumed == whole[1]


def _child(how: str, where: str, count: int, folder: Path) -> int:
    """How a run in a process of its own ended, negative for a signal."""
    paths = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, killed_run.__file__, how, where, str(count), str(folder / "run.npz"),
         str(folder / "end.npz")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, check=False).returncode


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_killed_at_drawn_steps_ends_with_the_same_bits(
        tmp_path: Path, whole: tuple[dict[str, np.ndarray], History]) -> None:
    """Killed again and again, in steps and while it writes, until it gets through."""
    rng = np.random.default_rng(7)
    for where in ("step", "sync"):
        assert _child("reference", where, int(rng.integers(2, 8)), tmp_path) == -signal.SIGKILL
    left = {path.name for path in tmp_path.glob("*") if not path.name.startswith(".")}
    assert left == {"run.npz"}, "what was being written never had a plain name"
    assert _child("reference", "step", 0, tmp_path) == 0
    with np.load(tmp_path / "end.npz") as found:
        assert _same(dict(found), whole[0])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_compiled_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert _child("compiled", "step", 8, tmp_path) == -signal.SIGKILL
    model, _ = run(compiled, tmp_path / "run.npz")
    assert _same(weights(model), weights(run(compiled)[0]))


def test_callbacks_hear_every_event_once_over_both_parts_of_a_run(tmp_path: Path) -> None:
    def note(heard: list[str], kill: int) -> LambdaCallback:
        interrupt = Interrupt(kill)

        def step(number: int, logs: Logs, run: Run) -> None:
            heard.append(f"step {number}")
            interrupt.on_batch_end(number, logs, run)

        return LambdaCallback(on_epoch_begin=lambda e, run: heard.append(f"begin {e}"),
                              on_batch_end=step,
                              on_epoch_end=lambda e, logs, run: heard.append(f"end {e}"))

    unbroken: list[str] = []
    run(callbacks=(note(unbroken, 0),))
    parts: list[str] = []
    file = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=file, every=2, callbacks=(note(parts, 9),))
    repeated = parts.pop()  # step 9 is not in the checkpoint of step 8
    run(checkpoint=file, every=2, callbacks=(note(parts, 0),))
    assert parts == unbroken
    assert repeated in parts


def test_a_stream_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """From a generator that starts anew in the new process, as one that reads a file does."""
    def stream() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(2)
        while True:
            x = rng.normal(size=(4, 3)).astype(np.float32)
            yield x, x.sum(1)

    def learn(**more: object) -> dict[str, np.ndarray]:
        model = L.Sequential([L.Input((3,)), L.Dense(4, "tanh"), L.Dense(1)], seed=0)
        problem = problem_of(model, stream(), loss="mse", optimizer="adam", epochs=3,
                             steps_per_epoch=5, **more)  # type: ignore[arg-type]
        return weights(train(problem, NumpyStepper)[0])

    settings = {"checkpoint": tmp_path / "run.npz", "checkpoint_steps": 3}
    with pytest.raises(KeyboardInterrupt):
        learn(callbacks=[Interrupt(8)], **settings)
    assert _same(learn(**settings), learn())


def test_a_checkpoint_wants_the_callbacks_that_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    run(checkpoint=file)
    with pytest.raises(DataError, match="callbacks differ"):
        run(checkpoint=file, callbacks=(ReduceLROnPlateau("loss"),))


def test_a_cut_off_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=file, callbacks=(Interrupt(9),))
    data = file.read_bytes()
    for length in range(0, len(data), len(data) // 5):
        file.write_bytes(data[:length])
        with pytest.raises(DataError, match="not a readable checkpoint"):
            run(checkpoint=file)


def numbers(value: object, at: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The places of all numbers in nested lists and dicts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*at, key))
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from numbers(inner, (*at, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at


def test_a_checkpoint_whose_numbers_are_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=file, callbacks=(Interrupt(9),))
    with np.load(file) as held:
        arrays = dict(held)
    text = arrays["meta"].tobytes().decode()
    places = list(numbers(json.loads(text)))
    counts = [p for p in places if p[-1] in ("epoch", "step", "taken", "rows", "version")]
    assert len(counts) == 5
    wrong = [(p, bad) for p in places for bad in ("Infinity", "NaN", "1e999", '"a"', "[]")]
    for place, bad in [*wrong, *((p, bad) for p in counts for bad in ("-1", "null", "0.5"))]:
        meta = json.loads(text)
        inner = meta
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = "@"
        written = json.dumps(meta).replace('"@"', bad)
        arrays["meta"] = np.frombuffer(written.encode(), np.uint8)
        np.savez(file, **arrays)
        with pytest.raises(DataError, match="checkpoint"):
            run(checkpoint=file)


def test_what_a_checkpoint_cannot_keep_is_said(tmp_path: Path) -> None:
    class Odd(Callback):
        def state(self) -> Saved:
            return {"x": object()}  # type: ignore[dict-item]

    with pytest.raises(DataError, match="state of a callback"):
        run(checkpoint=tmp_path / "run.npz", callbacks=(Odd(),))


def test_a_checkpoint_that_could_not_be_written_is_refused_before_the_first_step(
        tmp_path: Path) -> None:
    steps: list[int] = []
    heard = LambdaCallback(on_batch_end=lambda step, logs, run: steps.append(step))
    for file in (tmp_path, tmp_path / "missing" / "run.npz"):
        with pytest.raises(DataError, match="a file in a folder that exists"):
            run(checkpoint=file, callbacks=(heard,))
    assert not steps


def test_a_callback_that_has_nothing_to_keep_at_first_goes_on_too(tmp_path: Path) -> None:
    class Late(Callback):
        def __init__(self) -> None:
            self.seen = 0

        def on_batch_end(self, step: int, logs: Logs, run: Run) -> None:
            self.seen += 1

        def state(self) -> Saved:
            return {"seen": self.seen} if self.seen else {}

        def restore(self, state: Saved) -> None:
            self.seen = int(state["seen"] or 0)

    file, late = tmp_path / "run.npz", Late()
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=file, every=1, callbacks=(Late(), Interrupt(3)))
    run(checkpoint=file, every=1, callbacks=(late, Interrupt(-1)))
    assert late.seen == STEPS
