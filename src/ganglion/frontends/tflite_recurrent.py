"""UNIDIRECTIONAL_SEQUENCE_LSTM as one ONNX LSTM node.

Inputs (schema.fbs, lstm kernels): 0 x; 1-4 weights of x and 5-8 of the state, each for the gates
input, forget, cell, output; 9-11 peepholes; 12-15 biases; 16-17 projection; 18 state; 19 cell
state; 20-23 layer normalisation. ONNX wants the gates as input, output, forget, cell.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.frontends.tflite_file import Quantization
from ganglion.frontends.tflite_schema import Table
from ganglion.frontends.tflite_site import ACTIVATIONS, Site
from ganglion.ops.attr import get_int
from ganglion.ops.graph import attributes, static_shape

Array = np.ndarray

X_WEIGHTS, STATE_WEIGHTS, BIASES = (1, 4, 2, 3), (5, 8, 6, 7), (12, 15, 13, 14)
STATES = (18, 19)
USUAL_CLIP = 10.0
"""Converters from Keras always write this bound of the cell state, which Keras itself lacks."""


def lstm(site: Site) -> None:
    """x [B, T, I] (or [T, B, I]) to [B, T, H] (or [T, B, H]); the state starts at zero."""
    options = site.options("UnidirectionalSequenceLSTMOptions")
    if len(site.shape(0)) != 3:
        raise site.error(f"its input has the shape {list(site.shape(0))}, expected [batch, steps, "
                         "numbers]")
    steps_first = bool(options.integer("time_major"))
    steps = site.shape(0)[0 if steps_first else 1]
    _check(site, options, steps)
    turn = (lambda v: v) if steps_first else (lambda v: site.op("Transpose", v, perm=[1, 0, 2]))
    w, r = _stacked(site, X_WEIGHTS), _stacked(site, STATE_WEIGHTS)
    hidden, numbers = static_shape(r)[2], site.shape(0)[2]
    batch = site.shape(0)[1 if steps_first else 0]
    if static_shape(w) != (1, 4 * hidden, numbers) or static_shape(r)[1] != 4 * hidden:
        raise site.error(f"its weights of x have the shape {list(site.shape(1))}, of the state "
                         f"{list(site.shape(5))}, for {numbers} numbers a step")
    x = site.real(0, turn)
    states = [_state(site, k, (1, batch, hidden)) for k in STATES]
    y = site.ops("LSTM", x, w, r, _biases(site, hidden), None, *states, outputs=1,
                 hidden_size=hidden)[0]
    site.finish(y, move=lambda v: turn(site.reshaped(v, (steps, batch, hidden))))


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


def _stacked(site: Site, inputs: Sequence[int]) -> ir.Value:
    """The weights [H, n] of four gates as one [1, 4·H, n]; int8 stays int8, scales by row."""
    found = [_weights(site, k) for k in inputs]
    arrays = [a for a, _ in found]
    if any(a.ndim != 2 or a.shape != arrays[0].shape for a in arrays):
        raise site.error(f"its weights have the shapes {[list(a.shape) for a in arrays]}, "
                         "expected four alike of two axes")
    rows = arrays[0].shape[0]
    scales = [_row_scales(q, rows) for _, q in found]
    name = f"{site.output().name}/{'x' if inputs is X_WEIGHTS else 'state'}_weights"
    known = [s for s in scales if s is not None]
    if len(known) < len(scales):
        return site.g.constant(np.concatenate([_real(site, k) for k in inputs])[None], name)
    q = Quantization(np.concatenate(known), np.zeros(4 * rows, np.int64), 0)
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


def _biases(site: Site, hidden: int) -> ir.Value:
    """[1, 8·H]: those of the gates, then zeros for ONNX's second set."""
    parts = [_real(site, k) if site.has(k) else np.zeros(hidden, np.float32) for k in BIASES]
    if any(p.shape != (hidden,) for p in parts):
        raise site.error(f"its biases have the shapes {[list(p.shape) for p in parts]}, expected "
                         f"[{hidden}]")
    both = np.concatenate([*parts, np.zeros(4 * hidden, np.float32)])
    return site.g.constant(both[None], f"{site.output().name}/biases")


def _state(site: Site, k: int, shape: tuple[int, ...]) -> ir.Value | None:
    """What the state starts with, None for zeros: a variable of the file starts every call anew."""
    if not site.has(k) or site.values.value(site.tensor(k)) is None:
        return None
    if int(np.prod(site.shape(k))) != int(np.prod(shape)):
        raise site.error(f"its state has the shape {list(site.shape(k))}, expected "
                         f"{list(shape[1:])}")
    return site.real(k, lambda v: site.reshaped(v, shape))


ROWS: Mapping[str, Callable[[Site], None]] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": lstm}
