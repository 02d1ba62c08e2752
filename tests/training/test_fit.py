"""What a run of training promises, whatever executes its steps; then the compiled run itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.errors import DataError, ModelError, TrustError
from ganglion.ops.evaluate import evaluate as reference
from ganglion.training import Callback, EarlyStopping, History, StopAtLoss, evaluate, fit
from ganglion.training.callbacks import Logs, Run, Stepper
from ganglion.training.fit import problem_of
from ganglion.training.loop.epochs import train
from ganglion.training.optimizers import SGD, Adam

ROWS = 21


def _net(dropout: float = 0.0, seed: int = 0) -> ir.Model:
    drop = [L.Dropout(dropout)] if dropout else []
    return L.Sequential([L.Input((3,)), L.Dense(4, "tanh"), *drop, L.Dense(1)], seed=seed)


def _data(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(rows, 3)).astype(np.float32)
    return x, x.sum(1)


def _fit(model: ir.Model, x: np.ndarray, y: np.ndarray, **settings: object
         ) -> tuple[ir.Model, History]:
    settings = {"loss": "mse", "optimizer": "sgd", "batch_size": 8} | settings
    return train(problem_of(model, x, y, **settings), NumpyStepper)  # type: ignore[arg-type]


def _weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {k: v.const_value.numpy() for k, v in model.graph.initializers.items()
            if v.const_value is not None}


def _same(a: ir.Model, b: ir.Model) -> bool:
    first, second = _weights(a), _weights(b)
    return first.keys() == second.keys() and all(
        np.array_equal(first[k], second[k]) for k in first)


class Kill(Callback):
    """Ends the process's run, as a power cut would, after some epochs."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_epoch_begin(self, epoch: int, run: Run) -> None:
        if epoch == self.after:
            raise KeyboardInterrupt


class Note(Callback):
    """Writes down everything it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_train_begin(self, run: Run) -> None:
        self.heard.append(f"begin {run.epochs}x{run.steps}")

    def on_epoch_begin(self, epoch: int, run: Run) -> None:
        self.heard.append(f"epoch {epoch}")

    def on_batch_end(self, step: int, logs: Logs, run: Run) -> None:
        self.heard.append(f"step {step} {sorted(logs)}")

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        self.heard.append(f"end {epoch} {sorted(logs)}")

    def on_train_end(self, run: Run) -> None:
        self.heard.append("done")


def test_training_leaves_the_given_model_as_it_was() -> None:
    model = _net()
    before = ir.to_proto(model).SerializeToString()
    trained, _ = _fit(model, *_data())
    assert ir.to_proto(model).SerializeToString() == before
    assert not _same(model, trained)
    assert [v.name for v in trained.graph.outputs] == [v.name for v in model.graph.outputs]


def test_the_same_seed_gives_the_same_bits_and_another_one_others() -> None:
    runs = [_fit(_net(0.3), *_data(), epochs=2, seed=seed)[0] for seed in (4, 4, 5)]
    assert _same(runs[0], runs[1])
    assert not _same(runs[0], runs[2])


def test_history_holds_every_figure_of_every_epoch() -> None:
    _, history = _fit(_net(), *_data(), epochs=3, validation_split=0.2, metrics=["mae"])
    assert history.epoch == [0, 1, 2]
    assert sorted(history.history) == ["loss", "mae", "val_loss", "val_mae"]
    assert all(len(values) == 3 for values in history.history.values())


def test_validation_figures_are_those_of_the_trained_network_on_every_row() -> None:
    (x, y), (xv, yv) = _data(16), _data(11)
    trained, history = _fit(_net(), x, y, validation_data=(xv, yv), metrics=["mae"])
    found = reference(trained, {"input_layer": xv})["dense_1"][:, 0]
    assert history.history["val_loss"][-1] == pytest.approx(np.mean((found - yv) ** 2), rel=1e-5)
    assert history.history["val_mae"][-1] == pytest.approx(np.mean(abs(found - yv)), rel=1e-5)


def test_validation_split_takes_the_last_rows() -> None:
    x, y = _data(20)
    _, split = _fit(_net(), x, y, validation_split=0.25, epochs=2)
    _, given = _fit(_net(), x[:15], y[:15], validation_data=(x[15:], y[15:]), epochs=2)
    assert split.history == given.history


def test_callbacks_hear_everything_in_order() -> None:
    note = Note()
    _fit(_net(), *_data(), callbacks=[note], epochs=1)
    assert note.heard == ["begin 1x3", "epoch 0", "step 0 ['loss']", "step 1 ['loss']",
                          "step 2 ['loss']", "end 0 ['loss']", "done"]


def test_callbacks_set_the_learning_rate_and_stop() -> None:
    class Freeze(Callback):
        def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
            run.learning_rate = 0.0
            run.stop = epoch == 1

    one, _ = _fit(_net(), *_data(), epochs=1)
    two, history = _fit(_net(), *_data(), epochs=5, callbacks=[Freeze()])
    assert _same(one, two)
    assert history.epoch == [0, 1]
    assert history.stopped is not None


@pytest.mark.parametrize("killed", [1, 2])
def test_a_killed_run_resumes_with_the_same_bits(tmp_path: Path, killed: int) -> None:
    settings = {"epochs": 4, "optimizer": "adam", "metrics": ["mae"], "validation_split": 0.2,
                "early_stopping": EarlyStopping(patience=2, restore_best_weights=True)}
    whole, history = _fit(_net(0.4), *_data(), **settings)
    file = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        _fit(_net(0.4), *_data(), checkpoint=file, callbacks=[Kill(killed)], **settings)
    resumed, continued = _fit(_net(0.4), *_data(), checkpoint=file, **settings)
    assert _same(whole, resumed)
    assert continued == history
    again, repeated = _fit(_net(0.4), *_data(), checkpoint=file, **settings)
    assert _same(whole, again)
    assert repeated == history


def test_a_checkpoint_serves_no_other_run(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    x, y = _data()
    _fit(_net(), x, y, checkpoint=file)
    before = file.read_bytes()
    for other in ({"seed": 1}, {"optimizer": "adam"}, {"batch_size": 7}):
        with pytest.raises(DataError, match="another run"):
            _fit(_net(), x, y, checkpoint=file, **other)
    with pytest.raises(DataError, match="another run"):
        _fit(_net(seed=1), x, y, checkpoint=file)
    with pytest.raises(DataError, match="another run"):
        _fit(_net(), x, y + 1, checkpoint=file)
    assert file.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    _fit(_net(), *_data(), checkpoint=file)
    whole = file.read_bytes()
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, meta=np.array([{"a": 1}], object))
    for bad in (b"", b"PK", whole[: len(whole) // 2]):
        file.write_bytes(bad)
        with pytest.raises(DataError, match="not a readable checkpoint"):
            _fit(_net(), *_data(), checkpoint=file)
    file.write_bytes(pickled.read_bytes())
    with pytest.raises(TrustError, match="pickled Python objects"):
        _fit(_net(), *_data(), checkpoint=file)


class Scripted:
    """A stepper whose losses and single weight are written down beforehand."""

    def __init__(self, losses: Sequence[float]) -> None:
        self.losses, self.calls = losses, 0

    def run(self, *inputs: np.ndarray) -> Sequence[np.ndarray]:
        self.calls += 1
        return (np.float32(self.losses[self.calls - 1]),)

    def get(self, name: str) -> np.ndarray:
        return np.full((2, 1), self.calls, np.float32)

    def set(self, name: str, array: np.ndarray) -> None:
        raise KeyError(name)


def _scripted(losses: Sequence[float], **settings: object) -> tuple[list[float], History]:
    """Which call's weights the run ends with, and the history; one step is one epoch."""
    model = L.Sequential([L.Input((2,)), L.Dense(1, use_bias=False)])
    x, y = np.ones((4, 2), np.float32), np.ones(4)
    problem = problem_of(model, x, y, loss="mse", epochs=len(losses), optimizer="sgd",
                         **settings)  # type: ignore[arg-type]
    steppers: list[Stepper] = [Scripted(losses)]
    trained, history = train(problem, lambda model, example: steppers[0])
    (weight,) = _weights(trained).values()
    return weight.ravel().tolist(), history


@pytest.mark.parametrize(("rule", "epochs"), [
    (EarlyStopping("loss", patience=2), 5),
    (EarlyStopping("loss", patience=1), 4),
    (EarlyStopping("loss", patience=0), 4),
    (EarlyStopping("loss", patience=1, min_delta=1.5), 3),
    (EarlyStopping("loss", patience=1, start_from_epoch=3), 6),
    (EarlyStopping("loss", patience=2, mode="max"), 3),
    (EarlyStopping("loss", patience=2, baseline=1.0), 4),
    (StopAtLoss(3.0), 2), (StopAtLoss(2.0), 3), (StopAtLoss(1.0), 7)])
def test_stopping_rules_end_after_the_epoch_they_say(rule: EarlyStopping | StopAtLoss,
                                                     epochs: int) -> None:
    _, history = _scripted([5, 3, 2, 4, 3, 4, 5], early_stopping=rule)
    assert len(history.epoch) == epochs
    assert (history.stopped is None) == (epochs == 7)


def test_best_weights_come_back() -> None:
    losses = [5, 3, 2, 4, 3, 4, 5]
    assert _scripted(losses)[0] == [7, 7]
    assert _scripted(losses, restore_best_weights=True)[0] == [3, 3]
    rule = EarlyStopping("loss", patience=2)
    assert _scripted(losses, early_stopping=rule)[0] == [5, 5]
    assert _scripted(losses, early_stopping=replace(rule, restore_best_weights=True))[0] == [3, 3]


def test_watching_what_no_run_gives_is_an_error() -> None:
    with pytest.raises(DataError, match="validation"):
        _scripted([1.0, 2.0], early_stopping=EarlyStopping("val_loss"))


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_its_step(loss: float) -> None:
    with pytest.raises(DataError, match=r"epoch 2, step 1.*learning rate"):
        _scripted([1.0, loss])


def test_masked_weights_stay_zero() -> None:
    model = _net()
    mask = np.ones((3, 4), np.float32)
    mask[1] = 0
    trained, _ = _fit(model, *_data(), optimizer=SGD(momentum=0.9), masks={"dense/kernel": mask})
    kernel = _weights(trained)["dense/kernel"]
    assert (kernel[1] == 0).all()
    assert (kernel[[0, 2]] != 0).all()
    for wrong in ({"nothing": mask}, {"dense/kernel": mask[:2]}):
        with pytest.raises(DataError, match="mask"):
            _fit(model, *_data(), masks=wrong)


def test_frozen_layers_do_not_move() -> None:
    model = L.Sequential([L.Input((3,)), L.Dense(4, trainable=False), L.Dense(1)])
    trained, _ = _fit(model, *_data())
    before, after = _weights(model), _weights(trained)
    assert np.array_equal(before["dense/kernel"], after["dense/kernel"])
    assert not np.array_equal(before["dense_1/kernel"], after["dense_1/kernel"])


def test_a_network_without_weights_cannot_learn() -> None:
    with pytest.raises(ModelError, match="no trainable weights"):
        _fit(L.Sequential([L.Input((3,)), L.Activation("relu")]), _data()[0], _data()[0])


def test_several_outputs_learn_from_several_targets() -> None:
    start = L.Input((3,))
    shared = L.Dense(4, "tanh")(start)
    model = L.Functional(start, [L.Dense(1, name="size")(shared),
                                 L.Dense(2, "softmax", name="kind")(shared)])
    x, y = _data()
    _, history = _fit(model, x, [y, np.eye(2)[(y > 0).astype(int)]], metrics=["mae"], epochs=4,
                      loss=["mse", "categorical_crossentropy"])
    assert set(history.history) == {"loss", "size_loss", "kind_loss", "size_mae", "kind_mae"}
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_compiled_training_follows_the_reference(tmp_path: Path) -> None:
    settings = {"loss": "mse", "optimizer": Adam(learning_rate=0.01), "batch_size": 8, "epochs": 3,
                "validation_split": 0.2, "metrics": ["mae"]}
    x, y = _data()
    expected, history = _fit(_net(0.3), x, y, **settings)
    found, compiled_history = fit(_net(0.3), x, y, checkpoint=tmp_path / "c.npz",
                                  **settings)  # type: ignore[arg-type]
    for name, array in _weights(expected).items():
        np.testing.assert_allclose(_weights(found)[name], array, rtol=0, atol=1e-5, err_msg=name)
    for name, values in history.history.items():
        np.testing.assert_allclose(compiled_history.history[name], values, rtol=1e-4)
    again, _ = fit(_net(0.3), x, y, checkpoint=tmp_path / "c.npz",
                   **settings)  # type: ignore[arg-type]
    assert _same(found, again)


def test_evaluate_gives_loss_and_metrics_of_the_compiled_network() -> None:
    model, (x, y) = _net(), _data()
    found = evaluate(model, x, y, loss="mse", metrics=["mae", "rmse"])
    error = reference(model, {"input_layer": x})["dense_1"][:, 0] - y
    assert found["loss"] == pytest.approx(np.mean(error ** 2), rel=1e-5)
    assert found["mae"] == pytest.approx(np.mean(abs(error)), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error ** 2)), rel=1e-5)
    with pytest.raises(DataError, match="rows"):
        evaluate(model, x, y[:-1])
