"""Networks that `fit` takes, from wherever they come, and those that it refuses with the reason."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.numpy_stepper import NumpyStepper
from tests.support.small_networks import plain, rows

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import DataError, ModelError
from ganglion.formats import load, save
from ganglion.ops.bindings import bindings
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.infer import fix_shapes
from ganglion.passes.quantized.integer import ToInteger
from ganglion.training.callbacks import EarlyStopping
from ganglion.training.fit import problem_of
from ganglion.training.loop.epochs import train
from ganglion.training.losses import Huber, MeanSquaredError
from ganglion.training.optimizers import SGD, Adam, RMSprop
from ganglion.training.step.building import build_step
from ganglion.training.step.weights import trainable

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def _net() -> ir.Model:
    return L.Sequential([L.Input((4,)), L.Dense(3, "relu"), L.Dense(1)])


def _learn(net: ir.Model, x: np.ndarray, y: np.ndarray, **settings: object) -> list[float]:
    settings = {"loss": "mse", "epochs": 4, "batch_size": 4} | settings
    _, history = train(problem_of(net, x, y, **settings), NumpyStepper)  # type: ignore[arg-type]
    return history.history["loss"]


def test_an_onnx_file_without_marks_trains_every_learned_weight(tmp_path: Path) -> None:
    net = plain()
    save(net, tmp_path / "foreign.onnx")
    found = load(tmp_path / "foreign.onnx")
    shapes = sorted(tuple(v.shape.numpy()) for v in trainable(found))
    assert shapes == sorted([(8, 3, 3, 3), (8,), (8,), (8,), (6, 8, 3, 3), (6,), (54, 10), (10,)])
    x = rows(found, 12)
    loss = _learn(found, x, np.arange(12) % 10, loss="sparse_categorical_crossentropy",
                  optimizer=Adam(learning_rate=0.01), epochs=6)
    assert loss[-1] < 0.9 * loss[0]


def test_a_described_network_trains_the_same_after_a_round_trip_through_a_file(
        tmp_path: Path) -> None:
    net = L.Sequential([L.Input((4,)), L.Dense(3, "relu", kernel_regularizer="l2"),
                        L.BatchNormalization(center=False, scale=False), L.Dropout(0.2),
                        L.Dense(1, trainable=False)])
    save(net, tmp_path / "net.onnx")
    assert _learn(net, X, X.sum(1)) == _learn(load(tmp_path / "net.onnx"), X, X.sum(1))


def test_weights_are_found_through_what_exporters_put_before_them() -> None:
    g = GraphBuilder("exported")
    x = g.input("x", ir.DataType.FLOAT, ("N", 4))
    kernel = g.constant(np.ones((3, 4), np.float32), "kernel")
    turned = g.op("Transpose", kernel, perm=[1, 0])
    g.output("y", g.op("MatMul", x, turned))
    assert [v.name for v in trainable(g.model())] == ["kernel"]
    loss = _learn(g.model(), X, np.stack([2 * X.sum(1)] * 3, 1), optimizer=SGD(learning_rate=0.05))
    assert loss[-1] < loss[0]


@pytest.mark.parametrize(("trainable_layer", "moves"), [(True, True), (False, False)])
def test_statistics_without_gamma_and_beta_follow_their_layer(trainable_layer: bool,
                                                              moves: bool) -> None:
    net = L.Sequential([L.Input((4,)), L.Dense(4), L.BatchNormalization(
        center=False, scale=False, trainable=trainable_layer)])
    step = build_step(net, [MeanSquaredError()], SGD(), 4)
    assert any("moving_mean" in b.input for b in bindings(step)) == moves


def test_integer_operators_are_sent_back_to_their_float_form() -> None:
    small = gg.quantize(_net(), calibration=X)
    fix_shapes(small, batch=4)
    ToInteger()(small)
    with pytest.raises(ModelError, match=r"node '.*' \(.*QLinear.*\).*train the float"):
        gg.fit(small, X, X.sum(1), loss="mse")


def test_a_layer_that_says_why_it_cannot_be_trained_is_believed() -> None:
    net = L.Sequential([L.Input((5, 4)), L.LSTM(3, recurrent_dropout=0.3, name="memory")])
    with pytest.raises(ModelError, match=r"node 'memory.*recurrent_dropout=0\.3"):
        gg.fit(net, np.zeros((4, 5, 4)), np.zeros((4, 3)), loss="mse")


def test_a_streaming_network_is_refused() -> None:
    from ganglion.passes.streaming.stream import stream

    net = stream(L.Sequential([L.Input((5, 4)), L.LSTM(3)]))
    with pytest.raises(ModelError, match=r"state between calls.*whole sequences"):
        gg.fit(net, np.zeros((4, 1, 4)), np.zeros((4, 3)), loss="mse")


def test_weights_that_are_not_finite_are_named() -> None:
    net = _net()
    value = net.graph.initializers["dense/kernel"]
    broken = value.const_value.numpy().copy()  # type: ignore[union-attr]
    broken[0, 1] = np.nan
    value.const_value = ir.tensor(broken, name="dense/kernel")
    with pytest.raises(ModelError, match="1 values of weight 'dense/kernel' are NaN"):
        gg.fit(net, X, X.sum(1), loss="mse")


def test_weights_that_the_loss_does_not_read_are_no_silent_success() -> None:
    g = GraphBuilder("rounded")
    x = g.input("x", ir.DataType.FLOAT, ("N", 4))
    kernel = g.constant(np.ones((4, 1), np.float32), "kernel")
    g.output("y", g.op("Cast", g.op("Cast", g.op("MatMul", x, kernel), to=ir.DataType.INT32),
                       to=ir.DataType.FLOAT))
    with pytest.raises(ModelError, match="none of the trainable weights"):
        gg.fit(g.model(), X, X.sum(1), loss="mse")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"ganglion\.load"):
        gg.fit("net.onnx", X, X, loss="mse")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [[3, 50], [-1, 3]])
def test_numbers_without_a_row_in_the_embedding_are_refused(bad: list[int]) -> None:
    net = L.Sequential([L.Input((2,), dtype="int32"), L.Embedding(50, 3), L.Flatten(), L.Dense(1)])
    with pytest.raises(DataError, match="50 rows: expected 0 to 49"):
        problem_of(net, np.array([bad, [0, 1]]), np.zeros(2), loss="mse")


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(DataError, match="pad or cut"):
        problem_of(_net(), [[1.0, 2.0], [3.0]], np.zeros(2), loss="mse")  # type: ignore[arg-type]


def test_a_rule_that_watches_nothing_is_refused_before_any_work() -> None:
    def no_stepper(model: ir.Model, example: object) -> NumpyStepper:
        raise AssertionError("compiled before the settings were checked")

    problem = problem_of(_net(), X, X.sum(1), loss="mse", metrics=["mae"],
                         early_stopping=EarlyStopping("accuracy"))
    with pytest.raises(DataError, match=r"'accuracy'.*'loss', 'mae'"):
        train(problem, no_stepper)


@pytest.mark.parametrize("mask", [np.full((4, 3), 0.5), np.ones((3, 4))])
def test_masks_that_do_not_fit_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(DataError, match="mask for 'dense/kernel'"):
        _learn(_net(), X, X.sum(1), masks={"dense/kernel": mask})


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Huber(0.0), "delta"), (lambda: Adam(beta_1=1.0), "below 1"),
    (lambda: SGD(learning_rate=float("inf")), "finite"), (lambda: RMSprop(rho=-0.1), "rho"),
    (lambda: SGD(learning_rate="fast"), "expected a number"),  # type: ignore[arg-type]
    (lambda: SGD(momentum=1.5), "momentum")])
def test_settings_without_meaning_are_refused(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]


def test_another_learning_rate_is_another_run(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    _learn(_net(), X, X.sum(1), checkpoint=file, optimizer=SGD(learning_rate=0.01))
    with pytest.raises(DataError, match="another run"):
        _learn(_net(), X, X.sum(1), checkpoint=file, optimizer=SGD(learning_rate=0.02))


def test_more_epochs_of_the_same_run_continue_it(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    whole = _learn(_net(), X, X.sum(1), epochs=5, restore_best_weights=True)
    _learn(_net(), X, X.sum(1), epochs=2, restore_best_weights=True, checkpoint=file)
    assert _learn(_net(), X, X.sum(1), epochs=5, restore_best_weights=True,
                  checkpoint=file) == whole


def test_evaluate_gives_the_loss_that_validation_gives() -> None:
    net = L.Sequential([L.Input((4,)), L.Dense(3, "relu", kernel_regularizer=L.L1L2(0.1, 0.2)),
                        L.BatchNormalization(), L.Dense(2, "softmax")])
    y = (X[:, 0] > 0).astype(int)
    kind = "sparse_categorical_crossentropy"
    trained, history = gg.fit(net, X, y, loss=kind, validation_data=(X[:7], y[:7]),
                              metrics=["accuracy"])
    found = gg.evaluate(trained, X[:7], y[:7], loss=kind)
    assert found["loss"] == pytest.approx(history.history["val_loss"][-1], rel=1e-5)
    assert found["accuracy"] == history.history["val_accuracy"][-1]
