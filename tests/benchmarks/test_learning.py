"""What the benchmark of learning counts: rows, seconds, installed bytes."""

import time

import numpy as np
from benchmarks.installed import closure, installed_bytes
from benchmarks.learning import BATCH, LEARNERS, QUARTERS, Digits, Meter
from benchmarks.trainers import TRAINERS


def digits(rows: int) -> Digits:
    x = np.arange(rows, dtype=np.float32).reshape(rows, 1, 1, 1)
    return Digits(x, np.arange(rows, dtype=np.int32), x[:4], np.array([0, 1, 2, 3], np.int32))


def test_the_quarters_of_an_epoch_are_whole_batches_of_different_rows() -> None:
    parts = digits(BATCH * 9).parts(0)
    assert [len(x) for x, _ in parts] == [2 * BATCH] * QUARTERS
    seen = np.concatenate([y for _, y in parts])
    assert len(np.unique(seen)) == len(seen)
    for x, y in parts:
        np.testing.assert_array_equal(x.ravel(), y)


def test_the_clock_stands_while_the_network_is_judged() -> None:
    meter = Meter(digits(8))
    meter.start()

    def slow(x: np.ndarray) -> np.ndarray:
        time.sleep(0.2)
        return np.eye(10)[[0, 1, 2, 9]]

    assert not meter.reached(slow)
    assert not meter.reached(slow)
    assert meter.seconds < 0.2
    assert [accuracy for _, accuracy in meter.points] == [0.75, 0.75]
    assert meter.reached(lambda x: np.eye(10)[:4])


def test_every_trainer_learns_too() -> None:
    assert list(LEARNERS) == list(TRAINERS)


def test_installed_bytes_count_each_requirement_once() -> None:
    assert {"scikit-learn", "numpy", "scipy"} <= closure("scikit-learn")
    both = installed_bytes("sklearn", "numpy")
    assert both == installed_bytes("sklearn") > installed_bytes("numpy") > 1_000_000
