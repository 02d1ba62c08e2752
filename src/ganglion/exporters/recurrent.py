"""LSTM, GRU and RNN: TensorFlow Lite's operator where it has one that fits, else step by step.

The inputs of UNIDIRECTIONAL_SEQUENCE_LSTM are those that `frontends.tflite_recurrent` lists.
TensorFlow Lite keeps the state of that operator from one call to the next: whoever runs the file
resets its variables before every sequence. Cells written step by step keep nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.exporters.lanes import CELL, STATE, Lane, R, W, cut, is_read, lanes
from ganglion.exporters.moves import turned_round
from ganglion.exporters.site import Rule, Site
from ganglion.exporters.unrolled import unrolled

GATES = (0, 2, 3, 1)
"""Where ONNX (input, output, forget, cell) has input, forget, cell, output."""
INPUTS, TANH = 24, 4
STATES = (18, 19)
USUAL = ("sigmoid", "tanh", "tanh")


@dataclass(frozen=True)
class Given:
    """What one direction gives: the sequence (None where nobody reads it), the last state and the
    last cell state [B, H]."""

    y: int | None
    h: int
    c: int | None = None


def lstm(site: Site) -> None:
    """An LSTM with Keras's activations that starts from zero, both directions, as
    UNIDIRECTIONAL_SEQUENCE_LSTM; others, and those whose cell state is read, step by step."""
    each = []
    for lane in lanes(site, "lstm"):
        plain = (tuple(f.name for f in lane.functions) == USUAL and not is_read(site, 2)
                 and lane.starts_at_zero(STATE) and lane.starts_at_zero(CELL))
        each.append(_lstm(lane) if plain else _stepwise(lane, "lstm"))
    _put(site, each)


def gru(site: Site) -> None:
    """A GRU step by step; TensorFlow Lite has none."""
    _put(site, [_stepwise(lane, "gru") for lane in lanes(site, "gru")])


def rnn(site: Site) -> None:
    """A simple cell step by step."""
    _put(site, [_stepwise(lane, "rnn") for lane in lanes(site, "rnn")])


def _lstm(lane: Lane) -> Given:
    site = lane.site
    operands = [-1] * INPUTS
    operands[0] = turned_round(site, lane.x, lane.axis) if lane.reverse else lane.x
    for place, gate in enumerate(GATES):
        span = (gate, gate + 1)
        bias = (lane.bias(0, *span) + lane.bias(1, *span)).astype(np.float32)
        operands[1 + place] = lane.weights(W, *span)
        operands[5 + place] = lane.weights(R, *span)
        operands[12 + place] = site.flat.constant(bias, site.values.fresh(f"{site.name}/bias"))
    for place in STATES:
        operands[place] = site.flat.tensor(
            site.values.fresh(f"{site.name}/state"), np.dtype(np.float32),
            (lane.batch, lane.hidden), variable=True)
    y = site.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, lane.sequence(lane.hidden), (
        "UnidirectionalSequenceLSTMOptions",
        {"fused_activation_function": TANH, "time_major": lane.steps_first}))
    return _of_sequence(lane, y)


def _of_sequence(lane: Lane, y: int) -> Given:
    """What an operator gives that walked in the order of its input; that of a reversed direction
    is turned back."""
    h = -1
    if is_read(lane.site, 1):
        h = cut(lane.site, y, lane.axis, lane.steps - 1, (lane.batch, lane.hidden))
    turned = lane.reverse and is_read(lane.site, 0)
    return Given(turned_round(lane.site, y, lane.axis) if turned else y, h)


def _stepwise(lane: Lane, cell: str) -> Given:
    site, walked = lane.site, unrolled(lane, cell)
    y = None
    if is_read(site, 0):
        y = site.op("PACK", walked.states, lane.sequence(lane.hidden), (
            "PackOptions", {"values_count": lane.steps, "axis": lane.axis}))
    return Given(y, walked.last, walked.cell)


def _put(site: Site, each: Sequence[Given]) -> None:
    """Y [T, D, B, H], and the last states [D, B, H]: the directions lie side by side."""
    steps, batch = site.shape(0)[:2]
    hidden, count = site.shape(R)[2], len(each)
    if is_read(site, 0):
        steps_first = site.held(0).perm != (1, 0, 2)
        rows = (steps, batch) if steps_first else (batch, steps)
        y = _joined(site, [g.y for g in each])
        site.put(site.reshaped(y, (*rows, count, hidden)),
                 (0, 2, 1, 3) if steps_first else (2, 0, 1, 3), 0)
    for k, states in ((1, [g.h for g in each]), (2, [g.c for g in each])):
        if is_read(site, k):
            site.put(site.reshaped(_joined(site, states), (batch, count, hidden)), (1, 0, 2), k)


def _joined(site: Site, tensors: Sequence[int | None]) -> int:
    """The tensors along their last axis."""
    parts = [t for t in tensors if t is not None]
    if len(parts) == 1:
        return parts[0]
    shape = site.flat.tensors[parts[0]].shape
    return site.op("CONCATENATION", parts, (*shape[:-1], shape[-1] * len(parts)),
                   ("ConcatenationOptions", {"axis": len(shape) - 1}))


ROWS: Mapping[str, Rule] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
