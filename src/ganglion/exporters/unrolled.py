"""ONNX GRU and RNN as plain operators, step by step.

TensorFlow Lite has no GRU. The input's part of all steps is one FULLY_CONNECTED; a step is a
FULLY_CONNECTED of the state and element-wise operators. The file grows by about 1.5 kB a step of
a GRU, beside the weights, which all steps share, and keeps no state between calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.exporters.recurrent import full_lengths, put, weights
from ganglion.exporters.site import Array, Rule, Site
from ganglion.ops.attr import get_strs
from ganglion.ops.cells import DEFAULTS, backwards

FUNCTIONS = {"sigmoid": "LOGISTIC", "tanh": "TANH", "relu": "RELU"}
FLOAT = np.dtype(np.float32)


@dataclass(frozen=True)
class Way:
    """One direction: the functions' operators, tensors of the hidden state's weights and biases,
    and for each step (in the order of x) the inputs' parts [B, rows]."""

    functions: list[str]
    r: list[int]
    rb: list[int]
    inputs: list[list[int]]


def gru(site: Site) -> None:
    """A GRU of either kind (linear_before_reset or not), of any direction and first state."""
    _write(site, "gru")


def rnn(site: Site) -> None:
    """A simple recurrent layer of any direction and first state."""
    _write(site, "rnn")


def _write(site: Site, cell: str) -> None:
    full_lengths(site)
    ways = backwards(site.attrs)
    names = [n.lower() for n in get_strs(site.attrs, "activations", DEFAULTS[cell] * len(ways))]
    if any(n not in FUNCTIONS for n in names) or site.real("clip", 0.0):
        raise site.unsupported(f"only the activations {', '.join(FUNCTIONS)} without clipping are "
                               "written")
    each = len(DEFAULTS[cell])
    steps, batch, width = site.shape(0)
    x = site.reshaped(site.read(0, (0, 1, 2)), (steps * batch, width))
    found = []
    for k, reverse in enumerate(ways):
        functions = [FUNCTIONS[n] for n in names[k * each:(k + 1) * each]]
        way = _way(site, cell, k, x, functions)
        h = _start(site, k, len(ways))
        states = [h] * steps
        for t in range(steps)[::-1 if reverse else 1]:
            h = states[t] = _gru_step(site, way, t, h) if cell == "gru" else _rnn_step(
                site, way, t, h)
        shape = site.flat.tensors[h].shape
        y = site.op("PACK", states, (steps, *shape), ("PackOptions", {"values_count": steps,
                                                                    "axis": 0}))
        found.append((y, site.reshaped(h, (1, *shape))))
    put(site, found, True)


def _way(site: Site, cell: str, k: int, x: int, functions: list[str]) -> Way:
    """Constants of direction k, and its products with x [steps · batch, inputs]."""
    w, r = weights(site, 1)[k], weights(site, 2)[k]
    hidden = r.shape[-1]
    given = site.constant(3)
    b = np.zeros(2 * len(r), np.float32) if given is None else given[k].astype(np.float32)
    wb, rb = np.split(b, 2)
    groups = [slice(0, 2 * hidden), slice(2 * hidden, 3 * hidden)] if cell == "gru" else [
        slice(0, len(r))]
    inputs = [_apart(site, dense(site, x, site.flat.constant(w[rows], _name(site)),
                                 site.flat.constant(wb[rows], _name(site))))
              for rows in groups]
    return Way(functions, [site.flat.constant(r[rows], _name(site)) for rows in groups],
               [site.flat.constant(rb[rows], _name(site)) for rows in groups], inputs)


def _name(site: Site) -> str:
    return site.values.fresh(f"{site.name}/weights")


def _apart(site: Site, tensor: int) -> list[int]:
    """[steps · batch, n] as steps tensors [batch, n]."""
    steps, batch = site.shape(0)[:2]
    n = site.flat.tensors[tensor].shape[-1]
    if steps == 1:
        return [tensor]
    joined = site.reshaped(tensor, (steps, batch, n))
    made = [site.tensor((batch, n)) for _ in range(steps)]
    site.flat.op("UNPACK", [joined], made, ("UnpackOptions", {"num": steps, "axis": 0}), site.name)
    return made


def _start(site: Site, k: int, count: int) -> int:
    """The first state of direction k, [batch, hidden]."""
    batch, hidden = site.shape(0)[1], site.shape(2)[-1]
    if not site.has(5) or count == 1:
        return (site.reshaped(site.read(5, (0, 1, 2)), (batch, hidden)) if site.has(5)
                else zeros(site, (batch, hidden)))
    whole = site.read(5, (0, 1, 2))
    cut = site.op("STRIDED_SLICE", [whole, site.flat.ints(k, 0, 0),
                                    site.flat.ints(k + 1, batch, hidden), site.flat.ints(1, 1, 1)],
                  (1, batch, hidden), ("StridedSliceOptions", {}), like=whole)
    return site.reshaped(cut, (batch, hidden))


def zeros(site: Site, shape: tuple[int, ...]) -> int:
    """A constant of zeros."""
    array: Array = np.zeros(shape, np.float32)
    return site.flat.constant(array, _name(site))


def dense(site: Site, x: int, w: int, b: int) -> int:
    """x [rows, k] with w [n, k] and b [n]."""
    rows, n = site.flat.tensors[x].shape[0], site.flat.tensors[w].shape[0]
    return site.op("FULLY_CONNECTED", [x, w, b], (rows, n), ("FullyConnectedOptions", {}))


def _both(site: Site, name: str, a: int, b: int) -> int:
    options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[name]
    return site.op(name, [a, b], site.flat.tensors[a].shape, (options, {}))


def _function(site: Site, name: str, x: int) -> int:
    return site.op(name, [x], site.flat.tensors[x].shape)


def _rnn_step(site: Site, way: Way, t: int, h: int) -> int:
    inner = _both(site, "ADD", way.inputs[0][t], dense(site, h, way.r[0], way.rb[0]))
    return _function(site, way.functions[0], inner)


def _gru_step(site: Site, way: Way, t: int, h: int) -> int:
    """h' = new + z · (h − new), which is (1 − z) · new + z · h."""
    shape = site.flat.tensors[h].shape
    inner = _both(site, "ADD", way.inputs[0][t], dense(site, h, way.r[0], way.rb[0]))
    gates = _function(site, way.functions[0], inner)
    z, reset = site.tensor(shape), site.tensor(shape)
    site.flat.op("SPLIT", [site.flat.ints(1), gates], [z, reset],
                 ("SplitOptions", {"num_splits": 2}), site.name)
    if site.whole("linear_before_reset", 0):
        part = _both(site, "MUL", reset, dense(site, h, way.r[1], way.rb[1]))
    else:
        part = dense(site, _both(site, "MUL", reset, h), way.r[1], way.rb[1])
    new = _function(site, way.functions[1], _both(site, "ADD", way.inputs[1][t], part))
    return _both(site, "ADD", new, _both(site, "MUL", z, _both(site, "SUB", h, new)))


ROWS: Mapping[str, Rule] = {"GRU": gru, "RNN": rnn}
