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

from ganglion.frontends.keras import from_keras  # noqa: E402
from ganglion.training import losses, optimizers  # noqa: E402
from ganglion.training.callbacks import EarlyStopping, Watch  # noqa: E402
from ganglion.training.compiled import compiled  # noqa: E402
from ganglion.training.fit import problem_of  # noqa: E402
from ganglion.training.loop import Make, train  # noqa: E402

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
