"""Small networks that between them meet every kind of kernel, for planted faults."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from tests.support import networks, small_networks

from ganglion import layers as L
from ganglion.compression import quantize
from ganglion.ops.graph import GraphBuilder


def _int8(make: Callable[[], ir.Model]) -> Callable[[], ir.Model]:
    def made() -> ir.Model:
        model = make()
        return quantize(model, calibration=networks.drawn_inputs(model, 32))
    return made


def small_cnn() -> ir.Model:
    return L.Sequential([
        L.Input((7, 6, 2)), L.Conv2D(4, 3, padding="same", activation="relu"), L.MaxPooling2D(2),
        L.DepthwiseConv2D(3, padding="same"), L.Conv2D(3, 2, strides=(1, 2)), L.Flatten(),
        L.Dense(4)])


def moves() -> ir.Model:
    g = GraphBuilder("moves")
    x = g.input("x", ir.DataType.FLOAT, (1, 4, 6))
    a, b = g.ops("Split", x, g.ints(1, 3), outputs=2, axis=1)
    padded = g.op("Pad", b, g.ints(0, 1, 0, 0, 0, 2))
    turned = g.op("Transpose", padded, perm=[0, 2, 1])
    tiled = g.op("Tile", a, g.ints(1, 4, 1))
    g.output("y", g.op("Concat", turned, g.op("Reshape", tiled, g.ints(1, 6, 4)), axis=1))
    g.output("z", g.op("Slice", x, g.ints(1), g.ints(6), g.ints(2), g.ints(2)))
    return g.model()


def indices() -> ir.Model:
    g = GraphBuilder("indices")
    x = g.input("x", ir.DataType.FLOAT, (5, 3))
    at = g.input("at", ir.DataType.INT64, (4,))
    rows = g.op("Gather", x, at, axis=0)
    g.output("y", g.op("Softmax", rows, axis=-1))
    g.output("best", g.op("ArgMax", x, axis=1, keepdims=0))
    return g.model()


def decisions() -> ir.Model:
    g = GraphBuilder("decisions")
    x, y = (g.input(n, ir.DataType.FLOAT, (3, 7)) for n in "xy")
    more = g.greater(x, y)
    g.output("picked", g.where(more, g.mul(x, 2.0), g.sub(y, 0.5)))
    g.output("floor", g.op("Floor", g.mul(x, 1.7)))
    g.output("clipped", g.op("Clip", g.add(x, y), g.constant(np.float32(-0.5)),
                             g.constant(np.float32(0.7))))
    return g.model()


def reductions() -> ir.Model:
    g = GraphBuilder("reductions")
    x = g.input("x", ir.DataType.FLOAT, (2, 5, 4))
    g.output("mean", g.op("ReduceMean", x, g.ints(2)))
    g.output("max", g.op("ReduceMax", x, g.ints(1)))
    g.output("sum", g.op("ReduceSum", x, g.ints(0, 2)))
    return g.model()


def resized() -> ir.Model:
    return L.Sequential([L.Input((3, 4, 2)), L.UpSampling2D(2, interpolation="bilinear"),
                         L.AveragePooling2D(2), L.Conv2DTranspose(2, 3, strides=2)])


def small_lstm() -> ir.Model:
    return L.Sequential([L.Input((4, 3)), L.LSTM(4, return_sequences=True), L.GRU(3), L.Dense(2)])


def norms() -> ir.Model:
    return L.Sequential([L.Input((4, 6)), L.Dense(6), L.LayerNormalization(),
                         L.Activation("gelu"), L.Dense(3, activation="sigmoid")])


NETWORKS: dict[str, Callable[[], ir.Model]] = {
    "dense": networks.dense, "dense_int8": _int8(networks.dense), "cnn": small_cnn,
    "cnn_int8": _int8(small_cnn), "moves": moves, "indices": indices, "decisions": decisions,
    "reductions": reductions, "resized": resized, "lstm": small_lstm, "norms": norms,
    "merges_int8": _int8(networks.merges), "plain": lambda: small_networks.plain(1)}
