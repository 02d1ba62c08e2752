"""Differentiation and training mode as rewrites of a Model."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.errors import DataError, ModelError, UnsupportedOp
from ganglion.ops.bindings import bindings
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.training.losses import MeanSquaredError
from ganglion.training.optimizers import SGD
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.building import build_step
from ganglion.training.step.differentiate import differentiate
from ganglion.training.step.weights import trainable, write_back

FLOAT = ir.DataType.FLOAT


def _fan_out() -> ir.Model:
    """loss = mean((x·w + x)² + x·w), where x·w and x are used more than once."""
    g = GraphBuilder("fan")
    x, w = g.input("x", FLOAT, (2, 3)), g.input("w", FLOAT, (3, 3))
    product = g.op("MatMul", x, w)
    shifted = g.op("Add", product, x)
    total = g.op("Add", g.op("Mul", shifted, shifted), product)
    g.output("loss", g.op("ReduceMean", total, keepdims=0))
    g.output("rounded", g.op("ReduceMean", g.op("Round", product), keepdims=0))
    return g.model()


def test_gradients_add_up_where_a_value_is_used_twice() -> None:
    model = differentiate(_fan_out(), "loss", ["x", "w"])
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(3, 3))}
    found = evaluate(model, feeds, dtype=np.float64)
    for name, array in feeds.items():
        for index in np.ndindex(array.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = array.copy()
                moved[index] += step
                values.append(evaluate(model, feeds | {name: moved}, dtype=np.float64)["loss"])
            slope = (values[0] - values[1]) / 2e-6
            assert found[f"grad.{name}"][index] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_differentiate_says_what_is_wrong() -> None:
    model = _fan_out()
    with pytest.raises(ModelError, match="no value 'nothing'"):
        differentiate(model, "loss", ["nothing"])
    with pytest.raises(ModelError, match="does not depend"):
        differentiate(model, "rounded", ["x"])
    with pytest.raises(ModelError, match="expected one float"):
        differentiate(model, "x", ["x"])


def test_a_node_without_gradient_is_named() -> None:
    g = GraphBuilder("none")
    x = g.input("x", FLOAT, (1, 1, 2, 2))
    places = g.constant(np.zeros((1, 1, 1, 2), np.float32))
    y = g.op("GridSample", x, places, hint="read")
    g.output("loss", g.op("ReduceMean", y, keepdims=0))
    with pytest.raises(UnsupportedOp, match="'read' \\(GridSample\\) has no gradient"):
        differentiate(g.model(), "loss", ["x"])


def _step(layers: list[L.Layer], rows: int = 4000, seed: int = 0) -> NumpyStepper:
    model = L.Sequential([L.Input((2,)), *layers])
    step = build_step(model, [MeanSquaredError()], SGD(learning_rate=0.0), rows, seed=seed)
    return NumpyStepper(step, [np.zeros((rows, 2)), np.zeros((rows, 2)), np.zeros(())])


def test_dropout_keeps_the_mean_and_draws_anew_in_every_step() -> None:
    stepper = _step([L.Dense(2, kernel_initializer="ones"), L.Dropout(0.25)])
    x, y = np.ones((4000, 2), np.float32), np.zeros((4000, 2), np.float32)
    first, second = (stepper.run(x, y, np.float32(0))[1] for _ in range(2))
    for drawn in (first, second):
        assert np.isin(drawn, np.float32([0, 2 / 0.75])).all()
        assert np.mean(drawn == 0) == pytest.approx(0.25, abs=0.03)
    assert np.mean(first == second) == pytest.approx(0.75 ** 2 + 0.25 ** 2, abs=0.03)


def test_batch_norm_learns_its_running_statistics() -> None:
    """running = momentum·running + (1 - momentum)·batch, the variance divided by N."""
    stepper = _step([L.BatchNormalization(momentum=0.6)], rows=50)
    x = np.random.default_rng(0).normal(3, 2, (50, 2)).astype(np.float32)
    _, y = stepper.run(x, x, np.float32(0))
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-3)
    mean = next(v for k, v in stepper.state.items() if "moving_mean" in k)
    variance = next(v for k, v in stepper.state.items() if "moving_var" in k)
    np.testing.assert_allclose(mean, 0.4 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.6 + 0.4 * x.var(0), rtol=1e-5)


def test_a_step_is_a_valid_model_whose_state_is_bound() -> None:
    model = L.Sequential([L.Input((2,)), L.Dense(3), L.Dropout(0.5), L.Dense(1)])
    step = build_step(model, [MeanSquaredError()], SGD(momentum=0.9), 5)
    again = ir.from_proto(ir.to_proto(step))
    bound = {b.input for b in bindings(again)}
    assert {"dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"} < bound
    assert [v.name for v in again.graph.inputs if v.name not in bound][-1] == "learning_rate"
    assert again.graph.outputs[0].name == "loss"
    assert len(again.graph.outputs) == 2 + len(bound)


def test_unmarked_networks_train_every_weight_but_statistics() -> None:
    g = GraphBuilder("foreign")
    x = g.input("x", FLOAT, (1, 2, 4, 4))
    make = lambda *shape: g.constant(np.ones(shape, np.float32), "w", share=False)  # noqa: E731
    kernel, scale, shift = make(3, 2, 3, 3), make(3), make(3)
    y = g.op("BatchNormalization", g.op("Conv", x, kernel), scale, shift, make(3), make(3))
    gain = make(3, 1, 1)
    g.output("y", g.op("Mul", y, gain))
    model = g.model()
    assert trainable(model) == [kernel, scale, shift, gain]


def test_batches_of_any_size_come_from_one_network() -> None:
    g = GraphBuilder("fixed")
    x = g.input("x", FLOAT, (1, 6))
    g.output("y", g.op("Reshape", x, g.ints(1, 2, 3)))
    assert list(fix_batch(g.model(), 5).graph.outputs[0].shape) == [5, 2, 3]
    model = L.Sequential([L.Input((4, 4, 1)), L.Conv2D(2, 3), L.Flatten(), L.Dense(3)])
    assert list(fix_batch(model, 7).graph.outputs[0].shape) == [7, 3]


def test_written_weights_are_checked() -> None:
    model = L.Sequential([L.Input((2,)), L.Dense(1)])
    for wrong in ({"nothing": np.ones(1)}, {"dense/bias": np.ones(2)}):
        with pytest.raises(DataError, match="has"):
            write_back(model, wrong)
