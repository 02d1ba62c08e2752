"""LSTM, GRU and RNN: one kernel for the whole sequence; with traces and backwards for training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.recurrent import VALUES, RecurrentSpec
from ganglion.kernels.recurrent_grad import RecurrentGradSpec
from ganglion.ops.attr import get_floats, get_int, get_str, get_strs
from ganglion.ops.cells import DEFAULTS
from ganglion.ops.facts import is_op, is_recurrent, kind_of
from ganglion.ops.named import DEQUANTIZE_LINEAR
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View

Given = Mapping[str, ir.Value]
WEIGHTS = (1, 2)
"""Where a recurrent node has w and r."""


@dataclass(frozen=True)
class Codes:
    """Constant weights: int8 [D, G·H, n], and what each row is multiplied with, [D, G·H]."""

    array: np.ndarray
    scale: np.ndarray


def weight_codes(node: ir.Node) -> tuple[Codes, Codes] | None:
    """w and r of a recurrent node whose kernel can read them as they are stored: constants behind
    DequantizeLinear, symmetric, with one scale or one a row; the bias, if any, constant too."""
    if not is_recurrent(node):
        return None
    bias = node.inputs[3] if len(node.inputs) > 3 else None
    w, r = (_codes(node.inputs[k]) for k in WEIGHTS)
    if w is None or r is None or (bias is not None and bias.const_value is None):
        return None
    return w, r


def stays_packed(node: ir.Node) -> bool:
    """Whether a DequantizeLinear needs no step: only recurrent kernels read it, as codes."""
    value = node.outputs[0]
    return (is_op(node, DEQUANTIZE_LINEAR) and not value.is_graph_output()
            and bool(value.uses())
            and all(use.idx in WEIGHTS and weight_codes(use.node) is not None
                    for use in value.uses()))


def _codes(value: ir.Value | None) -> Codes | None:
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or not is_op(node, DEQUANTIZE_LINEAR):
        return None
    arrays = [None if v is None or v.const_value is None else v.const_value.numpy()
              for v in node.inputs]
    codes, scale, zero = (*arrays, None)[:3]
    if codes is None or scale is None or codes.dtype != np.int8 or codes.ndim != 3:
        return None
    if len(node.inputs) > 2 and (zero is None or zero.any()):
        return None
    rows = scale.shape == codes.shape[1:2] and get_int(attributes(node), "axis", 1) in (1, -2)
    if scale.dtype != np.float32 or not (rows or scale.size == 1):
        return None
    spread = scale.reshape(-1) if rows else scale.reshape(())
    return Codes(codes, np.broadcast_to(spread, codes.shape[:2]).astype(np.float32))


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
    codes = weight_codes(node) is not None
    constant = codes or all(lowerer.view(given[name]).storage.array is not None
                   for name in ("w", "r", "b") if name in given)
    return RecurrentSpec(
        cell, steps, batch, width, static_shape(given["r"])[2], direction, "b" in given,
        "h0" in given, "c0" in given, bool(get_int(attrs, "linear_before_reset", 0)), activations,
        trace, constant, tuple(get_floats(attrs, "activation_alpha", [])),
        tuple(get_floats(attrs, "activation_beta", [])), codes)


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


def _inputs(lowerer: Lowerer, node: ir.Node, given: Given) -> list[View]:
    """The inputs that are there; weights as codes are followed by their scales."""
    found = weight_codes(node)
    if found is None:
        return [lowerer.dense(lowerer.view(v)) for v in given.values()]
    stored = [lowerer.constant(f"{node.name}_{name}", array) for name, array in (
        ("w", found[0].array), ("r", found[1].array), ("w_scale", found[0].scale),
        ("r_scale", found[1].scale))]
    x, *others = [lowerer.dense(lowerer.view(v)) for name, v in given.items()
                  if name not in ("w", "r")]
    return [x, *stored, *others]


def lower_recurrent(lowerer: Lowerer, node: ir.Node) -> None:
    """LSTM, GRU, RNN and their ai.ganglion Trace forms; every output is computed."""
    trace = node.op_type.endswith("Trace")
    cell = kind_of(node)
    names = ["x", "w", "r", "b", "sequence_lens", "h0"]
    given = _named(node, [*names, "c0", "peepholes"] if cell == "lstm" else names)
    spec = recurrent_spec(lowerer, node, cell, given, trace)
    operands = _inputs(lowerer, node, given)
    directions = len(spec.reverses)
    last = (directions, spec.batch, spec.hidden)
    shapes = [(spec.steps, *last), last, *([last] if cell == "lstm" else [])]
    outputs = _results(lowerer, node, shapes)
    if trace:
        outputs += [lowerer.new(v) for v in node.outputs[len(shapes):]]
    lowerer.emit(node, "recurrent", spec, [*operands, *outputs])


def lower_recurrent_grad(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion LSTMGrad, GRUGrad, RNNGrad; inputs in the order of `ops.recurrent`."""
    cell = kind_of(node)
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
