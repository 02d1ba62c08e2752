"""One ONNX LSTM as UNIDIRECTIONAL_SEQUENCE_LSTM, between two REVERSE_V2 if it walks backwards.

The inputs are those that `frontends.tflite_recurrent` lists. TensorFlow Lite keeps the state from
one call to the next: whoever runs the file resets its variables before every sequence.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ganglion.exporters.moves import turned
from ganglion.exporters.site import Array, Rule, Site
from ganglion.ops.attr import get_strs
from ganglion.ops.cells import backwards

GATES = (0, 2, 3, 1)
"""Where ONNX (input, output, forget, cell) has input, forget, cell, output."""
INPUTS, TANH = 24, 4
STATE, CELL = 18, 19
KERAS = ["sigmoid", "tanh", "tanh"]


def lstm(site: Site) -> None:
    """An LSTM with Keras's activations that starts from zero, in either direction or both."""
    _check(site)
    steps_first = site.held(0).perm != (1, 0, 2)
    x = site.read(0, (0, 1, 2) if steps_first else (1, 0, 2))
    axis = 0 if steps_first else 1
    found = []
    for k, reverse in enumerate(backwards(site.attrs)):
        y = _layer(site, k, turned(site, x, axis) if reverse else x, steps_first)
        last = part(site, y, axis)
        found.append((turned(site, y, axis) if reverse else y, last))
    put(site, found, steps_first)


def _layer(site: Site, k: int, x: int, steps_first: bool) -> int:
    """Direction k over x, whose steps stand in the order in which they are met."""
    w, r = weights(site, 1)[k], weights(site, 2)[k]
    hidden = r.shape[-1]
    biases = site.constant(3)
    both = np.zeros(8 * hidden, np.float32) if biases is None else biases[k]
    b = (both[:4 * hidden] + both[4 * hidden:]).astype(np.float32)
    steps, batch = site.shape(0)[:2]
    operands = [-1] * INPUTS
    operands[0] = x
    for place, gate in enumerate(GATES):
        rows = slice(gate * hidden, (gate + 1) * hidden)
        for start, array in ((1, w[rows]), (5, r[rows]), (12, b[rows])):
            operands[start + place] = site.flat.constant(array, site.values.fresh(
                f"{site.name}/{start + place}"))
    for place in (STATE, CELL):
        operands[place] = site.flat.tensor(site.values.fresh(f"{site.name}/state"),
                                           np.dtype(np.float32), (batch, hidden), variable=True)
    shape = (steps, batch, hidden) if steps_first else (batch, steps, hidden)
    return site.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, shape, (
        "UnidirectionalSequenceLSTMOptions",
        {"fused_activation_function": TANH, "time_major": steps_first}))


def _check(site: Site) -> None:
    names = [n.lower() for n in get_strs(site.attrs, "activations", [])]
    if names not in ([], KERAS, KERAS * 2) or site.whole("input_forget", 0) or (
            site.real("clip", 0.0)):
        raise site.unsupported("only the activations sigmoid, tanh, tanh without clipping and "
                               "coupled gates are written")
    for k, what in ((5, "state"), (6, "cell state")):
        array = site.constant(k)
        if site.has(k) and (array is None or array.any()):
            raise site.unsupported(f"its first {what} must be zero; a .tflite file starts there")
    if site.has(7):
        raise site.unsupported("peepholes are not written")
    full_lengths(site)
    outputs = site.node.outputs
    if len(outputs) > 2 and (outputs[2].uses() or outputs[2].is_graph_output()):
        raise site.unsupported("its cell state is read, which a .tflite file does not give out")


def full_lengths(site: Site) -> None:
    """Raises UnsupportedOp where some sequences are shorter than others."""
    if site.has(4):
        lengths = site.constant(4)
        if lengths is None or (lengths != site.shape(0)[0]).any():
            raise site.unsupported("lengths of sequences are not written; give all steps")


def weights(site: Site, k: int) -> Array:
    """Input k, a constant."""
    array = site.constant(k)
    if array is None:
        raise site.unsupported("its weights are computed; a .tflite file needs constants")
    return array.astype(np.float32)


def part(site: Site, y: int, axis: int) -> int:
    """The last step of a sequence, its axis kept."""
    shape = site.flat.tensors[y].shape
    begin = [n - 1 if k == axis else 0 for k, n in enumerate(shape)]
    cut = [1 if k == axis else n for k, n in enumerate(shape)]
    return site.op("STRIDED_SLICE", [y, site.flat.ints(*begin), site.flat.ints(*shape),
                                     site.flat.ints(1, 1, 1)], cut,
                   ("StridedSliceOptions", {}), like=y)


def put(site: Site, found: Sequence[tuple[int, int]], steps_first: bool) -> None:
    """Y [T, D, B, H] and the last steps Y_h [D, B, H], from those of each direction: sequences
    [T, B, H] or [B, T, H] and parts of them with one step."""
    outputs = site.node.outputs
    shape = site.flat.tensors[found[0][0]].shape
    count, axis = len(found), 1 if steps_first else 2
    if outputs and (outputs[0].uses() or outputs[0].is_graph_output()):
        wide = (*shape[:axis], count, *shape[axis:])
        y = site.reshaped(found[0][0], wide) if count == 1 else site.op(
            "PACK", [way for way, _ in found], wide,
            ("PackOptions", {"values_count": count, "axis": axis}))
        site.put(y, (0, 1, 2, 3) if steps_first else (2, 0, 1, 3), 0)
    if len(outputs) > 1 and (outputs[1].uses() or outputs[1].is_graph_output()):
        steps = 0 if steps_first else 1
        wide = tuple(count if k == steps else n for k, n in enumerate(shape))
        last = found[0][1] if count == 1 else site.op(
            "CONCATENATION", [end for _, end in found], wide,
            ("ConcatenationOptions", {"axis": steps}))
        site.put(last, (0, 1, 2) if steps_first else (1, 0, 2), 1)


ROWS: Mapping[str, Rule] = {"LSTM": lstm}
