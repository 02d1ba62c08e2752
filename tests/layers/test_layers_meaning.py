"""Laws that every layer keeps, whatever it computes."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ganglion import layers as L
from ganglion.ops.evaluate import evaluate
from ganglion.ops.registry import find
from ganglion.passes.pipeline import prepare

ROW, SERIES, IMAGE = (6,), (7, 4), (9, 8, 3)
ACTIVATIONS = ["relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid",
               "hard_sigmoid", "tanh", "softplus", "softmax", "linear", "softsign", "exponential",
               "hard_silu", "log_softmax"]

CASES: dict[str, tuple[tuple[int, ...], Callable[[], L.Layer]]] = {
    **{a: (ROW, lambda a=a: L.Activation(a)) for a in ACTIVATIONS},
    "Dense": (ROW, lambda: L.Dense(3, "relu")),
    "Dense on sequences": (SERIES, lambda: L.Dense(3)),
    "ReLU": (ROW, lambda: L.ReLU(0.9, 0.1, 0.3)),
    "LeakyReLU": (ROW, L.LeakyReLU), "ELU": (ROW, lambda: L.ELU(0.5)),
    "Softmax": (SERIES, lambda: L.Softmax(1)),
    "Conv1D": (SERIES, lambda: L.Conv1D(5, 3, padding="causal", dilation_rate=2)),
    "Conv2D": (IMAGE, lambda: L.Conv2D(5, (3, 2), 2, "same", activation="relu")),
    "grouped": (IMAGE, lambda: L.Conv2D(6, 3, groups=3)),
    "DepthwiseConv2D": (IMAGE, lambda: L.DepthwiseConv2D(3, depth_multiplier=2)),
    "SeparableConv2D": (IMAGE, lambda: L.SeparableConv2D(4, 3, padding="same")),
    "Conv2DTranspose": (IMAGE, lambda: L.Conv2DTranspose(4, 3, 2, "same")),
    "MaxPooling1D": (SERIES, L.MaxPooling1D),
    "MaxPooling2D": (IMAGE, lambda: L.MaxPooling2D(3, 2, "same")),
    "AveragePooling1D": (SERIES, L.AveragePooling1D),
    "AveragePooling2D": (IMAGE, lambda: L.AveragePooling2D(3, 2, "same")),
    "GlobalMaxPooling1D": (SERIES, L.GlobalMaxPooling1D),
    "GlobalMaxPooling2D": (IMAGE, L.GlobalMaxPooling2D),
    "GlobalAveragePooling1D": (SERIES, L.GlobalAveragePooling1D),
    "GlobalAveragePooling2D": (IMAGE, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    "BatchNormalization": (IMAGE, L.BatchNormalization),
    "BatchNormalization of rows": (ROW, lambda: L.BatchNormalization(scale=False)),
    "LayerNormalization": (SERIES, L.LayerNormalization),
    "Flatten": (IMAGE, L.Flatten), "Reshape": (SERIES, lambda: L.Reshape((2, -1))),
    "Permute": (IMAGE, lambda: L.Permute((3, 1, 2))),
    "RepeatVector": (ROW, lambda: L.RepeatVector(3)), "Dropout": (ROW, lambda: L.Dropout(0.5)),
    "ZeroPadding1D": (SERIES, lambda: L.ZeroPadding1D((1, 2))),
    "ZeroPadding2D": (IMAGE, L.ZeroPadding2D), "Cropping1D": (SERIES, L.Cropping1D),
    "Cropping2D": (IMAGE, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    "UpSampling1D": (SERIES, L.UpSampling1D), "UpSampling2D": (IMAGE, L.UpSampling2D),
    "bilinear": (IMAGE, lambda: L.UpSampling2D((2, 3), interpolation="bilinear")),
    "Embedding": (ROW, lambda: L.Embedding(5, 3)),
    "SimpleRNN": (SERIES, lambda: L.SimpleRNN(3, "relu")),
    "LSTM": (SERIES, lambda: L.LSTM(3, return_sequences=True)),
    "LSTM of other functions": (
        SERIES, lambda: L.LSTM(3, "relu", recurrent_activation="hard_sigmoid", use_bias=False)),
    "linear LSTM": (SERIES, lambda: L.LSTM(3, "linear", dropout=0.5)),
    "LSTM backwards": (SERIES, lambda: L.LSTM(3, go_backwards=True)),
    "LSTM backwards, all steps": (
        SERIES, lambda: L.LSTM(3, go_backwards=True, return_sequences=True)),
    "GRU": (SERIES, lambda: L.GRU(3)),
    "GRU before": (SERIES, lambda: L.GRU(3, reset_after=False, return_sequences=True)),
    "Bidirectional": (SERIES, lambda: L.Bidirectional(L.LSTM(3, return_sequences=True))),
    "Bidirectional sum": (SERIES, lambda: L.Bidirectional(L.GRU(3), "sum")),
    "TimeDistributed": (SERIES, lambda: L.TimeDistributed(L.Dense(3))),
    "TimeDistributed images": ((2, *IMAGE), lambda: L.TimeDistributed(L.Conv2D(2, 3))),
}


def joined() -> ir.Model:
    """Every layer of several inputs or outputs in one network."""
    x, y = L.Input((5, 4)), L.Input((5, 4))
    h = L.Dense(3)(L.Flatten()(y))
    last, state, cell = L.LSTM(3, return_state=True)(x, initial_state=[h, h])
    outputs = [
        L.Add()([x, y, x]), L.Subtract()([x, y]), L.Multiply()([x, y]), L.Average()([x, y]),
        L.Maximum()([x, y]), L.Minimum()([x, y]), L.Concatenate(1)([x, y]), L.Dot(2)([x, y]),
        L.Dot((1, 1), normalize=True)([x, y]), L.Dot(1)([h, last]), L.Add()([state, cell]),
        L.MultiHeadAttention(2, 3)(x, y),
        L.MultiHeadAttention(2, 3, dropout=0.1)(x, x, use_causal_mask=True)]
    return L.Functional([x, y], outputs)


MODELS: dict[str, Callable[[], ir.Model]] = {
    **{name: lambda shape=shape, make=make: L.Sequential([L.Input(shape), make()])
       for name, (shape, make) in CASES.items()}, "joined": joined}


def drawn(model: ir.Model, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {str(v.name): rng.uniform(0, 4, (batch, *list(v.shape or ())[1:])).astype(np.float32)
            for v in model.graph.inputs}


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_is_valid_onnx_of_the_shape_that_it_declares(name):
    model = MODELS[name]()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    got = evaluate(model, drawn(model, 2))
    for value in model.graph.outputs:
        assert value.shape is not None
        assert str(value.shape[0]) == "N"
        assert got[str(value.name)].shape == (2, *list(value.shape)[1:])


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_means_the_same_once_prepared_and_each_operator_is_known(name):
    model = MODELS[name]()
    ready = prepare(model, batch=2)
    for node in ready.graph:
        assert find(node.domain, node.op_type) is not None, node.op_type
    inputs = drawn(model, 2)
    want, got = evaluate(model, inputs), evaluate(ready, inputs)
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, atol=1e-5, rtol=1e-5)


def test_a_recurrent_layer_is_one_onnx_node_and_never_a_loop():
    for name, op in (("LSTM", "LSTM"), ("GRU", "GRU"), ("SimpleRNN", "RNN"),
                     ("Bidirectional", "LSTM"), ("LSTM backwards, all steps", "LSTM")):
        ops = [n.op_type for n in MODELS[name]().graph]
        assert ops.count(op) == 1
        assert not {"Loop", "Scan", "If"} & set(ops)


def test_recurrent_dropout_is_exact_to_run_and_marked_as_not_trainable():
    model = L.Sequential([L.Input(SERIES), L.LSTM(3, recurrent_dropout=0.2)])
    (node,) = [n for n in model.graph if n.op_type == "LSTM"]
    assert "recurrent_dropout=0.2" in node.metadata_props["ganglion.untrainable"]


def test_a_bidirectional_layer_reads_the_reverse_with_its_second_half():
    model = L.Sequential([L.Input(SERIES), L.Bidirectional(L.GRU(3, return_sequences=True))])
    x = drawn(model, 1)["input_layer"]
    (y,) = evaluate(model, {"input_layer": x}).values()
    changed = x.copy()
    changed[:, -1] += 1
    (z,) = evaluate(model, {"input_layer": changed}).values()
    np.testing.assert_array_equal(y[:, :-1, :3], z[:, :-1, :3])
    assert (y[:, 0, 3:] != z[:, 0, 3:]).any()
