"""prune_channels on networks as Keras makes them: recurrent layers behind pruned convolutions."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")  # the others compile for a minute

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.compression.pruning.structured import prune_channels
from ganglion.formats.keras.live import from_keras
from ganglion.ops.evaluate import evaluate

keras = pytest.importorskip("keras")
K = keras.layers
pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def behind_pooling() -> list[object]:
    return [K.Conv1D(8, 3, padding="same", activation="relu", name="first"), K.MaxPooling1D(2),
            K.LSTM(7)]


def in_both_directions() -> list[object]:
    return [K.Conv1D(8, 3, activation="relu", name="first"),
            K.Bidirectional(K.GRU(5, return_sequences=True)), K.GlobalAveragePooling1D()]


def step_by_step() -> list[object]:
    return [K.Reshape((5, 4, 6, 1)), K.TimeDistributed(K.Conv2D(8, 3, activation="relu"),
                                                       name="first"),
            K.TimeDistributed(K.Flatten()), K.LSTM(6)]


def rows_of_an_image() -> list[object]:
    return [K.Reshape((5, 4, 6)), K.Conv2D(8, 2, activation="relu", name="first"),
            K.Reshape((4, 24)), K.SimpleRNN(6)]


@pytest.mark.parametrize("layers", [behind_pooling, in_both_directions, step_by_step,
                                    rows_of_an_image])
def test_a_recurrent_layer_reads_fewer_features(layers: Callable[[], list[object]]) -> None:
    keras.utils.set_random_seed(3)
    model = from_keras(keras.Sequential([keras.Input((20, 6)), *layers(), K.Dense(3)]))
    smaller, report = prune_channels(model, 0.5)
    assert report.units["first/Conv"] == (8, 4)
    x = np.random.default_rng(1).normal(size=(3, 20, 6)).astype(np.float32)
    expected, = evaluate(model, {n.name or "": x for n in model.graph.inputs},
                         on_node=silence("first/Conv", report.removed["first/Conv"])).values()
    found, = evaluate(smaller, {n.name or "": x for n in smaller.graph.inputs}).values()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def silence(name: str, channels: tuple[int, ...]
            ) -> Callable[[ir.Node, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]:
    """Makes these channels of a convolution's output zero."""

    def quiet(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        if node.name != name:
            return outputs
        y = outputs[0].copy()
        y[:, list(channels)] = 0
        return (y,)

    return quiet
