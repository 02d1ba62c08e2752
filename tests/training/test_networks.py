"""Every network of the zoo learns: the compiled step is the step Model, and the loss falls."""

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.networks import NETWORKS, drawn_inputs
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.ops.bindings import bindings, initial_value
from ganglion.ops.evaluate import evaluate as reference
from ganglion.training.fit import problem_of
from ganglion.training.loop.compiled import compiled
from ganglion.training.losses import MeanSquaredError
from ganglion.training.optimizers import SGD, Adam
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.building import build_step, trained_names

ROWS = 8


def mixed() -> ir.Model:
    """Two inputs, a shared layer, two outputs of different kinds."""
    words, numbers = L.Input((6,), dtype="int32"), L.Input((6, 4))
    x = L.Embedding(50, 4)(words)
    shared = L.Conv1D(5, 3, padding="same", activation="tanh")
    a, b = shared(x), shared(numbers)
    joined = L.Concatenate()([L.GlobalMaxPooling1D()(L.Multiply()([a, b])),
                              L.GlobalAveragePooling1D()(L.Subtract()([a, b]))])
    hidden = L.Dropout(0.2)(L.BatchNormalization()(joined))
    return L.Functional([words, numbers], [L.Dense(3, name="size")(hidden),
                                           L.Dense(2, "softmax", name="kind")(hidden)])


ZOO = {name: make for name, make in NETWORKS.items() if name != "merges"} | {"mixed": mixed}


@cache
def _problem(name: str) -> tuple[ir.Model, list[np.ndarray], list[np.ndarray]]:
    """A network, its inputs, and targets that lie near what it answers at first."""
    net = ZOO[name]()
    x = drawn_inputs(net, 2 * ROWS)
    named = dict(zip([str(v.name) for v in net.graph.inputs], x))
    rng = np.random.default_rng(1)
    y = [(a * 0.3 + rng.uniform(0, 0.5, a.shape)).astype(np.float32)
         for a in reference(fix_batch(net, 2 * ROWS), named).values()]
    return net, x, y


@pytest.mark.parametrize("name", ZOO)
def test_a_compiled_step_is_the_step_model(name: str) -> None:
    """Loss, predictions and every tensor of the state after each of three steps; then the loss
    falls in the steps that follow. Tolerance: 1e-4 of a value, or 5e-5 of its tensor's largest."""
    net, x, y = _problem(name)
    batch = [a[:ROWS] for a in (*x, *y)]
    rate = np.asarray(0.01, np.float32)
    problem = problem_of(net, x, y, loss="mse", optimizer=Adam(learning_rate=0.01))
    step = build_step(net, problem.losses, problem.optimizer, ROWS)
    built, meant = compiled(step, [*batch, rate]), NumpyStepper(step, [*batch, rate])
    for _ in range(3):
        found, expected = built.run(*batch, rate), meant.run(*batch, rate)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        for tensor in meant.state:
            wanted = meant.get(tensor)
            np.testing.assert_allclose(built.get(tensor), wanted, rtol=1e-4, err_msg=tensor,
                                       atol=5e-5 * max(1, abs(wanted.astype(float)).max()))
    first = float(np.mean([float(built.run(*batch, rate)[0]) for _ in range(3)]))
    for _ in range(20):
        built.run(*batch, rate)
    assert np.mean([float(built.run(*batch, rate)[0]) for _ in range(3)]) < first


@pytest.mark.parametrize("name", ZOO)
def test_the_gradient_of_a_whole_network_is_its_finite_difference(name: str) -> None:
    """In training mode and float64, along one drawn direction for each weight.

    Plain SGD with a rate of 1 takes the gradient itself off a weight, and the same state drops the
    same units, so that the step Model answers both questions.
    """
    net, x, y = _problem(name)
    losses = [MeanSquaredError()] * len(y)
    step = build_step(net, losses, SGD(), ROWS)
    bound = bindings(step)
    state = {b.input: initial_value(step, b).numpy() for b in bound}
    free = [str(v.name) for v in step.graph.inputs if v.name not in state]
    given = dict(zip(free, [*(a[:ROWS] for a in (*x, *y)), np.ones((), np.float32)], strict=True))
    at = reference(step, given | state, dtype=np.float64)
    following = {b.input: at[b.output] for b in bound}
    rng = np.random.default_rng(0)
    for weight in trained_names(net, step):
        if net.graph.initializers[weight].metadata_props["ganglion.trainable"] == "false":
            continue
        start = state[weight].astype(np.float64)
        gradient, direction = start - following[weight], rng.standard_normal(start.shape)
        ahead, behind = (
            float(reference(step, given | state | {weight: start + size * direction},
                            dtype=np.float64)["loss"]) for size in (1e-6, -1e-6))
        assert float((gradient * direction).sum()) == pytest.approx(
            (ahead - behind) / 2e-6, rel=1e-5, abs=1e-8), weight
