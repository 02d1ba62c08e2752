"""Wrong data is refused with what was found, what was expected and what to do."""

import numpy as np
import onnx_ir as ir
import pytest

from ganglion import layers as L
from ganglion.errors import DataError
from ganglion.training import losses, optimizers
from ganglion.training.fit import problem_of

X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
LABELS = np.arange(10) % 3


def _net(activation: str = "softmax") -> ir.Model:
    return L.Sequential([L.Input((4,)), L.Dense(3, activation)])


def _with(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.astype(np.float64)
    changed.flat[5] = value
    return changed


SPARSE, CROSS = "sparse_categorical_crossentropy", "categorical_crossentropy"


@pytest.mark.parametrize(("x", "y", "loss", "message"), [
    (_with(X, np.nan), LABELS, SPARSE, r"1 values that are NaN or infinite.*\[1, 1\]"),
    (_with(X, np.inf), LABELS, SPARSE, "NaN or infinite"),
    (_with(X, 1e300), LABELS, SPARSE, "cannot"),
    (X[:9], LABELS, SPARSE, "x has 9 rows but y has 10"),
    (X[:, :3], LABELS, SPARSE, r"\[10, 3\].*\['N', 4\]"),
    (X[:0], LABELS[:0], SPARSE, "at least one row"),
    (X.astype(str), LABELS, SPARSE, "expected numbers"),
    (X.astype(complex), LABELS, SPARSE, "expected numbers"),
    (X.astype(object), LABELS, SPARSE, "expected numbers"),
    ([X, X], LABELS, SPARSE, r"\[2, 10, 4\]"),
    (X, LABELS + 1, SPARSE, "labels from 1 to 3.*3 classes: expected 0 to 2"),
    (X, LABELS - 1, SPARSE, "labels from -1 to 1"),
    (X, LABELS + 0.5, SPARSE, "whole numbers"),
    (X, np.eye(3)[LABELS], SPARSE, "argmax"),
    (X, _with(LABELS, np.nan), SPARSE, "NaN"),
    (X, LABELS, CROSS, r"\[10\].*\['N', 3\]"),
    (X, 2 * np.eye(3)[LABELS], CROSS, r"within \[0, 1\]"),
    (X, -np.eye(3)[LABELS], "binary_crossentropy", r"from -1 to -?0"),
])
def test_wrong_arrays_are_refused(x: np.ndarray, y: np.ndarray, loss: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        problem_of(_net(), x, y, loss=loss)


@pytest.mark.parametrize(("settings", "message"), [
    ({"loss": "hinge"}, "unknown loss"), ({"optimizer": "adadelta"}, "unknown optimizer"),
    ({"metrics": ["auc"]}, "unknown metric"), ({"metrics": "accuracy"}, "expected a list"),
    ({"epochs": -1}, "epochs"), ({"batch_size": 0}, "batch_size"), ({"seed": -1}, "seed"),
    ({"epochs": 2.5}, "epochs"), ({"validation_split": 1.0}, "between 0 and 1"),
    ({"validation_split": 0.999}, "empty"), ({"validation_data": (X,)}, r"expected \(x, y\)"),
    ({"validation_data": (X, LABELS + 5)}, "labels"), ({"loss": [SPARSE, SPARSE]}, "2 losses"),
    ({"shuffle": "no"}, "True or False"),
    ({"loss": lambda y, p: 0}, "cannot be differentiated"), ({"loss": 78}, "loss=78"),
    ({"loss": {"nose": SPARSE}}, "names the outputs .'nose'."),
])
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        problem_of(_net(), X, LABELS, **({"loss": SPARSE} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "arguments"), [
    ("SGD", {"learning_rate": -0.1}), ("SGD", {"momentum": 1.5}), ("Adam", {"beta_1": 2.0}),
    ("RMSprop", {"rho": -1.0}), ("Adam", {"clipnorm": 1.0, "clipvalue": 1.0}),
    ("Adam", {"clipnorm": -1.0}), ("Adam", {"learning_rate": float("nan")})])
def test_wrong_arguments_of_optimizers_are_refused(name: str,
                                                   arguments: dict[str, float]) -> None:
    with pytest.raises(DataError):
        getattr(optimizers, name)(**arguments)


def test_what_keras_accepts_is_accepted() -> None:
    image = L.Sequential([L.Input((2, 2, 1)), L.Flatten(), L.Dense(1, "sigmoid")])
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 2, 2)
    for y in (np.array([True, False, True, True]), np.array([[0], [1], [1], [0]]), [0, 1, 1, 0]):
        data = problem_of(image, pixels, np.asarray(y), loss="binary_crossentropy").source.data
        assert data.inputs[0].shape == (4, 2, 2, 1)
        assert data.targets[0].shape == (4, 1)
        assert {a.dtype for a in data.arrays} == {np.dtype(np.float32)}
    data = problem_of(_net(), X[:, ::-1], LABELS[:, None].astype(np.float32),
                      loss=losses.SparseCategoricalCrossentropy()).source.data
    assert data.targets[0].tolist() == LABELS.tolist()
    assert data.targets[0].dtype == np.int32


def test_names_of_losses_are_those_of_keras_in_every_spelling() -> None:
    for name in ("mse", "MSE", "mean_squared_error", "MeanSquaredError"):
        assert losses.get(name) == losses.MeanSquaredError()
    assert losses.get("SparseCategoricalCrossentropy") == losses.SparseCategoricalCrossentropy()
