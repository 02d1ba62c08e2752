"""Law: a Keras model, read live or from its archive, answers as Keras does, within 1e-5."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")  # the others compile for a minute

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.formats.keras.archive import load_keras
from ganglion.formats.keras.live import from_keras

keras = pytest.importorskip("keras")
ort = pytest.importorskip("onnxruntime")
K = keras.layers
pytestmark = [pytest.mark.keras, pytest.mark.onnxruntime,
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # Keras's own

Build = Callable[..., object]

IMAGE = (9, 8, 3)
SERIES = (7, 4)


def run(model: ir.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs,
                                                        strict=True)})


def randomise(model, rng: np.random.Generator) -> None:
    for w in model.weights:
        values = rng.standard_normal(w.shape).astype(np.float32) * 0.4
        w.assign(np.abs(values) + 0.5 if "variance" in w.name else values)


def check(model, inputs: list[np.ndarray], folder: Path) -> None:
    want = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    want = [np.asarray(w) for w in (want if isinstance(want, list | tuple) else [want])]
    model.save(folder / "net.keras")
    for read in (from_keras(model), load_keras(folder / "net.keras")):
        got = run(read, inputs)
        assert len(got) == len(want)
        for g, w in zip(got, want):
            assert g.shape == w.shape
            np.testing.assert_allclose(g, w, atol=1e-5, rtol=1e-5)


ACTIVATIONS = ["relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid",
               "hard_sigmoid", "tanh", "softplus", "softmax", "linear", "softsign",
               "exponential", "hard_silu", "log_softmax"]

ONE_INPUT: dict[str, tuple[tuple[int, ...], list[Build]]] = {
    "dense": ((6,), [lambda: K.Dense(4), lambda: K.Dense(3, "relu", use_bias=False),
                     lambda: K.Dense(5, activation=K.LeakyReLU(0.1))]),
    "dense on sequences": (SERIES, [lambda: K.Dense(3, "tanh")]),
    "dense on images": (IMAGE, [lambda: K.Dense(2)]),
    "activations": ((6,), [lambda a=a: K.Activation(a) for a in ACTIVATIONS]),
    "activation layers": ((6,), [
        lambda: K.ReLU(), lambda: K.ReLU(max_value=0.5), lambda: K.ReLU(negative_slope=0.2),
        lambda: K.ReLU(0.7, 0.2), lambda: K.ReLU(0.9, 0.1, 0.3), lambda: K.ReLU(threshold=0.5),
        lambda: K.LeakyReLU(), lambda: K.LeakyReLU(0.05), lambda: K.ELU(0.5), lambda: K.Softmax()]),
    "softmax axis": (SERIES, [lambda: K.Softmax(axis=1)]),
    "conv1d": (SERIES, [
        lambda: K.Conv1D(5, 3), lambda: K.Conv1D(5, 3, strides=2, padding="same"),
        lambda: K.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        lambda: K.Conv1D(4, 2, padding="causal", strides=2), lambda: K.Conv1D(6, 2, groups=2)]),
    "conv2d": (IMAGE, [
        lambda: K.Conv2D(5, 3), lambda: K.Conv2D(4, (3, 2), strides=2, padding="same"),
        lambda: K.Conv2D(4, (2, 5), strides=(1, 3), padding="same", activation="softmax"),
        lambda: K.Conv2D(6, 3, dilation_rate=2, use_bias=False),
        lambda: K.Conv2D(6, 3, padding="same", dilation_rate=(2, 1)),
        lambda: K.Conv2D(6, 2, groups=3)]),
    "depthwise": (IMAGE, [
        lambda: K.DepthwiseConv2D(3), lambda: K.DepthwiseConv2D(3, 2, "same", activation="relu6"),
        lambda: K.DepthwiseConv2D((2, 3), depth_multiplier=3, use_bias=False)]),
    "separable": (IMAGE, [
        lambda: K.SeparableConv2D(4, 3),
        lambda: K.SeparableConv2D(5, 3, 2, "same", depth_multiplier=2, activation="relu")]),
    "transposed": (IMAGE, [
        lambda: K.Conv2DTranspose(4, 3), lambda: K.Conv2DTranspose(4, 3, 2, "same"),
        lambda: K.Conv2DTranspose(4, 2, 3), lambda: K.Conv2DTranspose(4, 2, 3, "same"),
        lambda: K.Conv2DTranspose(4, (4, 3), (2, 1), "same", use_bias=False),
        lambda: K.Conv2DTranspose(3, 4, 2), lambda: K.Conv2DTranspose(3, 5, 2, "same"),
        lambda: K.Conv2DTranspose(3, 3, 2, "same", output_padding=0),
        lambda: K.Conv2DTranspose(3, 3, 2, "valid", output_padding=1),
        lambda: K.Conv2DTranspose(3, 4, 2, "same", output_padding=1),
        lambda: K.Conv2DTranspose(3, 3, dilation_rate=2)]),
    "pools of sequences": (SERIES, [
        lambda: K.MaxPooling1D(), lambda: K.AveragePooling1D(3, 2, "same"),
        lambda: K.MaxPooling1D(3, 1, "same"), lambda: K.AveragePooling1D(2),
        lambda: K.GlobalMaxPooling1D(), lambda: K.GlobalAveragePooling1D(keepdims=True)]),
    "pools of images": (IMAGE, [
        lambda: K.MaxPooling2D(), lambda: K.MaxPooling2D((3, 2), (2, 1), "same"),
        lambda: K.AveragePooling2D(2), lambda: K.AveragePooling2D(3, 2, "same"),
        lambda: K.GlobalMaxPooling2D(), lambda: K.GlobalAveragePooling2D(),
        lambda: K.GlobalAveragePooling2D(keepdims=True)]),
    "batch normalisation": (IMAGE, [
        lambda: K.BatchNormalization(), lambda: K.BatchNormalization(scale=False, epsilon=0.1),
        lambda: K.BatchNormalization(center=False), lambda: K.BatchNormalization(axis=1)]),
    "batch normalisation of rows": ((6,), [lambda: K.BatchNormalization()]),
    "batch normalisation of sequences": (SERIES, [lambda: K.BatchNormalization()]),
    "layer normalisation": (SERIES, [
        lambda: K.LayerNormalization(), lambda: K.LayerNormalization(axis=(1, 2), epsilon=0.01),
        lambda: K.LayerNormalization(center=False), lambda: K.LayerNormalization(scale=False)]),
    "shapes of sequences": (SERIES, [
        lambda: K.Flatten(), lambda: K.Reshape((4, 7)), lambda: K.Reshape((2, -1, 7)),
        lambda: K.Permute((2, 1)), lambda: K.ZeroPadding1D(2), lambda: K.ZeroPadding1D((1, 2)),
        lambda: K.Cropping1D((2, 1)), lambda: K.UpSampling1D(3), lambda: K.Dropout(0.3)]),
    "shapes of rows": ((6,), [lambda: K.RepeatVector(3), lambda: K.Reshape((3, 2, 1)),
                              lambda: K.Flatten()]),
    "shapes of images": (IMAGE, [
        lambda: K.Flatten(), lambda: K.Permute((3, 1, 2)), lambda: K.ZeroPadding2D(),
        lambda: K.ZeroPadding2D(((1, 0), (2, 3))), lambda: K.ZeroPadding2D((2, 1)),
        lambda: K.Cropping2D(((1, 2), (0, 3))), lambda: K.Cropping2D(1),
        lambda: K.UpSampling2D(), lambda: K.UpSampling2D((2, 3), interpolation="bilinear")]),
    "channels first": ((3, 9, 8), [
        lambda: K.Flatten(data_format="channels_first"),
        lambda: K.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first"),
        lambda: K.Cropping2D(((1, 0), (2, 3)), data_format="channels_first"),
        lambda: K.GlobalMaxPooling2D(data_format="channels_first")]),
    "simple rnn": (SERIES, [
        lambda: K.SimpleRNN(3), lambda: K.SimpleRNN(3, "relu", return_sequences=True),
        lambda: K.SimpleRNN(3, use_bias=False, go_backwards=True, return_sequences=True),
        lambda: K.SimpleRNN(3, return_state=True)]),
    "lstm": (SERIES, [
        lambda: K.LSTM(3), lambda: K.LSTM(3, return_sequences=True, return_state=True),
        lambda: K.LSTM(3, go_backwards=True), lambda: K.LSTM(3, use_bias=False),
        lambda: K.LSTM(3, go_backwards=True, return_sequences=True, unit_forget_bias=False),
        lambda: K.LSTM(3, "relu", "hard_sigmoid", dropout=0.2, recurrent_dropout=0.1),
        lambda: K.LSTM(3, "linear", "sigmoid", return_sequences=True)]),
    "gru": (SERIES, [
        lambda: K.GRU(3), lambda: K.GRU(3, reset_after=False, return_sequences=True),
        lambda: K.GRU(3, return_sequences=True, return_state=True),
        lambda: K.GRU(3, go_backwards=True, reset_after=False),
        lambda: K.GRU(3, use_bias=False), lambda: K.GRU(3, use_bias=False, reset_after=False),
        lambda: K.GRU(3, "softsign", "hard_sigmoid")]),
    "bidirectional": (SERIES, [
        lambda: K.Bidirectional(K.LSTM(3)),
        lambda: K.Bidirectional(K.LSTM(3, return_sequences=True)),
        lambda: K.Bidirectional(K.GRU(3, return_sequences=True), "sum"),
        lambda: K.Bidirectional(K.GRU(3, reset_after=False), "mul"),
        lambda: K.Bidirectional(K.SimpleRNN(3, return_sequences=True), "ave"),
        lambda: K.Bidirectional(K.SimpleRNN(3, "relu")),
        lambda: K.Bidirectional(K.LSTM(3, return_state=True)),
        lambda: K.Bidirectional(K.LSTM(3, return_sequences=True), None),
        lambda: K.Bidirectional(K.LSTM(3, "relu", "hard_sigmoid")),
        lambda: K.Bidirectional(K.GRU(2), backward_layer=K.GRU(2, "relu", go_backwards=True))]),
    "time distributed": (SERIES, [
        lambda: K.TimeDistributed(K.Dense(3, "softmax")), lambda: K.TimeDistributed(K.ReLU()),
        lambda: K.TimeDistributed(K.BatchNormalization()),
        lambda: K.TimeDistributed(K.RepeatVector(2))]),
    "time distributed images": ((4, *IMAGE), [
        lambda: K.TimeDistributed(K.Conv2D(2, 3, activation="relu")),
        lambda: K.TimeDistributed(K.Flatten())]),
}


@pytest.mark.parametrize("case", ONE_INPUT)
def test_a_layer_answers_as_keras_does(case, tmp_path):
    shape, builders = ONE_INPUT[case]
    rng = np.random.default_rng(len(case))
    x = keras.Input(shape)
    outputs = []
    for build in builders:
        made = build()(x)
        outputs += list(made) if isinstance(made, list | tuple) else [made]
    model = keras.Model(x, outputs)
    randomise(model, rng)
    check(model, [rng.standard_normal((2, *shape)).astype(np.float32)], tmp_path)


def test_embedding_answers_as_keras_does(tmp_path):
    x = keras.Input((5,), dtype="int32")
    model = keras.Model(x, [K.Embedding(11, 3)(x), K.Flatten()(K.Embedding(11, 2)(x))])
    check(model, [np.random.default_rng(0).integers(0, 11, (2, 5), np.int32)], tmp_path)


def test_merging_layers_answer_as_keras_does(tmp_path):
    a, b, c = keras.Input((4, 3)), keras.Input((4, 3)), keras.Input((4, 1))
    row = keras.Input((3,))
    outputs = [K.Add()([a, b, c]), K.Subtract()([a, b]), K.Multiply()([a, b, c]),
               K.Average()([a, b, c]), K.Maximum()([a, b]), K.Minimum()([a, b]),
               K.Concatenate()([a, b, c]), K.Concatenate(axis=1)([a, b]),
               K.Dot(axes=2)([a, b]), K.Dot(axes=(1, 1))([a, c]), K.Dot(axes=-1)([row, row]),
               K.Dot(axes=(2, 1), normalize=True)([a, row]), K.Add()([a, row])]
    model = keras.Model([a, b, c, row], outputs)
    rng = np.random.default_rng(0)
    check(model, [rng.standard_normal((2, *s)).astype(np.float32)
                  for s in ((4, 3), (4, 3), (4, 1), (3,))], tmp_path)


def test_attention_answers_as_keras_does(tmp_path):
    q, v, k = keras.Input((5, 4)), keras.Input((6, 3)), keras.Input((6, 2))
    outputs = [K.MultiHeadAttention(2, 3)(q, v), K.MultiHeadAttention(3, 2, value_dim=2)(q, v, k),
               K.MultiHeadAttention(1, 4, use_bias=False, output_shape=7, dropout=0.1)(q, v),
               K.MultiHeadAttention(2, 3)(q, v, key=k),
               K.MultiHeadAttention(2, 2)(q, q, use_causal_mask=True)]
    model = keras.Model([q, v, k], outputs)
    rng = np.random.default_rng(0)
    randomise(model, rng)
    check(model, [rng.standard_normal((2, *s)).astype(np.float32)
                  for s in ((5, 4), (6, 3), (6, 2))], tmp_path)


def test_recurrent_layers_take_initial_states_as_keras_does(tmp_path):
    x, h, c = keras.Input((5, 4)), keras.Input((3,)), keras.Input((3,))
    outputs = [K.LSTM(3)(x, initial_state=[h, c]), K.GRU(3)(x, initial_state=h),
               K.SimpleRNN(3)(x, initial_state=[h]),
               K.Bidirectional(K.LSTM(3))(x, initial_state=[h, c, c, h])]
    model = keras.Model([x, h, c], outputs)
    rng = np.random.default_rng(0)
    randomise(model, rng)
    check(model, [rng.standard_normal((2, *s)).astype(np.float32)
                  for s in ((5, 4), (3,), (3,))], tmp_path)


def test_sequential_nested_and_shared_networks_are_laid_open(tmp_path):
    inner = keras.Sequential([keras.Input((6,)), K.Dense(5, "relu"), K.BatchNormalization()])
    x = keras.Input((6,), name="x")
    middle_in = keras.Input((6,))
    middle = keras.Model(middle_in, [inner(middle_in), K.Dense(5)(middle_in)])
    shared = K.Dense(2, "tanh")
    a, b = middle(x)
    c, _ = middle(K.ReLU()(x))
    model = keras.Model({"x": x}, [shared(a), shared(b), c])
    rng = np.random.default_rng(0)
    randomise(model, rng)
    value = rng.standard_normal((2, 6)).astype(np.float32)
    want = [np.asarray(w) for w in model({"x": value}, training=False)]
    model.save(tmp_path / "net.keras")
    for read in (from_keras(model), load_keras(tmp_path / "net.keras")):
        assert sum(n.endswith("kernel") for n in read.graph.initializers) == 3
        for g, w in zip(run(read, [value]), want, strict=True):
            np.testing.assert_allclose(g, w, atol=1e-5)


def as_list(a, b):
    return [a, b]


def as_tuple(a, b):
    return (a, b)


def by_name(a, b):
    return {"first": a, "second": b}


@pytest.mark.parametrize("form", [as_list, as_tuple, by_name])
@pytest.mark.parametrize("masked", [False, True])
def test_an_inner_network_of_several_inputs_takes_and_gives_them_in_any_form(form, masked,
                                                                             tmp_path):
    a, b = keras.Input((3,), name="first"), keras.Input((5,), name="second")
    left, right = K.Dense(4, name="zulu")(a), K.Dense(2, name="alpha")(b)
    inner = keras.Model(form(a, b), {"zulu": left, "alpha": right}, name="inner")
    x, y = keras.Input((3,)), keras.Input((5,))
    more = {"mask": form(None, None)} if masked and form is as_list else {}
    found = inner(form(x, y), **more)
    model = keras.Model([x, y], [found["alpha"], K.ReLU()(found["zulu"])])
    rng = np.random.default_rng(0)
    randomise(model, rng)
    check(model, [rng.standard_normal((2, n)).astype(np.float32) for n in (3, 5)], tmp_path)


def test_the_order_of_named_outputs_is_that_of_their_names_in_the_network(tmp_path):
    x = keras.Input((3,))
    model = keras.Model(x, {"zulu": K.Dense(4)(x), "alpha": K.Dense(2)(x), "mike": K.Dense(5)(x)})
    rng = np.random.default_rng(0)
    randomise(model, rng)
    value = rng.standard_normal((2, 3)).astype(np.float32)
    want = {k: np.asarray(v) for k, v in model(value, training=False).items()}
    model.save(tmp_path / "net.keras")
    for read in (from_keras(model), load_keras(tmp_path / "net.keras")):
        sizes = [int(v.shape[1]) for v in read.graph.outputs]
        by_size = {v.shape[1]: v for v in want.values()}
        for got in run(read, [value]):
            np.testing.assert_allclose(got, by_size[got.shape[1]], atol=1e-5)
        assert sorted(sizes) == [2, 4, 5]


def test_a_sequential_built_by_a_call_is_read(tmp_path):
    model = keras.Sequential([K.Dense(4, "relu"), K.Dropout(0.5), K.Dense(2)])
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    model(x)
    check(model, [x], tmp_path)


def test_marks_of_training_follow_keras(tmp_path):
    model = keras.Sequential([
        keras.Input((4,)), K.Dense(3, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2)),
        K.Dense(3, bias_regularizer="l2"), K.Dense(2, kernel_constraint="non_neg")])
    model.layers[1].trainable = False
    read = from_keras(model)
    marks = {k: dict(v.metadata_props) for k, v in read.graph.initializers.items()}
    names = [layer.name for layer in model.layers]
    assert marks[f"{names[0]}/kernel"]["ganglion.regularizer"] == '{"l1": 0.1, "l2": 0.2}'
    trained = {n: marks[f"{n}/kernel"]["ganglion.trainable"] for n in names}
    assert list(trained.values()) == ["true", "false", "true"]
    refused = {n.metadata_props["ganglion.layer"] for n in read.graph
               if "ganglion.untrainable" in n.metadata_props}
    assert refused == {names[2]}
