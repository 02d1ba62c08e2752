"""A network made hard to quantise: narrow depthwise layers, channels of widely different range."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from sklearn.datasets import load_digits

import ganglion as gg
from ganglion import layers as L

Split = tuple[np.ndarray, np.ndarray]
FOLLOWERS = ("depthwise_conv2d", "conv2d_1", "depthwise_conv2d_1", "conv2d_2")
"""What reads each batch normalisation but the last."""


def digits() -> tuple[Split, Split]:
    """1200 handwritten digits [n, 8, 8, 1] in [0, 1] with labels to train on, 597 to test."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = (data.images[order, :, :, None] / 16).astype(np.float32)
    y = data.target[order]
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def depthwise_network(channels: int, seed: int) -> ir.Model:
    """A convolution, two depthwise-separable ones and a dense layer, on digits."""
    blocks: list[L.Layer] = [L.Conv2D(channels, 3, padding="same", use_bias=False)]
    for _ in range(2):
        blocks += [*_normalised(), L.DepthwiseConv2D(3, padding="same", use_bias=False),
                   *_normalised(), L.Conv2D(channels, 1, use_bias=False)]
    return gg.Sequential([gg.Input((8, 8, 1)), *blocks, *_normalised(),
                          L.GlobalAveragePooling2D(), L.Dense(10, activation="softmax")],
                         seed=seed, name="narrow")


def _normalised() -> list[L.Layer]:
    return [L.BatchNormalization(momentum=0.9), L.ReLU()]


def uneven(model: ir.Model, octaves: float, seed: int) -> ir.Model:
    """The same function with other channels: each that a ReLU gives is multiplied by a power of
    two from [-octaves, octaves] and divided by it in the layer that reads it."""
    rng = np.random.default_rng(seed)
    old = {name: v.const_value.numpy() for name, v in model.graph.initializers.items()
           if v.const_value is not None}
    new = {}
    for k, follower in enumerate(FOLLOWERS):
        norm = "batch_normalization" + (f"_{k}" if k else "")
        factor = np.float32(2.0) ** rng.uniform(-octaves, octaves, len(old[f"{norm}/gamma"]))
        for part in ("gamma", "beta"):
            new[f"{norm}/{part}"] = old[f"{norm}/{part}"] * factor
        shape = (-1, 1, 1, 1) if follower.startswith("depthwise") else (1, -1, 1, 1)
        new[f"{follower}/kernel"] = old[f"{follower}/kernel"] / factor.reshape(shape)
    return gg.write_back(model, new)


def trained(model: ir.Model, data: Split, plan: Sequence[tuple[float, int]], seed: int
            ) -> ir.Model:
    """`plan`: learning rate and epochs of Adam, one after another."""
    for rate, epochs in plan:
        model, _ = gg.fit(model, *data, loss="sparse_categorical_crossentropy", epochs=epochs,
                          optimizer=gg.optimizers.Adam(learning_rate=rate), batch_size=50,
                          seed=seed)
    return model


def accuracy(model: ir.Model, data: Split) -> float:
    return gg.evaluate(model, *data, metrics=["accuracy"])["accuracy"]
