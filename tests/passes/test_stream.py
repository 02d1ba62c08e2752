"""Law of streaming: step by step gives what whole sequences give; what cannot is named."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ganglion import layers as L
from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.bindings import bindings
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import prepare
from ganglion.passes.streaming.stream import stream

F = ir.DataType.FLOAT
STEPS = 5


def stepwise(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    """The first output at each step of x [N, T, ...], the state carried over."""
    state: dict[str, np.ndarray] = {}
    made = []
    for t in range(x.shape[1]):
        outputs = evaluate(model, {model.graph.inputs[0].name: x[:, t:t + 1], **state})
        state = {b.input: outputs[b.output] for b in bindings(model)}
        made.append(outputs[model.graph.outputs[0].name])
    return made


def whole(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return evaluate(model, {model.graph.inputs[0].name: x})[model.graph.outputs[0].name]


def per_step(n_steps: int | None) -> dict[str, ir.Model]:
    """Networks that give something for every step."""
    x = L.Input((n_steps, 3))
    merged = L.Concatenate()([L.LSTM(4, return_sequences=True)(x), L.Dense(2)(x)])
    return {
        "lstm": L.Sequential([x, L.LSTM(4, return_sequences=True), L.Dense(2, "tanh")]),
        "gru": L.Sequential([x, L.GRU(4, return_sequences=True), L.LayerNormalization()]),
        "stacked": L.Sequential([x, L.SimpleRNN(4, return_sequences=True), L.Dropout(0.5),
                                 L.GRU(3, return_sequences=True, reset_after=False),
                                 L.TimeDistributed(L.Dense(2, activation="softmax"))]),
        "branches": L.Functional(x, L.Multiply()([merged, merged])),
        "pointwise": L.Sequential([x, L.Dense(4, activation="relu"), L.BatchNormalization()]),
    }


def at_the_end(n_steps: int | None) -> dict[str, ir.Model]:
    """Networks that give one answer for the whole sequence."""
    x = L.Input((n_steps, 3))
    return {
        "lstm": L.Sequential([x, L.LSTM(4), L.Dense(2)]),
        "stacked": L.Sequential([x, L.LSTM(4, return_sequences=True), L.GRU(3), L.Dense(2)]),
    }


@pytest.mark.parametrize("n_steps", [STEPS, None])
@pytest.mark.parametrize("name", per_step(STEPS))
def test_each_step_gives_what_the_sequence_gives_there(name: str, n_steps: int | None) -> None:
    model = per_step(n_steps)[name]
    x = np.random.default_rng(1).normal(size=(2, STEPS, 3)).astype(np.float32)
    streamed = prepare(stream(model, batch=2), batch=2)
    onnx.checker.check_model(ir.to_proto(streamed), full_check=True)
    found = np.concatenate(stepwise(streamed, x), axis=1)
    np.testing.assert_allclose(found, whole(model, x), atol=1e-6)


@pytest.mark.parametrize("name", at_the_end(STEPS))
def test_each_step_gives_what_a_sequence_ending_there_gives(name: str) -> None:
    x = np.random.default_rng(2).normal(size=(1, STEPS, 3)).astype(np.float32)
    found = stepwise(stream(at_the_end(STEPS)[name]), x)
    model = at_the_end(None)[name]
    for t in range(STEPS):
        np.testing.assert_allclose(found[t], whole(model, x[:, :t + 1]), atol=1e-6)


def test_streaming_leaves_the_given_model_alone() -> None:
    model = per_step(None)["lstm"]
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    stream(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_state_has_a_first_value_and_is_bound() -> None:
    streamed = stream(per_step(STEPS)["lstm"], batch=2)
    bound = bindings(streamed)
    assert len(bound) == 2
    for b in bound:
        first = streamed.graph.initializers[b.input].const_value.numpy()
        np.testing.assert_array_equal(first, np.zeros((1, 2, 4), np.float32))


def lone_lstm(**attrs: str) -> GraphBuilder:
    rng = np.random.default_rng(0)
    g = GraphBuilder("net")
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    w, r = (g.constant(rng.normal(size=(directions, 8, k)).astype(np.float32)) for k in (3, 2))
    x = g.op("Transpose", g.input("x", F, (1, STEPS, 3)), perm=[1, 0, 2])
    first = g.constant(np.full((directions, 1, 2), 0.5, np.float32), share=False)
    y = g.ops("LSTM", x, w, r, None, None, first, outputs=1, hint="cell", hidden_size=2, **attrs)
    g.output("y", g.op("Transpose", y[0], perm=[2, 0, 1, 3]))
    return g


def test_given_first_state_is_where_the_stream_starts() -> None:
    model = lone_lstm().model()
    x = np.random.default_rng(3).normal(size=(1, STEPS, 3)).astype(np.float32)
    found = np.concatenate(stepwise(stream(model), x), axis=1)
    np.testing.assert_allclose(found, whole(model, x), atol=1e-6)


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_cell_that_needs_the_future_is_refused_by_node(direction: str) -> None:
    with pytest.raises(UnsupportedOp, match=rf"'cell' \(LSTM\) is {direction}"):
        stream(lone_lstm(direction=direction).model())


MIXING = {
    "convolution": [L.Conv1D(4, 3)],
    "pooling": [L.GlobalAveragePooling1D()],
    "flatten": [L.Flatten()],
    "padding": [L.ZeroPadding1D(1)],
    "cropping": [L.Cropping1D(1)],
    "attention": [L.Permute((2, 1)), L.Dense(STEPS, activation="softmax")],
    "softmax over time": [L.Softmax(axis=1)],
    "norm over time": [L.LayerNormalization(axis=(1, 2))],
}


@pytest.mark.parametrize("name", MIXING)
def test_layer_that_mixes_steps_is_refused_by_node(name: str) -> None:
    with pytest.raises(UnsupportedOp, match=r"node '.*one time step at a time"):
        stream(L.Sequential([L.Input((STEPS, 3)), *MIXING[name]]))


def test_constant_that_differs_among_steps_is_refused() -> None:
    g = GraphBuilder("net")
    table = g.constant(np.ones((STEPS, 3), np.float32))
    g.output("y", g.op("Add", g.input("x", F, ("N", STEPS, 3)), table, hint="position"))
    with pytest.raises(UnsupportedOp, match="'position'"):
        stream(g.model())


def test_sequence_of_numbers_is_embedded_step_by_step() -> None:
    model = L.Sequential([L.Input((STEPS,), dtype="int32"), L.Embedding(7, 3), L.LSTM(2)])
    x = np.asarray([[1, 6, 0, 2, 5]], np.int32)
    np.testing.assert_allclose(stepwise(stream(model), x)[-1], whole(model, x), atol=1e-6)


def test_input_that_is_no_sequence_is_an_error() -> None:
    g = GraphBuilder("net")
    g.output("y", g.op("Relu", g.input("x", F, (3,))))
    with pytest.raises(ModelError, match="no input is a sequence"):
        stream(g.model())
    with pytest.raises(ModelError, match="axis 4 of 'x'"):
        stream(g.model(), time_axes={"x": 4})
