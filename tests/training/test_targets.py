"""A network learns the same on every machine: the step's weights agree after several steps."""

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.networks import drawn_inputs

from ganglion import layers as L
from ganglion.emit.c import describe, emit
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.toolchain.emulators import available, emulate
from ganglion.toolchain.targets import target
from ganglion.training.device import compile_training, functions
from ganglion.training.losses import SparseCategoricalCrossentropy
from ganglion.training.optimizers import Adam

STEPS, ROWS, RATE = 5, 4, 0.001
TARGETS = ("raspberrypi4", "wasm32")


def lenet() -> ir.Model:
    return L.Sequential([
        L.Input((28, 28, 1)), L.Conv2D(6, 5, padding="same", activation="relu"),
        L.MaxPooling2D(), L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(), L.Flatten(),
        L.Dense(120, activation="relu"), L.Dense(84, activation="relu"),
        L.Dense(10, activation="softmax")])


def lstm() -> ir.Model:
    return L.Sequential([L.Input((50, 32)), L.LSTM(64), L.Dense(10, activation="softmax")])


@cache
def _data(network: Callable[[], ir.Model]) -> tuple[np.ndarray, np.ndarray]:
    (x,) = drawn_inputs(network(), STEPS * ROWS)
    return x, np.random.default_rng(1).integers(0, 10, STEPS * ROWS).astype(np.int32)


@cache
def _here(network: Callable[[], ir.Model]) -> tuple[list[float], dict[str, np.ndarray]]:
    """The losses and the weights of this machine's own build."""
    trainer = compile_training(network(), loss="sparse_categorical_crossentropy", check=False,
                               optimizer=Adam(learning_rate=RATE), batch_size=ROWS).trainer()
    x, y = _data(network)
    losses = [trainer.step(x[k:k + ROWS], y[k:k + ROWS]) for k in range(0, len(x), ROWS)]
    return losses, trainer.get_weights()


@pytest.mark.emulator
@pytest.mark.parametrize("network", [lenet, lstm])
@pytest.mark.parametrize("goal", TARGETS)
def test_every_target_trains_to_the_same_weights(network: Callable[[], ir.Model],
                                                 goal: str) -> None:
    if not available(target(goal)):
        pytest.skip(f"no emulator for {goal}")
    step, _ = functions(network(), [SparseCategoricalCrossentropy()], Adam(learning_rate=RATE),
                        ROWS)
    made = plan(ready_to_plan(step), target(goal).isas, "net")
    there = emulate(emit(made), target(goal), describe(made))
    x, y = _data(network)
    (found,), state = there.run_with_state([
        x.reshape(STEPS, ROWS, *x.shape[1:]), y.reshape(STEPS, ROWS),
        np.full(STEPS, RATE, np.float32)])
    losses, weights = _here(network)
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    start = network().graph.initializers
    for name, weight in weights.items():
        moved = np.abs(weight - start[name].const_value.numpy()).max()
        assert np.abs(state[name] - weight).max() < 0.01 * moved, name


@pytest.mark.emulator
@pytest.mark.parametrize("goal", TARGETS)
def test_every_function_of_an_artefact_is_checked_under_the_targets_emulator(goal: str) -> None:
    if not available(target(goal)):
        pytest.skip(f"no emulator for {goal}")
    model = L.Sequential([L.Input((6,)), L.Dense(5, "relu"), L.BatchNormalization(),
                          L.Dense(3, "softmax")])
    built = compile_training(model, goal, loss="sparse_categorical_crossentropy", batch_size=2)
    check = built.manifest["check"]
    assert isinstance(check, dict)
    assert [check["status"], *(e["status"] for e in check["entries"].values())] == ["passed"] * 3
