"""The four networks of the source articles, described as Keras's users do and trained compiled.

Beside Keras: the same initial weights and the same order of rows, so what remains is the rounding
of float32 sums in another order, which Adam's division by small second moments amplifies. The
noise allowed is 1e-3 of each epoch's loss, and 1e-6 where a loss goes to zero.
"""

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.training.optimizers import SGD

RNG = np.random.default_rng(0)
Pair = tuple[np.ndarray, np.ndarray]


def _blobs(rows: int) -> Pair:
    """Ten classes around ten drawn centres, as large as the images of digits."""
    centres, labels = RNG.random((10, 784)), RNG.integers(0, 10, rows)
    return (centres[labels] + RNG.normal(0, 0.3, (rows, 784))).astype(np.float32), labels


def _sums(rows: int, width: int) -> Pair:
    x = RNG.random((rows, width), np.float32)
    return x, x.sum(1)


def _halves(rows: int) -> Pair:
    x = RNG.normal(size=(rows, 8)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.float32)


ARTICLES = {
    "digits": ((784, (64, "relu"), (10, "softmax")), "sparse_categorical_crossentropy", "adam",
               4, _blobs(320)),
    "regression": ((10, (64, "relu"), (1, "linear")), "mean_squared_error", "adam", 8,
                   _sums(320, 10)),
    "binary": ((8, (10, "relu"), (1, "sigmoid")), "binary_crossentropy", "adam", 20,
               _halves(320)),
    "sum": ((2, (1, "linear")), "mean_squared_error", "sgd", 40, _sums(320, 2)),
}


def _described(name: str, seed: int = 0) -> ir.Model:
    (width, *dense), *_ = ARTICLES[name]
    return L.Sequential([L.Input((width,)), *(L.Dense(n, activation=a) for n, a in dense)],
                        seed=seed)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
@pytest.mark.parametrize("name", ARTICLES)
def test_article_networks_reach_the_losses_of_keras(name: str) -> None:
    """Keras 3.15's own variables do not take NumPy 2's copy keyword, hence the filter."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("needs Keras on JAX: set KERAS_BACKEND=jax")
    (width, *dense), loss, optimizer, epochs, (x, y) = ARTICLES[name]
    start = _described(name, seed=1)
    net = keras.Sequential([keras.Input((width,)),
                            *(keras.layers.Dense(n, activation=a) for n, a in dense)])
    net.set_weights([v.const_value.numpy() for v in start.graph.initializers.values()
                     if "ganglion.trainable" in v.metadata_props and v.const_value is not None])
    net.compile(loss=loss, optimizer=optimizer)
    theirs = net.fit(x, y, epochs=epochs, shuffle=False, verbose=0).history["loss"]
    _, history = gg.fit(start, x, y, loss=loss, optimizer=optimizer, epochs=epochs, shuffle=False)
    np.testing.assert_allclose(history.history["loss"], theirs, rtol=1e-3, atol=1e-6)
    assert theirs[-1] < 0.7 * theirs[0], "too little learnt to tell"


def test_one_unit_learns_to_add() -> None:
    """y = x1 + x2: both weights become 1 and the bias 0."""
    x, y = ARTICLES["sum"][-1]
    trained, history = gg.fit(_described("sum"), x, y, loss="mse", epochs=60,
                              optimizer=SGD(learning_rate=0.2))
    kernel, bias = (v.const_value.numpy() for v in trained.graph.initializers.values()
                    if v.const_value is not None)
    np.testing.assert_allclose(kernel.ravel(), [1, 1], atol=1e-3)
    np.testing.assert_allclose(bias, 0, atol=1e-3)
    assert history.history["loss"][-1] < 1e-6


def test_handwritten_digits_are_learnt_from_the_real_images() -> None:
    """MNIST (LeCun 1998), one epoch of its 60,000 images, within the spread of Keras: over three
    seeds Keras 3.15 gave losses of 0.301 to 0.306 and held-out accuracies of 94.6 to 95.2 %."""
    folder = os.environ.get("GANGLION_DATA")
    if folder is None or not (Path(folder) / "mnist.npz").exists():
        pytest.skip("needs mnist.npz in the folder that GANGLION_DATA names")
    with np.load(Path(folder) / "mnist.npz") as file:
        data = {name: file[name] for name in file.files}
    x, xv = (data[k].reshape(-1, 784).astype(np.float32) / 255 for k in ("x_train", "x_test"))
    _, history = gg.fit(_described("digits"), x, data["y_train"], optimizer="adam",
                        loss="sparse_categorical_crossentropy", metrics=["accuracy"],
                        validation_data=(xv, data["y_test"]))
    assert history.history["loss"][0] < 0.32
    assert history.history["val_accuracy"][0] > 0.94
