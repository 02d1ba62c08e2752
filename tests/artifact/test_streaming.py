"""A network compiled to run step by step answers as it does for the whole sequence."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.networks import drawn_inputs

import ganglion as gg
from ganglion import layers as L
from ganglion.emit.c import describe
from ganglion.errors import UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.runtime.stream import Stream
from ganglion.toolchain.emulators import available, emulate
from ganglion.toolchain.targets import target

STEPS = 6


def each_step(steps: int | None = STEPS) -> ir.Model:
    """Something for every step, through every kind of cell and a branch."""
    x = L.Input((steps, 3))
    a = L.LSTM(5, return_sequences=True)(L.Dense(4, activation="tanh")(x))
    b = L.GRU(5, return_sequences=True)(L.SimpleRNN(4, return_sequences=True)(x))
    c = L.GRU(3, return_sequences=True, reset_after=False)(L.Add()([a, b]))
    return L.Functional(x, L.TimeDistributed(L.Dense(2, activation="softmax"))(c))


def at_the_end() -> ir.Model:
    """One answer for a sequence: that of the steps so far."""
    return L.Sequential([L.Input((STEPS, 3)), L.LSTM(4, return_sequences=True), L.GRU(6),
                         L.Dense(3), L.Dense(2)])


def two_cells_of_a_kind() -> ir.Model:
    """States of equal shape that must not be mistaken for each other."""
    x = L.Input((STEPS, 3))
    first = L.LSTM(4, return_sequences=True)(x)
    second = L.LSTM(4, return_sequences=True)(first)
    return L.Functional(x, [first, L.Subtract()([second, first])])


def stepwise(stream: Stream, x: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    found = [stream.run(x[:, t:t + 1]) for t in range(x.shape[1])]
    return [y if isinstance(y, tuple) else (y,) for y in found]


def whole(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    return list(evaluate(model, {str(model.graph.inputs[0].name): x}).values())


@pytest.mark.parametrize("isas", [None, ("scalar",)], ids=["vectors", "scalar"])
@pytest.mark.parametrize("make", [each_step, two_cells_of_a_kind])
def test_steps_give_the_steps_of_the_whole_sequence(
        make: Callable[[], ir.Model], isas: tuple[str, ...] | None) -> None:
    model = make()
    x = drawn_inputs(model, 1, seed=1)[0]
    found = stepwise(gg.compile(model, streaming=True, isas=isas).session().stream(), x)
    for k, expected in enumerate(whole(model, x)):
        steps = np.concatenate([outputs[k] for outputs in found], axis=1)
        np.testing.assert_allclose(steps, expected, rtol=1e-4, atol=1e-6)


def test_a_network_that_keeps_the_last_step_answers_for_the_steps_so_far() -> None:
    model = at_the_end()
    x = drawn_inputs(model, 1, seed=2)[0]
    found = stepwise(gg.compile(model, streaming=True).session().stream(), x)
    for t in range(1, STEPS + 1):
        shorter = model.clone(deep_copy=True)
        shorter.graph.inputs[0].shape = ir.Shape([1, t, 3])
        np.testing.assert_allclose(found[t - 1][0], whole(shorter, x[:, :t])[0],
                                   rtol=1e-4, atol=1e-6)


def test_streams_begin_anew_go_back_and_do_not_disturb_each_other() -> None:
    model = each_step(None)  # any number of steps
    session = gg.compile(model, streaming=True).session()
    x = drawn_inputs(each_step(), 2, seed=3)[0]
    one, two = session.stream(), session.stream()
    first = stepwise(one, x[:1])
    for t in range(STEPS):  # both at once
        if t == 3:
            saved = two.save()
        two.run(x[1:, t:t + 1])
        one.run(x[:1, t:t + 1])
    one.reset()
    again = stepwise(one, x[:1])
    assert all((a[0] == b[0]).all() for a, b in zip(first, again))
    expected = two.run(x[1:, :1])
    two.restore(saved)
    for t in range(3, STEPS):
        two.run(x[1:, t:t + 1])
    np.testing.assert_array_equal(two.run(x[1:, :1]), expected)


def test_quantised_weights_stream_too() -> None:
    model = each_step()
    small = gg.quantize(model, calibration=drawn_inputs(model, 16))
    x = drawn_inputs(model, 1, seed=4)[0]
    found = stepwise(gg.compile(small, streaming=True).session().stream(), x)
    steps = np.concatenate([y[0] for y in found], axis=1)
    np.testing.assert_allclose(steps, whole(small, x)[0], atol=2.5 / 256)


@pytest.mark.emulator
@pytest.mark.parametrize("goal", ["raspberrypi4", "wasm32"])
def test_other_processors_keep_the_state_between_steps(goal: str) -> None:
    if not available(target(goal)):
        pytest.skip(f"no emulator for {goal}")
    model = two_cells_of_a_kind()
    built = gg.compile(model, goal, streaming=True)
    assert built.manifest["check"]["status"] == "passed"
    sources = {n: built.files[n].decode() for n in built.manifest["sources"]}
    network = emulate(sources, target(goal), describe(built.plan))
    x = drawn_inputs(model, 1, seed=5)[0]
    found, state = network.run_with_state([x.reshape(STEPS, 1, 1, 3)])
    for steps, expected in zip(found, whole(model, x)):
        np.testing.assert_allclose(steps.reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)
    assert len(state) == 4


@pytest.mark.parametrize("layer", [
    L.Bidirectional(L.LSTM(2)), L.LSTM(2, go_backwards=True), L.GlobalAveragePooling1D(),
    L.Flatten(), L.Conv1D(2, 3)], ids=["bidirectional", "backwards", "pool", "flatten", "conv"])
def test_what_mixes_time_steps_is_refused_by_name(layer: L.Layer) -> None:
    model = L.Sequential([L.Input((STEPS, 3)), layer, L.Dense(1)])
    with pytest.raises(UnsupportedOp, match=r"node '.*' \(.*\).*(time step|backwards)"):
        gg.compile(model, streaming=True)
