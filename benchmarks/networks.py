"""The networks of the benchmarks, described once, in words that Keras and
the project's own layers share.

Weights are drawn from a seed: speed does not depend on them, and outputs are only compared between
runtimes. The MLPerf Tiny reference networks come as files (GANGLION_MODELS); the twins here have
their shapes (Banbury et al., "MLPerf Tiny Benchmark", 2021) and need no file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import onnx_ir as ir

from ganglion import layers

Described = tuple[Any, Any]
"""A network's symbolic input and output, in the library that described it."""


@dataclass(frozen=True)
class Network:
    """`describe`, given a library of layers in Keras's words, gives its input and output.

    `loss` and `optimizer` train it; `int8`: also measured quantised.
    """

    name: str
    describe: Callable[[ModuleType], Described]
    loss: str = "sparse_categorical_crossentropy"
    optimizer: str = "adam"
    int8: bool = False

    def model(self) -> ir.Model:
        """In the project's own layers."""
        return layers.Functional(*self.describe(layers), name="net")


def chain(start: Any, *each: Any) -> Described:
    """Layers one after another."""
    x = start
    for layer in each:
        x = layer(x)
    return start, x


def mlp(L: ModuleType) -> Described:
    """784-64-10, as for MNIST."""
    return chain(L.Input((784,)), L.Dense(64, activation="relu"),
                 L.Dense(10, activation="softmax"))


def regression(L: ModuleType) -> Described:
    """10-64-1, linear output."""
    return chain(L.Input((10,)), L.Dense(64, activation="relu"), L.Dense(1))


def binary(L: ModuleType) -> Described:
    """8-10-1, sigmoid output."""
    return chain(L.Input((8,)), L.Dense(10, activation="relu"),
                 L.Dense(1, activation="sigmoid"))


def linear(L: ModuleType) -> Described:
    """2-1: y = x w + b."""
    return chain(L.Input((2,)), L.Dense(1))


def lstm(L: ModuleType) -> Described:
    """LSTM(64) over 50 steps of 32, ten classes."""
    return chain(L.Input((50, 32)), L.LSTM(64), L.Dense(10, activation="softmax"))


def gru(L: ModuleType) -> Described:
    """GRU(64) over 50 steps of 32, ten classes."""
    return chain(L.Input((50, 32)), L.GRU(64), L.Dense(10, activation="softmax"))


def lenet(L: ModuleType) -> Described:
    """LeNet-5 (LeCun et al., 1998) on 28 x 28, with ReLU and maximum pooling."""
    return chain(
        L.Input((28, 28, 1)), L.Conv2D(6, 5, padding="same", activation="relu"), L.MaxPooling2D(),
        L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(), L.Flatten(),
        L.Dense(120, activation="relu"), L.Dense(84, activation="relu"),
        L.Dense(10, activation="softmax"))


def small_cnn(L: ModuleType) -> Described:
    """conv16-pool-conv32-pool-64-10 on 28 x 28."""
    return chain(
        L.Input((28, 28, 1)), L.Conv2D(16, 3, activation="relu"), L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(),
        L.Dense(64, activation="relu"), L.Dense(10, activation="softmax"))


def series_cnn(L: ModuleType) -> Described:
    """A 1-D CNN over 128 steps of 9 channels (inertial sensors)."""
    return chain(
        L.Input((128, 9)), L.Conv1D(64, 3, activation="relu"), L.Conv1D(64, 3, activation="relu"),
        L.MaxPooling1D(), L.Flatten(), L.Dense(100, activation="relu"),
        L.Dense(6, activation="softmax"))


def transformer(L: ModuleType) -> Described:
    """Two encoder blocks (Vaswani et al., 2017): 32 tokens of 64, four heads, ReLU between."""
    x = start = L.Input((32, 64))
    for _ in range(2):
        y = L.MultiHeadAttention(num_heads=4, key_dim=16)(x, x)
        x = L.LayerNormalization()(L.Add()([x, y]))
        y = L.Dense(64)(L.Dense(128, activation="relu")(x))
        x = L.LayerNormalization()(L.Add()([x, y]))
    y = L.Dense(10, activation="softmax")(L.GlobalAveragePooling1D()(x))
    return start, y


def autoencoder(L: ModuleType) -> Described:
    """640-128-128-128-128-8-128-128-128-128-640: anomaly detection's shape."""
    widths = (128, 128, 128, 128, 8, 128, 128, 128, 128)
    return chain(L.Input((640,)), *(L.Dense(w, activation="relu") for w in widths),
                 L.Dense(640))


def short_autoencoder(L: ModuleType) -> Described:
    """640-128-8-128-640."""
    return chain(L.Input((640,)), *(L.Dense(w, activation="relu") for w in (128, 8, 128)),
                 L.Dense(640))


def ds_cnn(L: ModuleType) -> Described:
    """Keyword spotting on 49 x 10: a convolution, four depthwise separable blocks of 64."""
    body = [L.Conv2D(64, (10, 4), strides=2, padding="same"), L.BatchNormalization(), L.ReLU()]
    for _ in range(4):
        body += [L.DepthwiseConv2D(3, padding="same"), L.BatchNormalization(), L.ReLU(),
                 L.Conv2D(64, 1, padding="same"), L.BatchNormalization(), L.ReLU()]
    return chain(L.Input((49, 10, 1)), *body, L.GlobalAveragePooling2D(),
                 L.Dense(12, activation="softmax"))


def resnet8(L: ModuleType) -> Described:
    """Image classification on 32 x 32 x 3: a convolution and three residual stacks."""
    start = L.Input((32, 32, 3))
    x = _normal(L, L.Conv2D(16, 3, padding="same"), start)
    x = L.ReLU()(x)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = L.ReLU()(_normal(L, L.Conv2D(filters, 3, strides=stride, padding="same"), x))
        y = _normal(L, L.Conv2D(filters, 3, padding="same"), y)
        if stride > 1:
            x = L.Conv2D(filters, 1, strides=stride, padding="same")(x)
        x = L.ReLU()(L.Add()([x, y]))
    x = L.Flatten()(L.AveragePooling2D(8)(x))
    return start, L.Dense(10, activation="softmax")(x)


def visual_wake_words(L: ModuleType) -> Described:
    """MobileNetV1 (Howard et al., 2017), width 0.25, on 96 x 96 x 3, two classes."""
    body = [L.Conv2D(8, 3, strides=2, padding="same"), L.BatchNormalization(), L.ReLU()]
    for filters, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1),
                            (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1)):
        body += [L.DepthwiseConv2D(3, strides=stride, padding="same"), L.BatchNormalization(),
                 L.ReLU(), L.Conv2D(filters, 1, padding="same"), L.BatchNormalization(),
                 L.ReLU()]
    return chain(L.Input((96, 96, 3)), *body, L.AveragePooling2D(3), L.Flatten(),
                 L.Dense(2, activation="softmax"))


def streaming_wake_word(L: ModuleType) -> Described:
    """Four separable convolutions along 30 frames of 40 features, down to one frame."""
    body = []
    for size, filters in ((3, 128), (5, 64), (10, 64), (15, 32)):
        body += [L.DepthwiseConv2D((size, 1), use_bias=False),
                 L.Conv2D(filters, 1, use_bias=False), L.BatchNormalization(), L.ReLU()]
    return chain(L.Input((30, 1, 40)), *body, L.Flatten(), L.Dense(3))


def mobilenet_v2(L: ModuleType) -> Described:
    """MobileNetV2 (Sandler et al., 2018), width 0.35, on 96 x 96 x 3, two classes."""
    start = L.Input((96, 96, 3))
    x = _relu6(L, _normal(L, L.Conv2D(16, 3, strides=2, padding="same", use_bias=False), start))
    channels = 16
    for expand, filters, repeats, stride in ((1, 8, 1, 1), (6, 8, 2, 2), (6, 16, 3, 2),
                                             (6, 24, 4, 2), (6, 32, 3, 1), (6, 56, 3, 2),
                                             (6, 112, 1, 1)):
        for i in range(repeats):
            x = _inverted(L, x, channels, expand, filters, stride if i == 0 else 1)
            channels = filters
    x = _relu6(L, _normal(L, L.Conv2D(1280, 1, use_bias=False), x))
    y = L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(x))
    return start, y


def _inverted(L: ModuleType, x: Any, channels: int, expand: int, filters: int,
              stride: int) -> Any:
    """MobileNetV2's block: widen, depthwise, narrow; added to its input where shapes allow."""
    y = x
    if expand > 1:
        y = _relu6(L, _normal(L, L.Conv2D(channels * expand, 1, use_bias=False), y))
    depthwise = L.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)
    y = _relu6(L, _normal(L, depthwise, y))
    y = _normal(L, L.Conv2D(filters, 1, use_bias=False), y)
    return L.Add()([x, y]) if stride == 1 and channels == filters else y


def _normal(L: ModuleType, layer: Any, x: Any) -> Any:
    return L.BatchNormalization()(layer(x))


def _relu6(L: ModuleType, x: Any) -> Any:
    return L.Activation("relu6")(x)


BINARY, REGRESSION = "binary_crossentropy", "mean_squared_error"

INFERENCE: Sequence[Network] = (
    Network("784-64-10", mlp), Network("10-64-1", regression), Network("8-10-1", binary),
    Network("2-1", linear), Network("LSTM(64) 50x32", lstm), Network("GRU(64) 50x32", gru),
    Network("LeNet 28x28", lenet, int8=True),
    Network("MobileNetV2 0.35 96x96", mobilenet_v2, int8=True),
    Network("1-D CNN 128x9", series_cnn, int8=True),
    Network("transformer 2x64, 32 tokens", transformer),
    Network("DS-CNN 49x10", ds_cnn, int8=True), Network("ResNet-8 32x32", resnet8, int8=True),
    Network("visual wake words 96x96", visual_wake_words, int8=True),
    Network("streaming wake word 30x40", streaming_wake_word, int8=True),
    Network("autoencoder 640-128-8-128-640", short_autoencoder, int8=True),
    Network("autoencoder 640-4x128-8-4x128-640", autoencoder, int8=True),
)

TRAINING: Sequence[Network] = (
    Network("784-64-10", mlp), Network("conv16-conv32-64-10 28x28", small_cnn),
    Network("10-64-1", regression, REGRESSION), Network("8-10-1", binary, BINARY),
    Network("2-1", linear, REGRESSION, "sgd"), Network("LSTM(64) 50x32", lstm),
    Network("GRU(64) 50x32", gru),
    Network("autoencoder 640-128-8-128-640", short_autoencoder, REGRESSION),
    Network("DS-CNN 49x10", ds_cnn), Network("ResNet-8 32x32", resnet8),
)
