"""Training a part of a network: what is named changes, everything else is a constant."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.errors import DataError
from ganglion.ops.bindings import bindings
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.training import biases, last
from ganglion.training.fit import problem_of
from ganglion.training.loop.epochs import train
from ganglion.training.losses import MeanSquaredError
from ganglion.training.optimizers import SGD
from ganglion.training.step.building import build_step, trained_names
from ganglion.training.step.selection import Selection

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 8, 8, 2)).astype(np.float32), RNG.normal(size=(12, 3))


def _net() -> ir.Model:
    return L.Sequential([
        L.Input((8, 8, 2)), L.Conv2D(4, 3, name="front"), L.BatchNormalization(name="norm"),
        L.Activation("relu"), L.Conv2D(4, 3, name="middle"), L.Flatten(),
        L.Dense(6, "tanh", name="hidden"), L.Dense(3, name="head")])


def _step(chosen: Selection, model: ir.Model | None = None) -> ir.Model:
    return build_step(_net() if model is None else model, [MeanSquaredError()], SGD(), 4,
                      chosen=chosen, predictions=False)


def _trained(chosen: Selection) -> set[str]:
    return set(trained_names(_net(), _step(chosen)))


def _both(*layers: str) -> set[str]:
    return {f"{name}/{part}" for name in layers for part in ("kernel", "bias")}


@pytest.mark.parametrize(("chosen", "expected"), [
    ("head", _both("head")), ("h*", _both("head", "hidden")),
    ("*/kernel", {f"{n}/kernel" for n in ("front", "middle", "hidden", "head")}),
    (["front", "head/bias"], {"front/kernel", "front/bias", "head/bias"}),
    ("biases", {"front/bias", "norm/beta", "middle/bias", "hidden/bias", "head/bias"}),
    (last(2), _both("hidden", "head")), (last(3), _both("middle", "hidden", "head")),
    ([biases(), last(1)], {"front/bias", "norm/beta", "middle/bias", "hidden/bias", "head/bias",
                           "head/kernel"}),
    ("norm", {"norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"}),
])
def test_what_is_named_is_trained_and_nothing_else(chosen: Selection, expected: set[str]) -> None:
    assert _trained(chosen) == expected


def test_a_normalisation_belongs_to_the_block_that_it_normalises() -> None:
    assert _trained(last(4)) == _both("front", "middle", "hidden", "head") | {
        "norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"}


def test_what_is_frozen_keeps_its_bits_and_what_is_chosen_moves() -> None:
    model = _net()
    problem = problem_of(model, X, Y, loss="mse", optimizer="adam", batch_size=6, epochs=2,
                         trainable=["hidden", "biases"], validation_data=(X, Y))
    trained, history = train(problem, NumpyStepper)
    for name, value in trained.graph.initializers.items():
        before = model.graph.initializers[name].const_value.numpy()
        same = np.array_equal(before, value.const_value.numpy())
        assert same == (name not in {"hidden/kernel", "hidden/bias", "front/bias", "norm/beta",
                                     "middle/bias", "head/bias"}), name
    assert history.history["val_loss"][1] < history.history["val_loss"][0]


def test_a_frozen_normalisation_uses_its_running_statistics() -> None:
    """So the first loss of a step is that of the network as it is deployed."""
    step = _step(["biases", "head"])
    assert not [n for n in step.graph if n.op_type == "BatchNormalization" and len(n.outputs) > 1]
    found = NumpyStepper(step, [X[:4], Y[:4].astype(np.float32), np.float32(0)]).run(
        X[:4], Y[:4].astype(np.float32), np.float32(0))
    whole = train(problem_of(_net(), X[:4], Y[:4], loss="mse", epochs=1,
                             validation_data=(X[:4], Y[:4]), trainable="head", optimizer=SGD(
                                 learning_rate=0.0)), NumpyStepper)[1]
    assert float(found[0]) == pytest.approx(whole.history["val_loss"][0], rel=1e-5)


def test_a_normalisation_without_weights_is_frozen_by_the_name_of_its_layer() -> None:
    model = L.Sequential([L.Input((3,)), L.Dense(4, name="a"),
                          L.BatchNormalization(center=False, scale=False, name="norm"),
                          L.Dense(2, name="b")])
    for chosen, learns in (("b", False), (["b", "norm"], True), (None, True)):
        bound = {b.input for b in bindings(_step(chosen, model))}
        assert any("moving" in name for name in bound) == learns


def test_frozen_weights_cost_no_gradient_and_no_activation() -> None:
    """Nothing in front of the first trained layer is differentiated; less work, less memory."""
    plans = {str(c): plan(ready_to_plan(_step(c))) for c in (None, "head", "biases")}
    forward = plan(ready_to_plan(_net(), batch=4)).macs
    loss_mean, bias_sum, kernel_gradient = 4 * 3, 4 * 3, 4 * 6 * 3
    assert plans["head"].macs == forward + loss_mean + bias_sum + kernel_gradient
    assert plans["head"].macs < plans["biases"].macs < plans["None"].macs
    assert plans["head"].arena_bytes < plans["biases"].arena_bytes < plans["None"].arena_bytes
    assert plans["head"].state_bytes < plans["None"].state_bytes


def test_penalties_of_frozen_weights_do_not_count() -> None:
    model = L.Sequential([L.Input((3,)), L.Dense(4, kernel_regularizer="l2", name="a"),
                          L.Dense(2, name="b")])
    x, y = np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float32)
    for chosen, positive in ((None, True), ("b", False)):
        trained = train(problem_of(model, x, y, loss="mse", optimizer="sgd", trainable=chosen,
                                   validation_data=(x, y)), NumpyStepper)[1]
        assert (trained.history["loss"][0] > 0) == positive
        assert (trained.history["val_loss"][0] > 0) == positive


@pytest.mark.parametrize(("chosen", "said"), [
    ("haed", "'head'"), ("fron/*", "'front"), (["head", "nothing.at.all"], "nothing.at.all"),
    (last(9), "in 4 of its layers"), ([], "expected a pattern"), (3, "expected a pattern")])
def test_wrong_names_are_answered_with_the_nearest(chosen: Selection, said: str) -> None:
    with pytest.raises(DataError, match=said):
        _step(chosen)


def test_last_needs_a_block() -> None:
    with pytest.raises(DataError, match="from 1 up"):
        last(0)


def test_a_network_from_elsewhere_is_named_by_its_weights_and_nodes() -> None:
    g = GraphBuilder("foreign")
    x = g.input("x", ir.DataType.FLOAT, (1, 4))
    def weight(name: str, *shape: int) -> ir.Value:
        return g.constant(np.ones(shape, np.float32), name, share=False)
    h = g.op("Gemm", x, weight("fc1.weight", 4, 5), weight("fc1.bias", 5), hint="/fc1/Gemm")
    g.output("y", g.op("Gemm", h, weight("fc2.weight", 5, 2), weight("fc2.bias", 2),
                       hint="/fc2/Gemm"))
    model = g.model()
    wanted: Sequence[tuple[Selection, set[str]]] = (
        ("fc1", {"fc1.weight", "fc1.bias"}), (last(1), {"fc2.weight", "fc2.bias"}),
        ("biases", {"fc1.bias", "fc2.bias"}), ("*.weight", {"fc1.weight", "fc2.weight"}))
    for chosen, expected in wanted:
        assert set(trained_names(model, _step(chosen, model))) == expected
