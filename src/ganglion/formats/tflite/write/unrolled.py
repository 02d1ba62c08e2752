"""Recurrent cells step by step, for what TensorFlow Lite has no operator or no room for state.

The products of the input are taken for all steps at once by one FULLY_CONNECTED; each step then
multiplies the state by the same constant weights and adds. Equations: ONNX LSTM-14, GRU-14, RNN-14.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.formats.tflite.write.lanes import CELL, STATE, Function, Lane, R, W
from ganglion.formats.tflite.write.pointwise import apply, arithmetic, bounded
from ganglion.formats.tflite.write.site import Array, Site


@dataclass(frozen=True)
class Walked:
    """The states [B, H] of a direction, in the order of the input's steps, and the last ones."""

    states: list[int]
    last: int
    cell: int | None = None


def unrolled(lane: Lane, cell: str) -> Walked:
    """All steps of one direction. Raises UnsupportedOp for activations that are not written."""
    unknown = [f.name for f in lane.functions if f.name not in FUNCTIONS]
    if unknown:
        raise lane.site.unsupported(f"its activations {unknown} are not written; use one of "
                                    f"{sorted(FUNCTIONS)}")
    return CELLS[cell](lane)


def _lstm(lane: Lane) -> Walked:
    """Gates i, o, f, then the candidate: c = f·c + i·g, h = o·tanh(c)."""
    site, functions = lane.site, lane.functions
    gates_x, gates_r = _inputs(lane, 0, 3), lane.weights(R, 0, 3)
    new_x, new_r = _inputs(lane, 3, 4), lane.weights(R, 3, 4)
    h, c = lane.start(STATE), lane.start(CELL)
    states = [0] * lane.steps
    for t in _order(lane):
        i, o, f = _gates(lane, gates_x[t], _product(site, h, gates_r), functions[0], 3)
        g = _function(site, arithmetic(site, "ADD", new_x[t], _product(site, h, new_r)),
                      functions[1])
        c = arithmetic(site, "ADD", arithmetic(site, "MUL", f, c), arithmetic(site, "MUL", i, g))
        h = states[t] = arithmetic(site, "MUL", o, _function(site, c, functions[2]))
    return Walked(states, h, c)


def _gru(lane: Lane) -> Walked:
    """Gates z, r, then the candidate n: h = n + z·(h - n). The reset gate multiplies the state's
    product where `linear_before_reset` says so, else the state."""
    site, functions = lane.site, lane.functions
    linear = bool(site.whole("linear_before_reset", 0))
    gates_x, gates_r = _inputs(lane, 0, 2), lane.weights(R, 0, 2)
    new_x, new_r = _inputs(lane, 2, 3, both=not linear), lane.weights(R, 2, 3)
    bias = site.flat.constant(lane.bias(1, 2, 3), "bias") if linear else -1
    h = lane.start(STATE)
    states = [0] * lane.steps
    for t in _order(lane):
        z, r = _gates(lane, gates_x[t], _product(site, h, gates_r), functions[0], 2)
        if linear:
            part = arithmetic(site, "MUL", r, _product(site, h, new_r, bias))
        else:
            part = _product(site, arithmetic(site, "MUL", r, h), new_r)
        n = _function(site, arithmetic(site, "ADD", new_x[t], part), functions[1])
        kept = arithmetic(site, "MUL", z, arithmetic(site, "SUB", h, n))
        h = states[t] = arithmetic(site, "ADD", n, kept)
    return Walked(states, h)


def _rnn(lane: Lane) -> Walked:
    """h = f(x·W + h·R + b)."""
    site = lane.site
    new_x, new_r = _inputs(lane, 0, 1), lane.weights(R, 0, 1)
    h = lane.start(STATE)
    states = [0] * lane.steps
    for t in _order(lane):
        total = arithmetic(site, "ADD", new_x[t], _product(site, h, new_r))
        h = states[t] = _function(site, total, lane.functions[0])
    return Walked(states, h)


def _order(lane: Lane) -> range:
    return range(lane.steps - 1, -1, -1) if lane.reverse else range(lane.steps)


def _inputs(lane: Lane, first: int, last: int, *, both: bool = True) -> list[int]:
    """x·W + b for these gates, a tensor [B, n] a step. `both`: with the state's biases, too."""
    site, count = lane.site, (last - first) * lane.hidden
    bias: Array = lane.bias(0, first, last)
    if both:
        bias = (bias + lane.bias(1, first, last)).astype(np.float32)
    y = _product(site, lane.x, lane.weights(W, first, last), site.flat.constant(bias, "bias"))
    made = [site.tensor((lane.batch, count)) for _ in range(lane.steps)]
    site.flat.op("UNPACK", [y], made, ("UnpackOptions", {"num": lane.steps, "axis": lane.axis}),
                 site.name)
    return made


def _product(site: Site, x: int, weights: int, bias: int = -1) -> int:
    """FULLY_CONNECTED of the rows of x."""
    shape = (*site.flat.tensors[x].shape[:-1], site.flat.tensors[weights].shape[0])
    return site.op("FULLY_CONNECTED", [x, weights, bias], shape, (
        "FullyConnectedOptions", {"keep_num_dims": True, "fused_activation_function": 0}))


def _gates(lane: Lane, x: int, h: int, function: Function, count: int) -> list[int]:
    """The gates of one step, each [B, H]."""
    site = lane.site
    both = _function(site, arithmetic(site, "ADD", x, h), function)
    made = [site.tensor((lane.batch, lane.hidden)) for _ in range(count)]
    axis = site.flat.constant(np.asarray(1, np.int32), "axis")
    site.flat.op("SPLIT", [axis, both], made, ("SplitOptions", {"num_splits": count}), site.name)
    return made


def _function(site: Site, x: int, function: Function) -> int:
    return FUNCTIONS[function.name](site, x, function)


def _hard_sigmoid(site: Site, x: int, f: Function) -> int:
    return bounded(site, _affine(site, x, f), 0.0, 1.0)


def _affine(site: Site, x: int, f: Function) -> int:
    y = x if f.alpha == 1.0 else arithmetic(site, "MUL", x, site.number(f.alpha))
    return y if f.beta == 0.0 else arithmetic(site, "ADD", y, site.number(f.beta))


FUNCTIONS: Mapping[str, Callable[[Site, int, Function], int]] = {
    "sigmoid": lambda site, x, _: apply(site, "LOGISTIC", x),
    "tanh": lambda site, x, _: apply(site, "TANH", x),
    "relu": lambda site, x, _: apply(site, "RELU", x),
    "affine": _affine, "hardsigmoid": _hard_sigmoid}
"""The activations inside of cells that are written."""

CELLS: Mapping[str, Callable[[Lane], Walked]] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}
