"""LSTM, GRU and RNN: one kernel for the whole sequence; with traces and backwards for training."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.recurrent import RecurrentSpec
from ganglion.kernels.recurrent_grad import RecurrentGradSpec
from ganglion.ops.attr import get_int, get_str, get_strs
from ganglion.ops.graph import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View

CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
GRAD_INPUTS = {
    "lstm": ("x", "w", "r", "b", "h0", "c0", "y", "gates", "cells", "dy", "dh", "dc"),
    "gru": ("x", "w", "r", "b", "h0", "y", "gates", "hidden_part", "dy", "dh"),
    "rnn": ("x", "w", "r", "b", "h0", "y", "gates", "dy", "dh")}
DEFAULT_ACTIVATIONS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"),
                       "rnn": ("Tanh",)}


def recurrent_spec(lowerer: Lowerer, node: ir.Node, cell: str, trace: bool) -> RecurrentSpec:
    """The numbers of a recurrent node (ONNX LSTM-22, GRU-22, RNN-22, layout 0).

    Raises UnsupportedOp for sequence lengths, peepholes, clipping, coupled gates, layout 1.
    """
    attrs = attributes(node)
    inputs = list(node.inputs) + [None] * 8
    unusual = [name for name, value in (
        ("sequence_lens", inputs[4]), ("peepholes", inputs[7] if cell == "lstm" else None),
        ("clip", attrs.get("clip")), ("layout 1", get_int(attrs, "layout", 0) or None),
        ("input_forget", get_int(attrs, "input_forget", 0) or None)) if value is not None]
    if unusual:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): {', '.join(unusual)} cannot be "
                            "compiled; export the network without")
    steps, batch, width = static_shape(inputs[0])  # type: ignore[arg-type]
    direction = get_str(attrs, "direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    activations = tuple(get_strs(attrs, "activations", DEFAULT_ACTIVATIONS[cell] * count))
    weights = [lowerer.view(v) for v in inputs[1:4] if v is not None]
    return RecurrentSpec(
        cell, steps, batch, width, static_shape(inputs[2])[2],  # type: ignore[arg-type]
        direction, inputs[3] is not None, inputs[5] is not None,
        cell == "lstm" and inputs[6] is not None,
        bool(get_int(attrs, "linear_before_reset", 0)), activations, trace,
        all(w.storage.array is not None for w in weights))


def lower_recurrent_grad(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion LSTMGrad, GRUGrad, RNNGrad; their inputs in the order of `ops.recurrent`."""
    cell = CELLS[node.op_type.removesuffix("Grad")]
    attrs, inputs = attributes(node), list(node.inputs)
    places = GRAD_INPUTS[cell]
    given = {name: inputs[i] if i < len(inputs) else None for i, name in enumerate(places)}
    steps, batch, width = static_shape(inputs[0])  # type: ignore[arg-type]
    direction = get_str(attrs, "direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    layer = RecurrentSpec(
        cell, steps, batch, width, static_shape(inputs[2])[2],  # type: ignore[arg-type]
        direction, given["b"] is not None, given["h0"] is not None, given.get("c0") is not None,
        bool(get_int(attrs, "linear_before_reset", 0)),
        tuple(get_strs(attrs, "activations", DEFAULT_ACTIVATIONS[cell] * count)), True, False)
    spec = RecurrentGradSpec(layer, given["dy"] is not None, given["dh"] is not None,
                             given.get("dc") is not None)
    operands = [lowerer.dense(lowerer.view(v)) for name, v in given.items()
                if v is not None and name != "b"]
    lowerer.emit(node, "recurrent_grad", spec,
                 [*operands, *(lowerer.new(v) for v in node.outputs)])


def lower_recurrent(lowerer: Lowerer, node: ir.Node) -> None:
    """LSTM, GRU, RNN and their ai.ganglion Trace forms; every output is computed."""
    trace = node.op_type.endswith("Trace")
    cell = CELLS[node.op_type.removesuffix("Trace")]
    spec = recurrent_spec(lowerer, node, cell, trace)
    places = [0, 1, 2, 3, 5, *([6] if cell == "lstm" else [])]
    operands = [lowerer.dense(lowerer.view(v)) for i in places
                if i < len(node.inputs) and (v := node.inputs[i]) is not None]
    directions = 2 if spec.direction == "bidirectional" else 1
    shapes = [(spec.steps, directions, spec.batch, spec.hidden),
              (directions, spec.batch, spec.hidden)]
    shapes += [shapes[1]] if cell == "lstm" else []
    outputs: list[View] = []
    for i, shape in enumerate(shapes):
        known = i < len(node.outputs) and node.outputs[i].shape is not None
        outputs.append(lowerer.new(node.outputs[i]) if known
                       else lowerer.buffer(f"{node.name}_out{i}", "float32", shape))
    if trace:
        outputs += [lowerer.new(v) for v in node.outputs[len(shapes):]]
    lowerer.emit(node, "recurrent", spec, [*operands, *outputs])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "recurrent": lower_recurrent, "recurrent_grad": lower_recurrent_grad}
