"""One ONNX LSTM as UNIDIRECTIONAL_SEQUENCE_LSTM.

The inputs are those that `frontends.tflite_recurrent` lists. TensorFlow Lite keeps the state from
one call to the next: whoever runs the file resets its variables before every sequence.
"""

from collections.abc import Mapping

import numpy as np

from ganglion.exporters.site import Array, Rule, Site
from ganglion.ops.attr import get_str, get_strs

GATES = (0, 2, 3, 1)
"""Where ONNX (input, output, forget, cell) has input, forget, cell, output."""
INPUTS, TANH = 24, 4
STATE, CELL = 18, 19


def lstm(site: Site) -> None:
    """A forward LSTM with Keras's activations that starts from zero."""
    _check(site)
    w, r = _weights(site, 1), _weights(site, 2)
    hidden = r.shape[-1]
    biases = site.constant(3)
    both = np.zeros((1, 8 * hidden), np.float32) if biases is None else biases
    b = (both[0, :4 * hidden] + both[0, 4 * hidden:]).astype(np.float32)
    steps, batch = site.shape(0)[:2]
    stored = site.held(0).perm
    steps_first = stored != (1, 0, 2)
    x = site.read(0, (0, 1, 2) if steps_first else (1, 0, 2))
    operands = [-1] * INPUTS
    operands[0] = x
    for place, gate in enumerate(GATES):
        rows = slice(gate * hidden, (gate + 1) * hidden)
        for start, array in ((1, w[0, rows]), (5, r[0, rows]), (12, b[rows])):
            operands[start + place] = site.flat.constant(array, site.values.fresh(
                f"{site.name}/{start + place}"))
    for place in (STATE, CELL):
        operands[place] = site.flat.tensor(site.values.fresh(f"{site.name}/state"),
                                           np.dtype(np.float32), (batch, hidden), variable=True)
    shape = (steps, batch, hidden) if steps_first else (batch, steps, hidden)
    y = site.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, shape, (
        "UnidirectionalSequenceLSTMOptions",
        {"fused_activation_function": TANH, "time_major": steps_first}))
    _put(site, y, steps_first)


def _check(site: Site) -> None:
    if get_str(site.attrs, "direction", "forward") != "forward":
        raise site.unsupported("only forward LSTMs are written; split a bidirectional one into "
                               "two")
    names = [n.lower() for n in get_strs(site.attrs, "activations", [])]
    if names not in ([], ["sigmoid", "tanh", "tanh"]) or site.whole("input_forget", 0) or (
            site.real("clip", 0.0)):
        raise site.unsupported("only the activations sigmoid, tanh, tanh without clipping and "
                               "coupled gates are written")
    for k, what in ((5, "state"), (6, "cell state")):
        array = site.constant(k)
        if site.has(k) and (array is None or array.any()):
            raise site.unsupported(f"its first {what} must be zero; a .tflite file starts there")
    if site.has(7):
        raise site.unsupported("peepholes are not written")
    if site.has(4):
        lengths = site.constant(4)
        if lengths is None or (lengths != site.shape(0)[0]).any():
            raise site.unsupported("lengths of sequences are not written; give all steps")
    outputs = site.node.outputs
    if len(outputs) > 2 and (outputs[2].uses() or outputs[2].is_graph_output()):
        raise site.unsupported("its cell state is read, which a .tflite file does not give out")


def _weights(site: Site, k: int) -> Array:
    array = site.constant(k)
    if array is None:
        raise site.unsupported("its weights are computed; a .tflite file needs constants")
    return array.astype(np.float32)


def _put(site: Site, y: int, steps_first: bool) -> None:
    """Y [T, 1, B, H] and the last step Y_h [1, B, H]."""
    steps, batch, hidden = (site.shape(0)[0], site.shape(0)[1], site.flat.tensors[y].shape[2])
    outputs = site.node.outputs
    if outputs and (outputs[0].uses() or outputs[0].is_graph_output()):
        shape = (steps, 1, batch, hidden) if steps_first else (batch, steps, 1, hidden)
        perm = (0, 1, 2, 3) if steps_first else (2, 0, 1, 3)
        site.put(site.reshaped(y, shape), perm, 0)
    if len(outputs) > 1 and (outputs[1].uses() or outputs[1].is_graph_output()):
        begin = (steps - 1, 0, 0) if steps_first else (0, steps - 1, 0)
        end = (steps, batch, hidden) if steps_first else (batch, steps, hidden)
        cut = (1, batch, hidden) if steps_first else (batch, 1, hidden)
        part = site.op("STRIDED_SLICE", [y, site.flat.ints(*begin), site.flat.ints(*end),
                                         site.flat.ints(1, 1, 1)], cut,
                       ("StridedSliceOptions", {}), like=y)
        site.put(part, (0, 1, 2) if steps_first else (1, 0, 2), 1)


ROWS: Mapping[str, Rule] = {"LSTM": lstm}
