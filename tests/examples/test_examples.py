"""The examples learn from the real data: a little in a few seconds, and to their bar in minutes.

The full bars are marked slow and run where GANGLION_FULL is set (the gate does).
"""

import os
from pathlib import Path

import numpy as np
import pytest
from examples.common import accuracy, download, held_out, need

from examples import bearings, heart_beats, mnist, spoken_digits
from ganglion.errors import DataError


def _folder(name: str) -> Path:
    folder = os.environ.get("GANGLION_DATA")
    if folder is None or not (Path(folder) / name).exists():
        pytest.skip(f"needs {name} in the folder that GANGLION_DATA names")
    return Path(folder)


@pytest.fixture
def full() -> None:
    if not os.environ.get("GANGLION_FULL"):
        pytest.skip("trains for up to a minute or two: set GANGLION_FULL=1")


def test_digits_are_learnt_a_little_from_some_images() -> None:
    x, y, xt, yt = mnist.load(_folder("mnist.npz"))
    net, _ = mnist.train(x[:5000], y[:5000], xt[:1000], yt[:1000], seed=0, epochs=2)
    assert accuracy(net, xt, yt) > 0.88


@pytest.mark.slow
@pytest.mark.usefixtures("full")
def test_digits_pass_99_percent() -> None:
    x, y, xt, yt = mnist.load(_folder("mnist.npz"))
    net, seconds = mnist.train(x, y, xt, yt, seed=0, epochs=mnist.EPOCHS)
    assert accuracy(net, xt, yt) >= 0.99
    assert seconds is not None


def _speech(epochs: int) -> float:
    data = spoken_digits.load(_folder("fsdd_recordings.zip"))
    test = data.number < 5
    x = spoken_digits.features(data, ~test)
    net = spoken_digits.train(x[~test], data.digit[~test], 0, epochs)
    return accuracy(net, x[test], data.digit[test])


def test_spoken_digits_are_learnt_a_little_in_three_epochs() -> None:
    assert _speech(3) > 0.85


@pytest.mark.slow
@pytest.mark.usefixtures("full")
def test_spoken_digits_pass_95_percent_of_the_standard_test_part() -> None:
    assert _speech(spoken_digits.EPOCHS) > 0.95


def test_faults_are_recognised_at_a_speed_never_trained_at_from_short_recordings() -> None:
    data = {key: sound[:20_000]
            for key, sound in bearings.load(_folder("cwru_drive_end.npz")).items()}
    speeds, left = bearings.cases(select=False)[-1]
    x, y = bearings.windows(data, left, bearings.WINDOW)
    assert accuracy(bearings.train(data, speeds, 0, 4), x, y) > 0.8


@pytest.mark.slow
@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("left", bearings.SPEEDS)
def test_faults_pass_92_percent_at_every_speed_left_out(left: int) -> None:
    data = bearings.load(_folder("cwru_drive_end.npz"))
    x, y = bearings.windows(data, left, bearings.WINDOW)
    speeds = [s for s in bearings.SPEEDS if s != left]
    assert accuracy(bearings.train(data, speeds, 0, bearings.EPOCHS), x, y) >= 0.92


def _beats(epochs: int, parts: int) -> float:
    x, y = heart_beats.load(_folder("timeseries/ECG5000_TRAIN.txt"))
    cases = list(heart_beats.cases(y, select=False))[:parts]
    return float(np.mean([accuracy(heart_beats.train(x[learn], y[learn], 0, epochs), x[test],
                                   y[test]) for learn, test in cases]))


def test_heart_beats_are_learnt_a_little_in_ten_epochs() -> None:
    assert _beats(10, 1) > 0.8


@pytest.mark.slow
@pytest.mark.usefixtures("full")
def test_heart_beats_pass_90_percent_over_five_parts() -> None:
    assert _beats(heart_beats.EPOCHS, heart_beats.PARTS) >= 0.9


def test_the_parts_share_every_class_and_no_row() -> None:
    y = np.repeat([0, 1, 2], [50, 7, 2])
    part = held_out(y, 5)
    for label in range(3):
        counts = np.bincount(part[y == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    for learn, test in heart_beats.cases(y, select=False):
        assert sorted([*learn, *test]) == list(range(len(y)))


def test_settings_are_chosen_without_the_rows_that_test() -> None:
    y = np.repeat([0, 1, 2], [50, 7, 2])
    tested = np.flatnonzero(held_out(y, 5) == 4)
    for learn, test in heart_beats.cases(y, select=True):
        assert not np.isin(tested, [*learn, *test]).any()
        assert not np.isin(learn, test).any()
    unseen = bearings.SPEEDS[-1]
    for speeds, left in bearings.cases(select=True):
        assert left not in speeds
        assert unseen not in (*speeds, left)


def test_the_bearing_centers_own_files_are_read_by_their_numbers(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    for first in bearings.NUMBERS.values():
        for k in range(4):
            scipy_io.savemat(tmp_path / f"{first + k}.mat",
                             {f"X{first + k:03d}_DE_time": np.full((9, 1), float(first + k))})
    data = bearings.load(tmp_path)
    assert data[1797, "B_7"][0] == 118
    assert data[1730, "OR6_21"][0] == 237
    assert len({sound[0] for sound in data.values()}) == 36


def test_missing_data_is_refused_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="get it from the archive"):
        need(tmp_path / "a.txt", "the archive")
    with pytest.raises(DataError, match=r"105\.mat|118\.mat"):
        bearings.load(tmp_path)


def test_a_download_with_other_bytes_is_not_kept(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "kept"
    source.write_bytes(b"something else")
    with pytest.raises(DataError, match="SHA-256"):
        download(source.as_uri(), path, "0" * 64)
    assert not path.exists()
