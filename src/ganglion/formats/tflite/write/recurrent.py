"""LSTM, GRU and RNN: TensorFlow Lite's operator where it has one that fits, else step by step.

The inputs of UNIDIRECTIONAL_SEQUENCE_LSTM are those that `formats.tflite.read.recurrent` lists.
UNIDIRECTIONAL_SEQUENCE_RNN has x, both weights, the bias and the state. TensorFlow Lite keeps the
state of these from one call to the next: whoever runs the file resets its variables before every
sequence. Cells written step by step keep nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.formats.tflite.write.flat import Options
from ganglion.formats.tflite.write.lanes import CELL, STATE, Lane, R, W, cut, is_read, lanes
from ganglion.formats.tflite.write.moves import turned_round
from ganglion.formats.tflite.write.site import Rule, Site
from ganglion.formats.tflite.write.unrolled import unrolled

GATES = (0, 2, 3, 1)
"""Where ONNX (input, output, forget, cell) has input, forget, cell, output."""
INPUTS = 24
STATES = (18, 19)
USUAL = ("sigmoid", "tanh", "tanh")
FUSED = {"relu": 1, "tanh": 4}
"""The schema's numbers of the activations of a simple cell."""


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
    """A simple cell by tanh or relu that starts from zero as UNIDIRECTIONAL_SEQUENCE_RNN; others
    step by step."""
    _put(site, [_rnn(lane) if lane.functions[0].name in FUSED and lane.starts_at_zero(STATE)
                else _stepwise(lane, "rnn") for lane in lanes(site, "rnn")])


def _lstm(lane: Lane) -> Given:
    operands = [-1] * INPUTS
    for place, gate in enumerate(GATES):
        operands[1 + place], operands[5 + place], operands[12 + place] = _parts(lane, gate)
    for place in STATES:
        operands[place] = _variable(lane)
    return _sequence(lane, "UNIDIRECTIONAL_SEQUENCE_LSTM", operands, (
        "UnidirectionalSequenceLSTMOptions",
        {"fused_activation_function": FUSED["tanh"], "time_major": lane.steps_first}))


def _rnn(lane: Lane) -> Given:
    return _sequence(lane, "UNIDIRECTIONAL_SEQUENCE_RNN", [-1, *_parts(lane, 0), _variable(lane)], (
        "SequenceRNNOptions", {"fused_activation_function": FUSED[lane.functions[0].name],
                               "time_major": lane.steps_first}))


def _parts(lane: Lane, gate: int) -> tuple[int, int, int]:
    """The weights of x and of the state, and the bias, of one gate."""
    site, span = lane.site, (gate, gate + 1)
    bias = (lane.bias(0, *span) + lane.bias(1, *span)).astype(np.float32)
    return (lane.weights(W, *span), lane.weights(R, *span),
            site.flat.constant(bias, site.values.fresh(f"{site.name}/bias")))


def _variable(lane: Lane) -> int:
    """A tensor that the operator keeps, of zeros at first."""
    return lane.site.flat.tensor(lane.site.values.fresh(f"{lane.site.name}/state"),
                                 np.dtype(np.float32), (lane.batch, lane.hidden), variable=True)


def _sequence(lane: Lane, name: str, operands: list[int], options: Options) -> Given:
    """An operator over a whole sequence, which stands in front of the other operands; a reversed
    one is turned in front and behind."""
    site = lane.site
    operands[0] = turned_round(site, lane.x, lane.axis) if lane.reverse else lane.x
    y = site.op(name, operands, lane.sequence(lane.hidden), options)
    h = -1
    if is_read(site, 1):
        h = cut(site, y, lane.axis, lane.steps - 1, (lane.batch, lane.hidden))
    turned = lane.reverse and is_read(site, 0)
    return Given(turned_round(site, y, lane.axis) if turned else y, h)


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
