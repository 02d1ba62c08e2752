"""The step Model does to the weights what Keras's train step does."""

import os
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
# Its compiler's optimisations take longer than these few steps.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 "
                                   "--xla_llvm_disable_expensive_passes=true")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX: set KERAS_BACKEND=jax", allow_module_level=True)

from tests.support.numpy_stepper import NumpyStepper  # noqa: E402

from ganglion.formats.keras.live import from_keras  # noqa: E402
from ganglion.training import losses, optimizers  # noqa: E402
from ganglion.training.callbacks import (  # noqa: E402
    EarlyStopping,
    History,
    ReduceLROnPlateau,
    Run,
    Watch,
)
from ganglion.training.evaluate import evaluate  # noqa: E402
from ganglion.training.fit import problem_of  # noqa: E402
from ganglion.training.loop.compiled import compiled  # noqa: E402
from ganglion.training.loop.epochs import Make, train  # noqa: E402

pytestmark = [pytest.mark.keras,
              pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")]
"""Keras 3.15's own variables do not take NumPy 2's copy keyword."""

ROWS, BATCH, EPOCHS = 16, 8, 3
"""Six steps of one shape, which Keras compiles once."""


def _weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()
            if value.const_value is not None and "ganglion.trainable" in value.metadata_props}


def _agree(net: "keras.Model", x: np.ndarray, y: np.ndarray, loss: object, optimizer: object,
           our_loss: losses.Loss | str, ours: optimizers.Optimizer | str,
           make: Make = NumpyStepper, tolerance: float = 2e-5) -> None:
    """Trains both from the same weights on the same order of rows; every weight must agree.

    Tolerance: absolute, on weights of about 1 after six steps of float32 arithmetic.
    """
    start = from_keras(net)
    net.compile(loss=loss, optimizer=optimizer, jit_compile=True)
    theirs = net.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    trained, history = train(problem_of(start, x, y, loss=our_loss, optimizer=ours, epochs=EPOCHS,
                                        batch_size=BATCH, shuffle=False), make)
    before, expected, found = _weights(start), _weights(from_keras(net)), _weights(trained)
    assert sorted(found) == sorted(expected)
    assert any((before[name] != expected[name]).any() for name in before)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(history.history["loss"], theirs.history["loss"], rtol=1e-4,
                               atol=1e-6)


def _dense(units: int, activation: str) -> "keras.Model":
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, activation="tanh"),
                             keras.layers.Dense(units, activation=activation)])


def _x(*shape: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, *shape)).astype(np.float32)


OPTIMIZERS: dict[str, tuple[str, dict[str, float | bool]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "decayed sgd": ("SGD", {"learning_rate": 0.05, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {}),
    "centered": ("RMSprop", {"centered": True, "momentum": 0.5, "epsilon": 1e-3}),
    "adam": ("Adam", {}),
    "amsgrad": ("Adam", {"learning_rate": 0.02, "beta_1": 0.8, "amsgrad": True}),
    "adamw": ("AdamW", {"learning_rate": 0.01}),
    "adagrad": ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.3}),
    "adamax": ("Adamax", {"learning_rate": 0.02, "beta_2": 0.9}),
    "lion": ("Lion", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "accumulated": ("Adam", {"learning_rate": 0.02, "gradient_accumulation_steps": 4,
                             "weight_decay": 0.1, "global_clipnorm": 0.1}),
    "averaged": ("SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.6}),
    "accumulated and averaged": ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "use_ema": True,
                                         "ema_momentum": 0.6, "gradient_accumulation_steps": 2}),
    "clipvalue": ("SGD", {"learning_rate": 0.1, "clipvalue": 0.02}),
    "clipnorm": ("SGD", {"learning_rate": 0.1, "clipnorm": 0.1}),
    "global_clipnorm": ("SGD", {"learning_rate": 0.1, "global_clipnorm": 0.1}),
}


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_every_optimizer_updates_weights_as_keras_does(case: str) -> None:
    name, arguments = OPTIMIZERS[case]
    x = _x(5)
    _agree(_dense(2, "linear"), x, np.stack([x.sum(1), x[:, 0] - x[:, 1]], 1), "mse",
           getattr(keras.optimizers, name)(**arguments), "mse",
           getattr(optimizers, name)(**arguments))


def test_a_last_batch_of_fewer_rows_counts_as_keras_counts_it() -> None:
    """Two batches of eight rows, one of six: its own mean in the step, its share in the history."""
    x = _x(5, rows=22)
    _agree(_dense(2, "linear"), x, x[:, :2], "mse", "adam", "mse", "adam")


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adamax", "Lion"])
def test_defaults_are_those_of_keras(name: str) -> None:
    ours, theirs = getattr(optimizers, name)(), getattr(keras.optimizers, name)().get_config()
    for argument, value in vars(ours).items():
        expected = theirs[argument]
        assert value == (pytest.approx(expected) if isinstance(expected, float) else expected)


LOSSES: dict[str, tuple[int, str, str, Callable[[np.ndarray], np.ndarray]]] = {
    "mse": (2, "linear", "mean_squared_error", lambda x: x[:, :2]),
    "mae": (2, "linear", "mae", lambda x: x[:, :2]),
    "huber": (2, "linear", "huber", lambda x: 2 * x[:, :2]),
    "binary": (1, "sigmoid", "binary_crossentropy", lambda x: (x.sum(1) > 0)),
    "binary of several": (3, "sigmoid", "binary_crossentropy", lambda x: (x[:, :3] > 0)),
    "binary without logits": (2, "hard_sigmoid", "binary_crossentropy", lambda x: (x[:, :2] > 0)),
    "categorical": (4, "softmax", "categorical_crossentropy",
                    lambda x: np.eye(4)[x[:, :4].argmax(1)]),
    "categorical without logits": (4, "sigmoid", "categorical_crossentropy",
                                   lambda x: np.eye(4)[x[:, :4].argmax(1)]),
    "sparse": (4, "softmax", "sparse_categorical_crossentropy", lambda x: x[:, :4].argmax(1)),
    "sparse without logits": (4, "softplus", "sparse_categorical_crossentropy",
                              lambda x: x[:, :4].argmax(1)),
}


@pytest.mark.parametrize("case", LOSSES)
def test_every_loss_teaches_as_keras_does(case: str) -> None:
    units, activation, loss, targets = LOSSES[case]
    x = _x(5)
    rule = {"learning_rate": 0.1}
    _agree(_dense(units, activation), x, targets(x).astype(np.float32), loss,
           keras.optimizers.SGD(**rule), loss, optimizers.SGD(**rule))


def test_huber_takes_its_delta() -> None:
    x = _x(5)
    _agree(_dense(1, "linear"), x, 3 * x.sum(1), keras.losses.Huber(0.3), "sgd",
           losses.Huber(0.3), "sgd")


def _image(*layers: "keras.Layer") -> "keras.Model":
    keras.utils.set_random_seed(4)
    return keras.Sequential([keras.Input((6, 6, 2)), *layers, keras.layers.Flatten(),
                             keras.layers.Dense(3, activation="softmax")])


NETWORKS: dict[str, Callable[[], "keras.Model"]] = {
    "convolution": lambda: _image(
        keras.layers.Conv2D(4, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(3, 2, strides=2)),
    "separable": lambda: _image(
        keras.layers.SeparableConv2D(4, 3, activation="relu"), keras.layers.AveragePooling2D(2)),
    "batch norm": lambda: _image(
        keras.layers.Conv2D(4, 3, use_bias=False),
        keras.layers.BatchNormalization(momentum=0.7), keras.layers.ReLU()),
    "frozen batch norm": lambda: _image(
        keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(trainable=False)),
    "transposed": lambda: _image(keras.layers.Conv2DTranspose(2, 3, strides=2)),
    "layer norm": lambda: _image(keras.layers.LayerNormalization()),
    "regularized": lambda: _image(
        keras.layers.Conv2D(4, 3, kernel_regularizer="l2", bias_regularizer="l2"),
        keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L1L2(0.02, 0.03))),
    "residual": lambda: _residual(),
}


def _residual() -> "keras.Model":
    keras.utils.set_random_seed(4)
    start = keras.Input((6, 6, 2))
    a = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(start)
    b = keras.layers.Conv2D(3, 3, padding="same")(a)
    end = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([a, b]))
    return keras.Model(start, keras.layers.Dense(3, activation="softmax")(end))


@pytest.mark.parametrize("case", NETWORKS)
def test_image_networks_learn_as_in_keras(case: str) -> None:
    x = _x(6, 6, 2)
    rule = {"learning_rate": 0.05, "momentum": 0.9}
    _agree(NETWORKS[case](), x, x[:, :3, 0, 0].argmax(1), "sparse_categorical_crossentropy",
           keras.optimizers.SGD(**rule), "sparse_categorical_crossentropy",
           optimizers.SGD(**rule), tolerance=5e-5)


SERIES: dict[str, Callable[[], "keras.Layer"]] = {
    "lstm": lambda: keras.layers.LSTM(4),
    "gru": lambda: keras.layers.GRU(4),
    "gru, reset before": lambda: keras.layers.GRU(4, reset_after=False),
    "rnn": lambda: keras.layers.SimpleRNN(4, return_sequences=True),
    "bidirectional": lambda: keras.layers.Bidirectional(keras.layers.LSTM(3)),
    "convolution": lambda: keras.layers.Conv1D(4, 2, activation="relu"),
}


@pytest.mark.parametrize("case", SERIES)
def test_sequence_networks_learn_as_in_keras(case: str) -> None:
    keras.utils.set_random_seed(6)
    net = keras.Sequential([keras.Input((5, 3)), SERIES[case](), keras.layers.Flatten(),
                            keras.layers.Dense(1)])
    x = _x(5, 3)
    rule = {"learning_rate": 0.05, "momentum": 0.9}
    _agree(net, x, x.sum((1, 2)), "mse", keras.optimizers.SGD(**rule), "mse",
           optimizers.SGD(**rule), tolerance=5e-5)


def test_embeddings_learn_as_in_keras() -> None:
    keras.utils.set_random_seed(6)
    net = keras.Sequential([keras.Input((5,), dtype="int32"), keras.layers.Embedding(9, 3),
                            keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")])
    x = np.random.default_rng(2).integers(0, 9, (ROWS, 5))
    _agree(net, x, x[:, 0] > 4, "binary_crossentropy", "adam", "binary_crossentropy", "adam")


def test_several_outputs_have_the_history_of_keras() -> None:
    """Names and values, penalties in the whole loss only."""
    keras.utils.set_random_seed(7)
    start = keras.Input((5,))
    hidden = keras.layers.Dense(4, "tanh", kernel_regularizer="l2")(start)
    net = keras.Model(start, [keras.layers.Dense(1, name="size")(hidden),
                              keras.layers.Dense(3, "softmax", name="kind")(hidden)])
    x = _x(5)
    y = [x.sum(1, keepdims=True), x[:, :3].argmax(1)[:, None]]
    ours, chosen = from_keras(net), ["mse", "sparse_categorical_crossentropy"]
    net.compile(loss=chosen, optimizer="sgd", metrics=[["mae"], ["accuracy"]])
    theirs = net.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0,
                     validation_data=(x[:7], [a[:7] for a in y])).history
    _, history = train(problem_of(
        ours, x, y, loss=chosen, optimizer="sgd", batch_size=BATCH, epochs=2, shuffle=False,
        validation_data=(x[:7], [a[:7] for a in y])), NumpyStepper)
    assert set(history.history) == {name for name in theirs if name.endswith("loss")}
    for name, values in history.history.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-4, err_msg=name)


SCHEDULES: dict[str, dict[str, object]] = {
    "PiecewiseConstantDecay": {"boundaries": [4, 9, 30], "values": [0.5, 0.2, 0.3, 0.1]},
    "ExponentialDecay": {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.6},
    "ExponentialDecay in stairs": {"initial_learning_rate": 0.3, "decay_steps": 7,
                                   "decay_rate": 0.6, "staircase": True},
    "InverseTimeDecay": {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.6},
    "InverseTimeDecay in stairs": {"initial_learning_rate": 0.3, "decay_steps": 7,
                                   "decay_rate": 0.6, "staircase": True},
    "PolynomialDecay": {"initial_learning_rate": 0.3, "decay_steps": 20, "power": 2.0},
    "PolynomialDecay in cycles": {"initial_learning_rate": 0.3, "decay_steps": 8, "cycle": True,
                                  "end_learning_rate": 0.05, "power": 0.5},
    "CosineDecay": {"initial_learning_rate": 0.3, "decay_steps": 20, "alpha": 0.1},
    "CosineDecay warmed up": {"initial_learning_rate": 0.01, "decay_steps": 20, "alpha": 0.1,
                              "warmup_target": 0.4, "warmup_steps": 6},
    "CosineDecayRestarts": {"initial_learning_rate": 0.3, "first_decay_steps": 6, "t_mul": 2.0,
                            "m_mul": 0.7, "alpha": 0.1},
    "CosineDecayRestarts of one length": {"initial_learning_rate": 0.3, "first_decay_steps": 6,
                                          "t_mul": 1.0, "m_mul": 0.9},
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_every_schedule_has_the_rates_of_keras(case: str) -> None:
    """Tolerance: Keras computes in float32; where a period ends it may round to either side."""
    name, arguments = case.split()[0], SCHEDULES[case]
    ours = getattr(optimizers.schedules, name)(**arguments)
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    ends = {6, 12, 18, 24, 30, 36, 42} if "first_decay_steps" in arguments else set()
    steps = [step for step in (*range(9), 10, 13, 17, 19, 20, 21, 26, 29, 35, 44)
             if step not in ends]
    expected = [float(theirs(np.int32(step))) for step in steps]
    np.testing.assert_allclose([ours(step) for step in steps], expected, rtol=2e-6, atol=1e-7)
    for step in ends & {6, 18, 42}:
        assert ours(step) > ours(step - 1), "a restart begins at the top"


@pytest.mark.parametrize("accumulate", [None, 2])
def test_a_run_follows_its_schedule_as_in_keras(accumulate: int | None) -> None:
    x = _x(5)
    arguments = {"initial_learning_rate": 0.02, "decay_steps": 4, "warmup_target": 0.2,
                 "warmup_steps": 2}
    make = lambda room: room.SGD(  # noqa: E731
        learning_rate=room.schedules.CosineDecay(**arguments), momentum=0.9,
        gradient_accumulation_steps=accumulate)
    _agree(_dense(2, "linear"), x, x[:, :2], "mse", make(keras.optimizers), "mse",
           make(optimizers))


WEIGHTED: dict[str, tuple[int, str, str]] = {
    "mse": (2, "linear", "mse"), "sparse": (4, "softmax", "sparse_categorical_crossentropy"),
    "binary": (1, "sigmoid", "binary_crossentropy")}


def _weighted_targets(case: str, x: np.ndarray) -> np.ndarray:
    return {"mse": x[:, :2], "sparse": x[:, :4].argmax(1), "binary": x.sum(1) > 0}[case].astype(
        np.float32)


def _both(net: "keras.Model", x: np.ndarray, y: np.ndarray, loss: str, **more: object
          ) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Both histories of three epochs with these settings, after all weights agreed."""
    start = from_keras(net)
    net.compile(loss=loss, optimizer="adam", jit_compile=True)
    shared = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, **more}
    theirs = net.fit(x, y, verbose=0, **shared).history
    trained, history = train(problem_of(start, x, y, loss=loss, optimizer="adam", **shared),
                             NumpyStepper)
    expected, found = _weights(from_keras(net)), _weights(trained)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-5, err_msg=name)
    for name, values in theirs.items():
        np.testing.assert_allclose(history.history[name], values, rtol=1e-4, err_msg=name)
    return history.history, theirs


@pytest.mark.parametrize("case", WEIGHTED)
def test_sample_weights_count_as_in_keras(case: str) -> None:
    units, activation, loss = WEIGHTED[case]
    x = _x(5, rows=22)
    y, weight = _weighted_targets(case, x), np.random.default_rng(8).uniform(0, 3, 22)
    ours, theirs = _both(_dense(units, activation), x, y, loss, sample_weight=weight,
                         validation_data=(x[:9], y[:9], weight[:9]))
    assert set(ours) == set(theirs) == {"loss", "val_loss"}


def test_weights_are_split_with_their_rows_as_in_keras() -> None:
    x = _x(5, rows=24)
    _both(_dense(2, "linear"), x, x[:, :2], "mse", validation_split=1 / 3,
          sample_weight=np.random.default_rng(8).uniform(0, 3, 24))


@pytest.mark.parametrize("case", ["sparse", "binary"])
def test_class_weights_count_as_in_keras(case: str) -> None:
    """In training only: the held-out rows weigh the same."""
    units, activation, loss = WEIGHTED[case]
    x = _x(5)
    y = _weighted_targets(case, x)
    _both(_dense(units, activation), x, y, loss, class_weight={0: 0.3, 1: 4.0},
          validation_data=(x[:8], y[:8]))


def test_steps_of_a_sequence_have_weights_as_in_keras() -> None:
    keras.utils.set_random_seed(6)
    net = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(2)])
    x = _x(5, 3)
    _both(net, x, x[:, :, :2], "mse",
          sample_weight=np.random.default_rng(8).uniform(0, 3, (ROWS, 5)))


def test_evaluation_weighs_samples_as_keras_does() -> None:
    net, x = _dense(2, "linear"), _x(5)
    weight = np.random.default_rng(8).uniform(0, 3, ROWS)
    net.compile(loss="mse")
    expected = net.evaluate(x, x[:, :2], sample_weight=weight, verbose=0)
    found = evaluate(from_keras(net), x, x[:, :2], loss="mse", metrics=[], sample_weight=weight)
    assert found == {"loss": pytest.approx(expected, rel=1e-5)}


class _Optimizer:
    """As much of a Keras optimizer as ReduceLROnPlateau touches."""

    learning_rate = 0.5


class _Model:
    """As much of a Keras model as ReduceLROnPlateau touches."""

    def __init__(self) -> None:
        self.optimizer = _Optimizer()


def test_the_rate_falls_on_a_plateau_as_in_keras() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        rule = {"monitor": "loss", "patience": int(rng.integers(0, 4)), "factor": 0.5,
                "min_delta": float(rng.choice([0, 0.3])), "mode": str(rng.choice(["min", "max"])),
                "cooldown": int(rng.integers(0, 3)), "min_lr": float(rng.choice([0, 0.1]))}
        theirs = keras.callbacks.ReduceLROnPlateau(**rule)
        theirs.set_model(_Model())
        theirs.on_train_begin()
        ours = ReduceLROnPlateau(**rule)
        run = Run(20, 1, 0.5, None, History(), lambda: None)  # type: ignore[arg-type]
        ours.on_train_begin(run)
        for epoch, value in enumerate(rng.normal(size=20)):
            theirs.on_epoch_end(epoch, {"loss": value})
            ours.on_epoch_end(epoch, {"loss": value}, run)
            assert run.learning_rate == theirs.model.optimizer.learning_rate


class _Counter:
    """As much of a Keras model as its EarlyStopping touches."""

    stop_training = False


def test_early_stopping_ends_and_chooses_as_keras_does() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        rule = {"monitor": "loss", "patience": int(rng.integers(0, 4)),
                "min_delta": float(rng.choice([0, 0.3])), "mode": str(rng.choice(["min", "max"])),
                "baseline": [None, 0.5, 2.0][rng.integers(3)],
                "start_from_epoch": int(rng.integers(0, 3))}
        theirs = keras.callbacks.EarlyStopping(**rule)
        theirs.set_model(_Counter())
        theirs.on_train_begin()
        ours = Watch(EarlyStopping(**rule))
        for epoch, value in enumerate(rng.normal(size=12)):
            theirs.on_epoch_end(epoch, {"loss": value})
            stopped = ours.see(epoch, {"loss": value}, {}) is not None
            assert stopped == theirs.model.stop_training
            assert (ours.best, ours.best_epoch) == (theirs.best, theirs.best_epoch)
            if stopped:
                break


def test_the_compiled_step_learns_as_keras_does() -> None:
    x = _x(6, 6, 2)
    net = _image(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.ReLU(),
                 keras.layers.MaxPooling2D())
    _agree(net, x, x[:, :3, 0, 0].argmax(1), "sparse_categorical_crossentropy", "rmsprop",
           "sparse_categorical_crossentropy", "rmsprop", make=compiled, tolerance=5e-4)
