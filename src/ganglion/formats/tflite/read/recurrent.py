"""UNIDIRECTIONAL_SEQUENCE_LSTM as one ONNX LSTM node, UNIDIRECTIONAL_SEQUENCE_RNN as one RNN.

Inputs of the first (schema.fbs, lstm kernels): 0 x; 1-4 weights of x and 5-8 of the state, each
for the gates input, forget, cell, output; 9-11 peepholes; 12-15 biases; 16-17 projection; 18 state;
19 cell state; 20-23 layer normalisation. ONNX wants the gates as input, output, forget, cell.

TensorFlow Lite keeps state and cell state from one call to the next. Where a call is one step that
is the network's meaning, and the Model keeps them too, as state of a stream; whole sequences begin
at zero, as in Keras.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.formats.tflite.file import Quantization
from ganglion.formats.tflite.read.site import ACTIVATIONS, Site
from ganglion.formats.tflite.schema import Table
from ganglion.ops.attr import get_int
from ganglion.ops.values import attributes, static_shape

Array = np.ndarray

X_WEIGHTS, STATE_WEIGHTS, BIASES = (1, 4, 2, 3), (5, 8, 6, 7), (12, 15, 13, 14)
STATES = (18, 19)
USUAL_CLIP = 10.0
"""Converters from Keras always write this bound of the cell state, which Keras itself lacks."""


def lstm(site: Site) -> None:
    """x [B, T, I] (or [T, B, I]) to [B, T, H] (or [T, B, H])."""
    options = site.options("UnidirectionalSequenceLSTMOptions")
    f = _form(site, options)
    _check(site, options, f.steps)
    w, r = _stacked(site, X_WEIGHTS, "x"), _stacked(site, STATE_WEIGHTS, "state")
    states = [_state(f, k, f.hidden(w, r, 4)) for k in STATES]
    f.finish("LSTM", w, r, _biases(site, BIASES, f.hidden(w, r, 4)), states)


def rnn(site: Site) -> None:
    """A simple cell, x and result as of the LSTM. Inputs: x, weights of x and of the state, bias,
    state."""
    options = site.options("SequenceRNNOptions")
    f = _form(site, options)
    number = options.integer("fused_activation_function")
    name = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else ""
    if name not in ("Relu", "Tanh"):
        raise site.unsupported(f"has the activation number {number}; only 1 (Relu) and 4 (Tanh) "
                               "are read")
    w, r = _stacked(site, (1,), "x"), _stacked(site, (2,), "state")
    state = _state(f, 4, f.hidden(w, r, 1))
    f.finish("RNN", w, r, _biases(site, (3,), f.hidden(w, r, 1)), [state], activations=[name])


@dataclass(frozen=True)
class Form:
    """How the sequences of an operator lie: [T, B, n] with the steps first, or [B, T, n]."""

    site: Site
    steps_first: bool
    steps: int
    batch: int
    numbers: int

    def hidden(self, w: ir.Value, r: ir.Value, gates: int) -> int:
        """The size of the state. Raises ModelError where the weights do not fit."""
        rows, found = static_shape(r)[1:]
        if static_shape(w) != (1, gates * found, self.numbers) or rows != gates * found:
            raise self.site.error(f"its weights of x are {list(static_shape(w)[1:])}, of the state "
                                  f"{[rows, found]}, for {self.numbers} numbers a step")
        return found

    def turn(self, value: ir.Value) -> ir.Value:
        """Between this order and the steps first."""
        return value if self.steps_first else self.site.op("Transpose", value, perm=[1, 0, 2])

    def finish(self, name: str, w: ir.Value, r: ir.Value, b: ir.Value,
               states: Sequence[ir.Value | None], **attrs: Sequence[str]) -> None:
        """The node, and its sequence as the operator's result; what it leaves becomes the state."""
        site, hidden = self.site, static_shape(r)[2]
        y, *left = site.ops(name, site.real(0, self.turn), w, r, b, None, *states,
                            outputs=1 + len(states), hidden_size=hidden, **attrs)
        variables = site.values.variables
        for state, after in zip(states, left):
            if state is not None and state.name in variables.inputs:
                variables.now[state.name] = after
        site.finish(y, move=lambda v: self.turn(site.reshaped(
            v, (self.steps, self.batch, hidden))))


def _form(site: Site, options: Table) -> Form:
    shape = site.shape(0)
    if len(shape) != 3:
        raise site.error(f"its input has the shape {list(shape)}, expected [batch, steps, numbers]")
    steps_first = bool(options.integer("time_major"))
    steps, batch = shape[:2] if steps_first else (shape[1], shape[0])
    return Form(site, steps_first, steps, batch, shape[2])


def _check(site: Site, options: Table, steps: int) -> None:
    parts = (("a coupled input gate", not site.has(1)),
             ("peepholes", any(site.has(k) for k in (9, 10, 11))),
             ("a projection", site.has(16) or site.has(17)),
             ("layer normalisation", any(site.has(k) for k in (20, 21, 22, 23))),
             ("diagonal weights", bool(options.integer("diagonal_recurrent_tensors"))),
             ("a clipped projection", options.number("proj_clip") != 0))
    found = [name for name, there in parts if there]
    if found:
        raise site.unsupported(f"has {', '.join(found)}, which the LSTM kernel does not know")
    activation = options.integer("fused_activation_function")
    if ACTIVATIONS[activation:activation + 1] != ("Tanh",):
        raise site.unsupported(f"has the activation number {activation}; only 4 (Tanh) is read")
    # |c| grows by less than 1 a step, so a bound of `steps` or more never acts.
    clip = options.number("cell_clip")
    if clip != 0 and not clip >= min(USUAL_CLIP, steps):
        raise site.unsupported(f"clips its cell state at {clip}; only {USUAL_CLIP} or more is read")


def _stacked(site: Site, inputs: Sequence[int], what: str) -> ir.Value:
    """The weights [H, n] of all gates G as one [1, G·H, n]; int8 stays int8, scales by row."""
    found = [_weights(site, k) for k in inputs]
    arrays = [a for a, _ in found]
    if any(a.ndim != 2 or a.shape != arrays[0].shape for a in arrays):
        raise site.error(f"its weights have the shapes {[list(a.shape) for a in arrays]}, "
                         "expected two axes, all alike")
    rows = arrays[0].shape[0]
    scales = [_row_scales(q, rows) for _, q in found]
    name = f"{site.output().name}/{what}_weights"
    known = [s for s in scales if s is not None]
    if len(known) < len(scales):
        return site.g.constant(np.concatenate([_real(site, k) for k in inputs])[None], name)
    q = Quantization(np.concatenate(known), np.zeros(len(inputs) * rows, np.int64), 0)
    return site.dequantized(site.g.constant(np.concatenate(arrays)[None], name), q, 1)


def _row_scales(q: Quantization | None, rows: int) -> Array | None:
    """One scale a row of symmetric weights, None for others."""
    if q is None or q.zero.any() or not (q.per_tensor or q.axis == 0):
        return None
    return np.broadcast_to(q.scale, (rows,))


def _weights(site: Site, k: int) -> tuple[Array, Quantization | None]:
    """Constant input k as it is stored, also behind a DEQUANTIZE, and its scales."""
    array = site.constant(k)
    if array is not None:
        return array, site.tensor(k).quantization
    node = site.value(k).producer()
    if node is not None and node.op_type == "DequantizeLinear":
        codes, scale, zero = (v.const_value for v in node.inputs if v is not None)
        if codes is not None and scale is not None and zero is not None:
            scales, zeros = scale.numpy().reshape(-1), zero.numpy().reshape(-1)
            return codes.numpy(), Quantization(scales, zeros.astype(np.int64),
                                               get_int(attributes(node), "axis", 1))
    raise site.unsupported(f"its weights {site.tensor(k).name!r} (input {k}) are no constant")


def _real(site: Site, k: int) -> Array:
    """Constant input k as float32 numbers."""
    array, q = _weights(site, k)
    if q is None:
        return array.astype(np.float32)
    shape = [-1 if a == q.axis and not q.per_tensor else 1 for a in range(array.ndim)]
    centred = (array - q.zero.reshape(shape)).astype(np.float32)
    real: Array = centred * q.scale.reshape(shape)
    return real


def _biases(site: Site, inputs: Sequence[int], hidden: int) -> ir.Value:
    """[1, 2·G·H]: those of the gates, then zeros for ONNX's second set."""
    parts = [_real(site, k) if site.has(k) else np.zeros(hidden, np.float32) for k in inputs]
    if any(p.shape != (hidden,) for p in parts):
        raise site.error(f"its biases have the shapes {[list(p.shape) for p in parts]}, expected "
                         f"[{hidden}]")
    both = np.concatenate([*parts, np.zeros(len(inputs) * hidden, np.float32)])
    return site.g.constant(both[None], f"{site.output().name}/biases")


def _state(f: Form, k: int, hidden: int) -> ir.Value | None:
    """What the state starts with, None for zeros; of a single step it is the Model's own."""
    site, shape = f.site, (1, f.batch, hidden)
    if not site.has(k):
        return None
    if site.values.value(site.tensor(k)) is None:
        if f.steps != 1:
            return None
        first = site.g.constant(np.zeros(shape, np.float32), f"{site.tensor(k).name}_state",
                                share=False)
        site.g.graph.inputs.append(first)
        site.values.variables.inputs[str(first.name)] = first
        return first
    if int(np.prod(site.shape(k))) != int(np.prod(shape)):
        raise site.error(f"its state has the shape {list(site.shape(k))}, expected "
                         f"{list(shape[1:])}")
    return site.real(k, lambda v: site.reshaped(v, shape))


ROWS: Mapping[str, Callable[[Site], None]] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
                                              "UNIDIRECTIONAL_SEQUENCE_RNN": rnn}
