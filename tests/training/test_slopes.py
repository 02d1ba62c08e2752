"""Whole networks with their losses: the gradient that generated C gives is the slope of what
generated C gives, both in float64."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.double import DoubleNetwork

from ganglion import layers as L
from ganglion.ops.graph import GraphBuilder
from ganglion.training import losses
from ganglion.training.step.building import build_evaluation
from ganglion.training.step.differentiate import differentiate
from ganglion.training.step.weights import trainable

ROWS = 5
STEP = 1e-6


def _dense(*ends: L.Layer) -> ir.Model:
    return L.Sequential([L.Input((4,)), L.Dense(6, "gelu"), L.LayerNormalization(), *ends], seed=1)


NETWORKS: dict[str, tuple[Callable[[], ir.Model], losses.Loss]] = {
    "softmax": (lambda: _dense(L.Dense(3, "softmax")), losses.SparseCategoricalCrossentropy()),
    "sigmoid": (lambda: _dense(L.Dense(2, "sigmoid")), losses.BinaryCrossentropy()),
    "huber": (lambda: _dense(L.Dense(2)), losses.Huber(0.5)),
    "probabilities": (lambda: _dense(L.Dense(3, "softplus")), losses.CategoricalCrossentropy()),
    "images": (lambda: L.Sequential([
        L.Input((6, 6, 2)), L.Conv2D(3, 3, activation="tanh"), L.DepthwiseConv2D(2),
        L.BatchNormalization(), L.AveragePooling2D(), L.Flatten(), L.Dense(2)], seed=1),
        losses.MeanSquaredError()),
    "series": (lambda: L.Sequential([
        L.Input((4, 3)), L.LSTM(3, return_sequences=True), L.GRU(2), L.Dense(3, "softmax")],
        seed=1), losses.SparseCategoricalCrossentropy()),
}


def _model(name: str) -> tuple[ir.Model, list[str]]:
    """The weighted loss of a batch and its gradients, the weights being inputs."""
    make, loss = NETWORKS[name]
    net = make()
    names = [str(v.name) for v in trainable(net)]
    model = build_evaluation(net, [loss], ROWS, names, weight_ranks=[1])
    g = GraphBuilder.extending(model)
    rows = model.graph.outputs[0]
    g.output("total", g.op("ReduceMean", rows, keepdims=0))
    return differentiate(model, "total", names), names


def _drawn(value: ir.Value, rng: np.random.Generator) -> np.ndarray:
    shape = [int(d) for d in value.shape or ()]
    if value.dtype == ir.DataType.INT32:
        return rng.integers(0, 3, shape).astype(np.int32)
    if str(value.name).startswith(("target", "sample_weight")):
        return rng.uniform(0.1, 0.9, shape)
    return 0.5 * rng.standard_normal(shape)


def _moved(feeds: dict[str, np.ndarray], names: Sequence[str],
           way: dict[str, np.ndarray], length: float) -> dict[str, np.ndarray]:
    return feeds | {n: feeds[n] + length * way[n] for n in names}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_of_a_network_is_the_slope_of_its_loss(name: str, tmp_path: Path) -> None:
    model, names = _model(name)
    compiled = DoubleNetwork(model, tmp_path)
    rng = np.random.default_rng(3)
    feeds = {str(v.name): _drawn(v, rng) for v in model.graph.inputs}
    gradients = compiled.run(feeds)
    for moved in [names, *([n] for n in names)]:
        way = {n: rng.standard_normal(feeds[n].shape) for n in moved}
        up, down = (compiled.run(_moved(feeds, moved, way, s * STEP))["total"] for s in (1, -1))
        found = sum(float((gradients[f"grad.{n}"] * way[n]).sum()) for n in moved)
        assert found == pytest.approx(float(up - down) / (2 * STEP), rel=2e-5, abs=2e-8), moved
