"""The four networks of the source articles reach, compiled, the losses that Keras reaches."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

from ganglion.frontends.keras import from_keras  # noqa: E402
from ganglion.training import fit  # noqa: E402

pytestmark = [pytest.mark.keras,
              pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")]
"""Keras 3.15's own variables do not take NumPy 2's copy keyword."""

RNG = np.random.default_rng(0)


def _blobs(rows: int) -> tuple[np.ndarray, np.ndarray]:
    centres, labels = RNG.random((10, 784)), RNG.integers(0, 10, rows)
    return (centres[labels] + RNG.normal(0, 0.3, (rows, 784))).astype(np.float32), labels


def _line(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.random((rows, width), np.float32)
    return x, x.sum(1)


def _half(rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.normal(size=(rows, 8)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.float32)


ARTICLES = {
    "digits": ((784, (64, "relu"), (10, "softmax")), "sparse_categorical_crossentropy", "adam",
               3, _blobs(200)),
    "regression": ((10, (64, "relu"), (1, "linear")), "mean_squared_error", "adam", 6,
                   _line(200, 10)),
    "binary": ((8, (10, "relu"), (1, "sigmoid")), "binary_crossentropy", "adam", 15, _half(200)),
    "sum": ((2, (1, "linear")), "mean_squared_error", "sgd", 20, _line(100, 2)),
}


@pytest.mark.parametrize("name", ARTICLES)
def test_article_networks_reach_the_losses_of_keras(name: str) -> None:
    """Same weights, same order of rows: every epoch's loss within 1 % (and 1e-6) of Keras's."""
    (width, *dense), loss, optimizer, epochs, (x, y) = ARTICLES[name]
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((width,)),
                            *(keras.layers.Dense(n, activation=a) for n, a in dense)])
    start = from_keras(net)
    net.compile(loss=loss, optimizer=optimizer)
    theirs = net.fit(x, y, epochs=epochs, shuffle=False, verbose=0).history["loss"]
    _, history = fit(start, x, y, loss=loss, optimizer=optimizer, epochs=epochs, shuffle=False)
    np.testing.assert_allclose(history.history["loss"], theirs, rtol=0.01, atol=1e-6)
    assert theirs[-1] < 0.9 * theirs[0], "too little learnt to tell"
