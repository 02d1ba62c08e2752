"""LSTM, GRU and RNN: one kernel for the whole sequence; with traces and backwards for training."""

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.recurrent import DEFAULTS, VALUES, RecurrentSpec
from ganglion.kernels.recurrent_grad import RecurrentGradSpec
from ganglion.ops.attr import get_floats, get_int, get_str, get_strs
from ganglion.ops.graph import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View

CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
Given = Mapping[str, ir.Value]


def recurrent_spec(lowerer: Lowerer, node: ir.Node, cell: str, given: Given, trace: bool
                   ) -> RecurrentSpec:
    """The numbers of a recurrent node (ONNX LSTM-22, GRU-22, RNN-22, layout 0).

    `given`: the inputs that are there, by name. Raises UnsupportedOp for sequence lengths,
    peepholes, clipping, coupled gates, layout 1 and unknown activations.
    """
    attrs = attributes(node)
    count = 2 if (direction := get_str(attrs, "direction", "forward")) == "bidirectional" else 1
    activations = tuple(get_strs(attrs, "activations", DEFAULTS[cell] * count))
    unusual = [name for name, found in (
        ("sequence_lens", "sequence_lens" in given), ("peepholes", "peepholes" in given),
        ("clip", attrs.get("clip") is not None), ("layout 1", get_int(attrs, "layout", 0) != 0),
        ("input_forget", get_int(attrs, "input_forget", 0) != 0)) if found]
    unusual += [f"activation {name}" for name in activations if name.lower() not in VALUES]
    if unusual:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): {', '.join(unusual)} cannot be "
                            "compiled; export the network without")
    steps, batch, width = static_shape(given["x"])
    constant = all(lowerer.view(given[name]).storage.array is not None
                   for name in ("w", "r", "b") if name in given)
    return RecurrentSpec(
        cell, steps, batch, width, static_shape(given["r"])[2], direction, "b" in given,
        "h0" in given, "c0" in given, bool(get_int(attrs, "linear_before_reset", 0)), activations,
        trace, constant, tuple(get_floats(attrs, "activation_alpha", [])),
        tuple(get_floats(attrs, "activation_beta", [])))


def _named(node: ir.Node, names: Sequence[str]) -> dict[str, ir.Value]:
    return {name: v for name, v in zip(names, node.inputs) if v is not None}


def _results(lowerer: Lowerer, node: ir.Node, shapes: Sequence[tuple[int, ...]]) -> list[View]:
    """A place for every output, those that the Model does not name included."""
    found = []
    for i, shape in enumerate(shapes):
        known = i < len(node.outputs) and node.outputs[i].shape is not None
        found.append(lowerer.new(node.outputs[i]) if known
                     else lowerer.buffer(f"{node.name}_out{i}", "float32", shape))
    return found


def lower_recurrent(lowerer: Lowerer, node: ir.Node) -> None:
    """LSTM, GRU, RNN and their ai.ganglion Trace forms; every output is computed."""
    trace = node.op_type.endswith("Trace")
    cell = CELLS[node.op_type.removesuffix("Trace")]
    names = ["x", "w", "r", "b", "sequence_lens", "h0"]
    given = _named(node, [*names, "c0", "peepholes"] if cell == "lstm" else names)
    spec = recurrent_spec(lowerer, node, cell, given, trace)
    operands = [lowerer.dense(lowerer.view(v)) for v in given.values()]
    directions = len(spec.reverses)
    last = (directions, spec.batch, spec.hidden)
    shapes = [(spec.steps, *last), last, *([last] if cell == "lstm" else [])]
    outputs = _results(lowerer, node, shapes)
    if trace:
        outputs += [lowerer.new(v) for v in node.outputs[len(shapes):]]
    lowerer.emit(node, "recurrent", spec, [*operands, *outputs])


def lower_recurrent_grad(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion LSTMGrad, GRUGrad, RNNGrad; inputs in the order of `ops.recurrent`."""
    cell = CELLS[node.op_type.removesuffix("Grad")]
    lstm = cell == "lstm"
    given = _named(node, [
        "x", "w", "r", "b", "h0", *["c0"] * lstm, "y", "gates", *["cells"] * lstm,
        *["hidden_part"] * (cell == "gru"), "dy", "dh", *["dc"] * lstm])
    layer = recurrent_spec(lowerer, node, cell, given, trace=True)
    dx = node.outputs[0]
    wanted = bool(dx.uses()) or dx.is_graph_output()
    dy, dh, dc = (name in given for name in ("dy", "dh", "dc"))
    spec = RecurrentGradSpec(layer, dy, dh, dc, wanted)
    operands = [lowerer.dense(lowerer.view(v)) for name, v in given.items()
                if name != "b" and (wanted or name != "w")]
    state = (len(layer.reverses), layer.batch, layer.hidden)
    shapes = [static_shape(given[name]) for name in ("x", "w", "r")]
    shapes += [(state[0], 2 * layer.gates * layer.hidden), state, *([state] if lstm else [])]
    results = _results(lowerer, node, shapes)[0 if wanted else 1:]
    lowerer.emit(node, "recurrent_grad", spec, [*operands, *results])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "recurrent": lower_recurrent, "recurrent_grad": lower_recurrent_grad}
