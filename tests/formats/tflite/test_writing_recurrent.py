"""Laws of recurrent layers in .tflite files: alike when read back, and on LiteRT's back ends."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import networks
from tests.support.litert import answers, largest, litert, rows

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.tflite.read.network import load_tflite
from ganglion.formats.tflite.write.flat import FlatNetwork
from ganglion.formats.tflite.write.network import export, network_of
from ganglion.ops.cells import GATES
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder

STEPS, BATCH, NUMBERS, HIDDEN, ROWS = 3, 2, 4, 5, 3
CELLS = ("lstm", "gru", "rnn")


def layers(*made: L.Layer) -> ir.Model:
    return L.Sequential([L.Input((STEPS, NUMBERS)), *made, L.Dense(2)])


KERAS: dict[str, Callable[[], ir.Model]] = {
    "lstm": lambda: layers(L.LSTM(9, return_sequences=True), L.LSTM(8, go_backwards=True)),
    "gru": lambda: layers(L.GRU(9, return_sequences=True), L.GRU(8, reset_after=False)),
    "backward gru": lambda: layers(L.GRU(9, return_sequences=True, go_backwards=True)),
    "simple": lambda: layers(L.SimpleRNN(9, return_sequences=True),
                             L.SimpleRNN(8, activation="relu", go_backwards=True)),
    "hard": lambda: layers(L.LSTM(9, recurrent_activation="hard_sigmoid", activation="linear")),
    "bidirectional lstm": lambda: layers(L.Bidirectional(L.LSTM(9, return_sequences=True)),
                                         L.Bidirectional(L.LSTM(8))),
    "bidirectional gru": lambda: layers(L.Bidirectional(L.GRU(9, return_sequences=True)),
                                        L.Bidirectional(L.GRU(8), merge_mode="sum")),
    "bidirectional simple": lambda: layers(L.Bidirectional(L.SimpleRNN(9, return_sequences=True)),
                                           L.Bidirectional(L.SimpleRNN(8))),
}


def node(cell: str, direction: str, *, start: str = "none", outputs: int = 3,
         **attrs: object) -> ir.Model:
    """One ONNX node with all outputs. `start`: none, zeros, constant, or an input of the network;
    the steps come first."""
    g, rng = GraphBuilder("net"), np.random.default_rng(1)
    lanes, wide = (2 if direction == "bidirectional" else 1), GATES[cell] * HIDDEN
    x = g.input("x", ir.DataType.FLOAT, (STEPS, BATCH, NUMBERS))
    shapes = ((lanes, wide, NUMBERS), (lanes, wide, HIDDEN), (lanes, 2 * wide))
    w, r, b = (g.constant((rng.normal(size=s) / 2).astype(np.float32), f"w{k}")
               for k, s in enumerate(shapes))
    count = 2 if cell == "lstm" else 1
    states: list[ir.Value | None] = []
    for k in range(count if start != "none" else 0):
        shape = (lanes, BATCH, HIDDEN)
        states.append(g.input(f"s{k}", ir.DataType.FLOAT, shape) if start == "input" else
                      g.constant((rng.normal(size=shape) * (start == "constant")).astype(
                          np.float32), f"s{k}"))
    made = g.ops({"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}[cell], x, w, r, b, None, *states,
                 outputs=count + 1, hidden_size=HIDDEN, direction=direction, **attrs)
    for k, value in enumerate(made[:outputs]):
        g.output(f"y{k}", value)
    return g.model()


NODES: dict[str, Callable[[], ir.Model]] = {
    **{f"{cell} {direction} {start}": lambda cell=cell, direction=direction, start=start: node(
        cell, direction, start=start)
       for cell in CELLS
       for direction, start in (("forward", "constant"), ("reverse", "input"),
                                ("bidirectional", "zeros"), ("bidirectional", "input"))},
    "lstm without its cell state": lambda: node("lstm", "bidirectional", outputs=2),
    "gru, reset behind": lambda: node("gru", "bidirectional", start="constant",
                                      linear_before_reset=1),
    "rnn by Affine": lambda: node("rnn", "reverse", activations=["Affine"],
                                  activation_alpha=[0.5], activation_beta=[0.25]),
}


def drawn(model: ir.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {str(v.name): rng.normal(size=v.shape.numpy()).astype(np.float32)
            for v in model.graph.inputs}


def output_step(network: FlatNetwork) -> float:
    """A little more than a step of the widest codes between operators: what one other rounding of
    a float sum in front of them may change."""
    return 1.01 * max(t.quant.scale[0] for t in network.tensors
                      if t.quant is not None and t.data is None)


@pytest.mark.parametrize("name", KERAS)
def test_a_float_layer_is_read_back_with_the_same_answer(name, tmp_path):
    model = KERAS[name]()
    export(model, tmp_path / "n.tflite")
    xs = networks.drawn_inputs(model, ROWS, 1)
    assert largest(answers(model, xs), answers(load_tflite(tmp_path / "n.tflite"), xs)) < 1e-5


@pytest.mark.parametrize("name", KERAS)
def test_int8_weights_stay_int8_in_the_file_and_mean_the_same_numbers(name, tmp_path):
    model = KERAS[name]()
    small = gg.quantize(model, calibration=networks.drawn_inputs(model, 16))
    network = export(small, tmp_path / "n.tflite")
    stored = {v.name: v.const_value.size for n in small.graph for v in n.inputs[:1]
              if n.op_type == "DequantizeLinear" and v.const_value is not None
              and v.dtype == ir.DataType.INT8}
    written = [t.data.size for t in network.tensors
               if t.data is not None and t.data.dtype == np.int8]
    assert sum(written) == sum(stored.values()) > 2 * 8 * 8
    xs = networks.drawn_inputs(model, ROWS, 1)
    found = answers(load_tflite(tmp_path / "n.tflite"), xs)
    assert largest(answers(small, xs), found) <= output_step(network)


@pytest.mark.parametrize("name", NODES)
def test_states_go_in_and_come_out_in_every_direction(name, tmp_path):
    model = NODES[name]()
    export(model, tmp_path / "n.tflite", batch=STEPS)
    feeds = drawn(model)
    want, got = (evaluate(m, feeds) for m in (model, load_tflite(tmp_path / "n.tflite")))
    assert largest([want], [got]) < 1e-5


@pytest.mark.litert
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("name", KERAS)
def test_litert_answers_alike(name, reference, tmp_path):
    """The int8 network, which rounds its last numbers, within a step of its output."""
    model, path = KERAS[name](), tmp_path / "n.tflite"
    xs = networks.drawn_inputs(model, ROWS, 1)
    export(model, path)
    found = litert(path, model, rows(model, xs), reference=reference)
    assert largest(answers(model, xs), found) < 1e-5
    small = gg.quantize(model, calibration=networks.drawn_inputs(model, 16))
    network = export(small, path)
    found = litert(path, small, rows(small, xs), reference=reference)
    assert largest(answers(small, xs), found) <= output_step(network)


@pytest.mark.litert
@pytest.mark.parametrize("name", NODES)
def test_litert_takes_and_gives_states_alike(name, tmp_path):
    model, path = NODES[name](), tmp_path / "n.tflite"
    export(model, path, batch=STEPS)
    feeds = drawn(model)
    for reference in (False, True):
        assert largest([evaluate(model, feeds)],
                       litert(path, model, [feeds], reference=reference)) < 1e-5


@pytest.mark.parametrize(("layer", "operator"), [
    (L.LSTM, "UNIDIRECTIONAL_SEQUENCE_LSTM"), (L.SimpleRNN, "UNIDIRECTIONAL_SEQUENCE_RNN")])
def test_a_layer_with_an_operator_of_its_own_takes_one_whatever_the_number_of_steps(layer,
                                                                                   operator):
    for steps in (2, 9):
        net = L.Sequential([L.Input((steps, NUMBERS)), layer(5, return_sequences=True)])
        assert [o.name for o in network_of(net).operators] == [operator]


def test_weights_stand_in_the_file_once_whatever_the_number_of_steps():
    def weights(steps: int) -> int:
        net = L.Sequential([L.Input((steps, NUMBERS)), L.GRU(5)])
        return sum(t.data.nbytes for t in network_of(net).tensors
                   if t.data is not None and t.data.dtype == np.float32)

    assert weights(2) == weights(9)


@pytest.mark.parametrize(("attrs", "what"), [
    ({"clip": 3.0}, "clipping"), ({"activations": ["Softsign"]}, "softsign"),
    ({"layout": 1}, "layout")])
def test_what_cells_cannot_do_is_refused_by_name(attrs, what):
    with pytest.raises(UnsupportedOp, match=rf"\(RNN\).*{what}"):
        network_of(node("rnn", "forward", **attrs), STEPS)


def test_activations_must_be_as_many_as_the_cells_have():
    with pytest.raises(ModelError, match="2 activations"):
        network_of(node("rnn", "forward", activations=["Tanh", "Tanh"]), STEPS)
