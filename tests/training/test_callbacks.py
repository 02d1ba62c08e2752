"""Callbacks, schedules and weights of samples: what a run does with them, and what it refuses."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.killed_run import weights
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.errors import DataError
from ganglion.ops.evaluate import evaluate as reference
from ganglion.training.callbacks import (
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from ganglion.training.evaluate import evaluate
from ganglion.training.fit import problem_of
from ganglion.training.loop.epochs import train
from ganglion.training.optimizers import SGD, Adam, schedules

ROWS, BATCH = 12, 4
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 3)).astype(np.float32)
Y = X.sum(1)


def _net() -> ir.Model:
    return L.Sequential([L.Input((3,)), L.Dense(4, "tanh"), L.Dense(1)], seed=0)


def _fit(x: np.ndarray = X, y: np.ndarray = Y, **settings: object) -> tuple[ir.Model, History]:
    settings = {"loss": "mse", "optimizer": "sgd", "batch_size": BATCH, "epochs": 3} | settings
    return train(problem_of(_net(), x, y, **settings), NumpyStepper)  # type: ignore[arg-type]


def _equal(a: ir.Model, b: ir.Model, tolerance: float = 0.0) -> bool:
    left, right = weights(a), weights(b)
    return all(np.allclose(left[k], right[k], rtol=0, atol=tolerance) for k in left)


def test_the_history_shows_the_rate_of_each_epochs_last_step() -> None:
    rate = schedules.ExponentialDecay(0.1, decay_steps=3, decay_rate=0.5)
    _, history = _fit(optimizer=SGD(learning_rate=rate))
    assert history.history["learning_rate"] == [rate(2), rate(5), rate(8)]
    assert "learning_rate" not in _fit()[1].history


def test_a_scheduler_sets_the_rate_before_each_epoch() -> None:
    callback = LearningRateScheduler(lambda epoch, rate: rate if epoch < 1 else rate / 2)
    trained, history = _fit(callbacks=[callback], optimizer=SGD(learning_rate=0.1))
    assert history.history["learning_rate"] == [0.1, 0.05, 0.025]
    steps = schedules.PiecewiseConstantDecay([2, 5], [0.1, 0.05, 0.025])
    assert _equal(trained, _fit(optimizer=SGD(learning_rate=steps))[0])


def test_one_thing_sets_the_rate() -> None:
    optimizer = SGD(learning_rate=schedules.ExponentialDecay(0.1, 10, 0.9))
    with pytest.raises(DataError, match="ReduceLROnPlateau sets the learning rate"):
        _fit(optimizer=optimizer, callbacks=[ReduceLROnPlateau("loss")])

    def meddle(epoch: int, run: object) -> None:
        run.learning_rate = 0.5  # type: ignore[attr-defined]

    with pytest.raises(DataError, match="a callback set the learning rate"):
        _fit(optimizer=optimizer, callbacks=[LambdaCallback(on_epoch_begin=meddle)])


def test_what_a_callback_watches_must_be_there_before_any_step() -> None:
    for callback in (ReduceLROnPlateau(), ModelCheckpoint("net.onnx", save_best_only=True)):
        with pytest.raises(DataError, match="give validation_data"):
            _fit(callbacks=[callback])


def test_the_log_holds_every_epoch_and_is_that_of_the_history(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    _, history = _fit(metrics=["mae"], callbacks=[CSVLogger(file, separator=";")])
    lines = [line.split(";") for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == ["epoch", "loss", "mae"]
    assert [int(line[0]) for line in lines[1:]] == [0, 1, 2]
    assert [float(line[1]) for line in lines[1:]] == history.history["loss"]


def test_models_are_saved_after_every_epoch_under_its_name(tmp_path: Path) -> None:
    trained, history = _fit(callbacks=[ModelCheckpoint(tmp_path / "n{epoch:02d}-{loss:.3f}.onnx")])
    names = [f"n{k + 1:02d}-{loss:.3f}.onnx" for k, loss in enumerate(history.history["loss"])]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert _equal(ir.load(tmp_path / names[-1]), trained)


def test_the_best_model_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    """A rate that grows too large makes the later epochs worse."""
    file = tmp_path / "best.onnx"
    held = (X[:5], Y[:5])
    grow = LearningRateScheduler(lambda epoch, rate: [0.05, 0.05, 0.05, 2.0, 3.0][epoch])
    best, history = _fit(
        epochs=5, validation_data=held, restore_best_weights=True,
        callbacks=[grow, ModelCheckpoint(file, save_best_only=True)])
    values = history.history["val_loss"]
    assert values.index(min(values)) not in (0, 4)
    assert _equal(ir.load(file), best)


@pytest.mark.parametrize("pattern", ["net-{nothing}.onnx", "net-{}.onnx", "net-{epoch.onnx"])
def test_a_file_name_that_cannot_be_filled_in_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be filled in"):
        _fit(callbacks=[ModelCheckpoint(tmp_path / pattern)])


def test_a_file_without_a_folder_is_refused_before_the_first_step(tmp_path: Path) -> None:
    steps: list[int] = []
    heard = LambdaCallback(on_batch_end=lambda step, logs, run: steps.append(step))
    for writer in (CSVLogger(tmp_path / "no" / "log.csv"),
                   ModelCheckpoint(tmp_path / "no" / "{epoch}.onnx")):
        with pytest.raises(DataError, match="there is no folder"):
            _fit(callbacks=[writer, heard])
    assert not steps


def test_stopping_rules_may_stand_among_the_callbacks() -> None:
    rule = EarlyStopping("loss", patience=0, min_delta=100.0)
    assert _fit(callbacks=[rule])[1] == _fit(early_stopping=rule)[1]
    assert len(_fit(callbacks=[rule])[1].epoch) == 2
    with pytest.raises(DataError, match="callbacks holds 'early'"):
        _fit(callbacks=["early"])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_rows_of_no_weight_teach_nothing(weight: float) -> None:
    """Half the rows weigh 2, the others nothing: the same as the first half alone."""
    order = np.arange(ROWS).reshape(3, 4)[:, :2].ravel()
    chosen = np.zeros(ROWS, np.float32)
    chosen[order] = 2.0
    y = Y.copy()
    y[chosen == 0] = 1e3
    half, _ = _fit(X[order], Y[order], shuffle=False, batch_size=2)
    settings = {"shuffle": False, "sample_weight": chosen + weight}
    assert _equal(_fit(y=y, **settings)[0], half, 1e-5) == (weight == 0.0)


def test_a_short_batch_means_what_it_meant_when_it_was_built_for_its_rows() -> None:
    """A stream of batches of 4, 3 and 1 rows: padded where the network keeps rows apart, and built
    for each size where dropout (of next to nothing) does not."""
    parts = [(X[a:b], Y[a:b]) for a, b in ((0, 4), (4, 7), (7, 8))]

    def net(rate: float) -> ir.Model:
        drop = [L.Dropout(rate)] if rate else []
        return L.Sequential([L.Input((3,)), L.Dense(4, "tanh"), L.Dense(1), *drop], seed=0)

    found = []
    made: list[int] = []

    def make(model: ir.Model, example: list[np.ndarray]) -> NumpyStepper:
        made.append(len(example[0]))
        return NumpyStepper(model, example)

    for rate in (0.0, 1e-9):
        problem = problem_of(net(rate), parts, loss="mse", metrics=["mae"], epochs=2,
                             optimizer=Adam(learning_rate=0.05))
        found.append(train(problem, make))
    assert made == [4, 4, 3, 1]
    assert _equal(found[0][0], found[1][0], 1e-5)
    for name, values in found[0][1].history.items():
        np.testing.assert_allclose(values, found[1][1].history[name], rtol=1e-5)


def test_averages_of_masked_weights_stay_zero() -> None:
    mask = np.ones((3, 4), np.float32)
    mask[1] = 0
    trained, _ = _fit(masks={"dense/kernel": mask},
                      optimizer=SGD(learning_rate=0.1, use_ema=True, ema_momentum=0.5))
    kernel = weights(trained)["dense/kernel"]
    assert (kernel[1] == 0).all()
    assert (kernel[[0, 2]] != 0).all()


def test_batches_bring_their_weights() -> None:
    weight = np.random.default_rng(3).uniform(0, 2, ROWS).astype(np.float32)
    cut = [slice(k, k + BATCH) for k in range(0, ROWS, BATCH)]
    stream = [(X[s], Y[s], weight[s]) for s in cut]
    given, _ = train(problem_of(_net(), stream, loss="mse", epochs=2), NumpyStepper)
    whole, _ = train(problem_of(_net(), X, Y, loss="mse", epochs=2, batch_size=BATCH,
                                shuffle=False, sample_weight=weight), NumpyStepper)
    assert _equal(given, whole)
    missing = [stream[0], stream[1][:2], stream[2]]
    with pytest.raises(DataError, match="the same kind of weights"):
        train(problem_of(_net(), missing, loss="mse"), NumpyStepper)


def test_evaluation_weighs_the_loss_alone() -> None:
    weight = np.arange(ROWS) % 3
    error = (reference(_net(), {"input_layer": X})["dense_1"][:, 0] - Y) ** 2
    found = evaluate(_net(), X, Y, loss="mse", metrics=["mse"], sample_weight=weight)
    assert found["loss"] == pytest.approx(np.mean(error * weight), rel=1e-5)
    assert found["mse"] == pytest.approx(np.mean(error), rel=1e-5)
    with pytest.raises(DataError, match="without a loss"):
        evaluate(_net(), X, Y, metrics=["mse"], sample_weight=weight)


WRONG: Mapping[str, dict[str, object]] = {
    "takes \\[12\\]": {"sample_weight": np.ones(5)},
    "one weight for each row": {"sample_weight": np.ones((ROWS, 2))},
    "negative": {"sample_weight": -np.ones(ROWS)},
    "dtype": {"sample_weight": np.array(["a"] * ROWS)},
    "2 arrays for a network with 1": {"sample_weight": [np.ones(ROWS)] * 2},
    "expected a dictionary": {"class_weight": [1.0, 2.0]},
    "number of a class": {"class_weight": {"cat": 1.0}},
    "finite weight": {"class_weight": {0: float("nan")}},
    "exclude each other": {"class_weight": {0: 1.0}, "sample_weight": np.ones(ROWS)},
    "and a file to write": {"checkpoint_steps": 3},
    "whole number from 1 up": {"checkpoint_steps": 0, "checkpoint": "run.npz"},
    "expected \\(x, y\\) or": {"validation_data": (X, Y, np.ones(ROWS), 1)},
    "validation_data has": {"validation_data": X},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_weights_and_settings_are_refused(message: str) -> None:
    with pytest.raises(DataError, match=message):
        _fit(**WRONG[message])


def test_class_weights_need_one_output() -> None:
    start = L.Input((3,))
    model = L.Functional(start, [L.Dense(1)(start), L.Dense(1)(start)])
    with pytest.raises(DataError, match="2 outputs"):
        problem_of(model, X, [Y, Y], loss="mse", class_weight={0: 1.0})


@pytest.mark.parametrize("make", [
    lambda: schedules.PiecewiseConstantDecay([3], [0.1]),
    lambda: schedules.PiecewiseConstantDecay([], [0.1]),
    lambda: schedules.PiecewiseConstantDecay([5, 3], [0.1, 0.2, 0.3]),
    lambda: schedules.ExponentialDecay(0.1, 0, 0.5),
    lambda: schedules.ExponentialDecay(float("nan"), 5, 0.5),
    lambda: schedules.PolynomialDecay(-0.1, 5),
    lambda: schedules.CosineDecay(0.1, 5, warmup_steps=3),
    lambda: schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5),
    lambda: ReduceLROnPlateau(factor=1.0), lambda: ReduceLROnPlateau(patience=-1),
    lambda: ReduceLROnPlateau(mode="least"), lambda: ModelCheckpoint("net.h5"),
    lambda: Adam(gradient_accumulation_steps=1), lambda: Adam(gradient_accumulation_steps=2.5),
    lambda: Adam(use_ema=True, ema_momentum=1.0), lambda: SGD(learning_rate="fast"),
])
def test_settings_without_a_meaning_are_refused(make: object) -> None:
    with pytest.raises(DataError, match=r"expected|without|written"):
        make()  # type: ignore[operator]
