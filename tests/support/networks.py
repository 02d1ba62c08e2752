"""Networks that between them use every layer, described once for all tests."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ganglion import layers as L


def dense() -> ir.Model:
    return L.Sequential([L.Input((8,)), L.Dense(10, activation="relu"),
                         L.Dense(1, activation="sigmoid")])


def linear() -> ir.Model:
    return L.Sequential([L.Input((2,)), L.Dense(1)])


def activations() -> ir.Model:
    names = ("relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "hard_sigmoid", "tanh",
             "softplus")
    return L.Sequential([L.Input((16,)), *[layer for name in names
                                           for layer in (L.Dense(16), L.Activation(name))]])


def cnn() -> ir.Model:
    return L.Sequential([
        L.Input((12, 12, 3)), L.Conv2D(8, 3, padding="same", activation="relu"),
        L.BatchNormalization(), L.MaxPooling2D(), L.DepthwiseConv2D(3, padding="same"),
        L.SeparableConv2D(12, 3, activation="relu6"), L.AveragePooling2D(2),
        L.Conv2DTranspose(4, 3, strides=2), L.ZeroPadding2D(1), L.Cropping2D(1),
        L.UpSampling2D(2), L.GlobalAveragePooling2D(), L.Dropout(0.3),
        L.Dense(5, activation="softmax")])


def conv1d() -> ir.Model:
    return L.Sequential([
        L.Input((64, 3)), L.Conv1D(8, 5, padding="same", activation="relu"), L.MaxPooling1D(2),
        L.Conv1D(8, 3, dilation_rate=2, activation="relu"), L.AveragePooling1D(2),
        L.ZeroPadding1D(1), L.GlobalMaxPooling1D(), L.Dense(3)])


def residual() -> ir.Model:
    x = L.Input((8, 8, 3))
    a = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    b = L.Conv2D(8, 3, padding="same")(a)
    return L.Functional(x, L.Dense(4)(L.Flatten()(L.Activation("relu")(L.Add()([a, b])))))


def merges() -> ir.Model:
    a, b = L.Input((6,)), L.Input((6,))
    joined = [L.Multiply()([a, b]), L.Subtract()([a, b]), L.Average()([a, b]),
              L.Maximum()([a, b]), L.Dot(axes=1)([a, b])]
    return L.Functional([a, b], L.Concatenate()(joined))


def lstm() -> ir.Model:
    return L.Sequential([L.Input((10, 4)), L.LSTM(8, return_sequences=True), L.LSTM(6),
                         L.Dense(2)])


def gru() -> ir.Model:
    return L.Sequential([L.Input((10, 4)), L.GRU(8, return_sequences=True),
                         L.GRU(6, reset_after=False), L.Dense(2)])


def bidirectional() -> ir.Model:
    return L.Sequential([L.Input((10, 4)), L.Bidirectional(L.LSTM(8, return_sequences=True)),
                         L.SimpleRNN(5), L.Dense(2)])


def embedding() -> ir.Model:
    return L.Sequential([L.Input((12,), dtype="int32"), L.Embedding(50, 8),
                         L.GlobalAveragePooling1D(), L.Dense(2)])


def shapes() -> ir.Model:
    return L.Sequential([L.Input((10, 4)), L.TimeDistributed(L.Dense(3)), L.LayerNormalization(),
                         L.Permute((2, 1)), L.Reshape((30,)), L.RepeatVector(2)])


def attention() -> ir.Model:
    x = L.Input((8, 16))
    return L.Functional(x, L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)])))


def two_heads() -> ir.Model:
    x = L.Input((5,))
    return L.Functional(x, [L.Dense(3)(x), L.Dense(2, activation="softmax")(x)])


NETWORKS: dict[str, Callable[[], ir.Model]] = {
    f.__name__: f for f in (dense, linear, activations, cnn, conv1d, residual, merges, lstm, gru,
                            bidirectional, embedding, shapes, attention, two_heads)}

INTEGER = ("dense", "linear", "activations", "cnn", "conv1d", "residual", "merges", "embedding",
           "two_heads")
"""Those that become integer throughout when quantised."""


def drawn_inputs(model: ir.Model, rows: int, seed: int = 0) -> list[np.ndarray]:
    """One array [rows, ...] an input: standard normal, or small indices."""
    generator = np.random.default_rng(seed)
    found = []
    for value in model.graph.inputs:
        shape = (rows, *[int(d) for d in list(value.shape or ())[1:]])  # type: ignore[arg-type]
        dtype = value.dtype.numpy() if value.dtype else np.dtype(np.float32)
        found.append(generator.integers(0, 50, shape).astype(dtype) if dtype.kind == "i"
                     else generator.standard_normal(shape).astype(dtype))
    return found
