"""The arithmetic of recurrent cells in NumPy: ONNX's activations and the three cells, forward and
through time. Shapes as in `ops.recurrent`; everything works in the dtype of its inputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_float, get_floats, get_int, get_str, get_strs
from ganglion.ops.base import Array, Attrs

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}


@dataclass(frozen=True)
class Activation:
    """A function and its slope, the latter from the function's value (as it is kept in a trace)."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e), x.dtype)


def _step(y: Array, inside: Array) -> Array:
    return inside.astype(y.dtype)


def activation(name: str, alpha: float, beta: float) -> Activation:
    """The function of this ONNX name. Raises UnsupportedOp for one that is not known."""
    known = {
        "sigmoid": Activation(_sigmoid, lambda y: y * (1 - y)),
        "tanh": Activation(np.tanh, lambda y: 1 - y * y),
        "relu": Activation(lambda x: np.maximum(x, 0), lambda y: _step(y, y > 0)),
        "affine": Activation(lambda x: alpha * x + beta, lambda y: np.full_like(y, alpha)),
        "leakyrelu": Activation(lambda x: np.where(x < 0, alpha * x, x),
                                lambda y: np.where(y < 0, np.asarray(alpha, y.dtype), 1)),
        "hardsigmoid": Activation(lambda x: np.clip(alpha * x + beta, 0, 1),
                                  lambda y: alpha * _step(y, (y > 0) & (y < 1))),
        "elu": Activation(lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
                          lambda y: np.where(y < 0, y + alpha, 1)),
        "softsign": Activation(lambda x: x / (1 + np.abs(x)), lambda y: (1 - np.abs(y)) ** 2),
        "softplus": Activation(lambda x: np.logaddexp(x, np.zeros((), x.dtype)),
                               lambda y: -np.expm1(-y)),
    }
    if name.lower() not in known:
        raise UnsupportedOp(f"recurrent activation {name!r}; use one of {sorted(known)}")
    return known[name.lower()]


ALPHA = {"affine": 1.0, "leakyrelu": 0.01, "hardsigmoid": 0.2, "elu": 1.0}
BETA = {"affine": 0.0, "hardsigmoid": 0.5}


def activations(attrs: Attrs, cell: str) -> list[list[Activation]]:
    """The functions of each direction. Values of activation_alpha and activation_beta go, in
    order, to the functions that have such a parameter."""
    count = 2 if get_str(attrs, "direction", "forward") == "bidirectional" else 1
    each = len(DEFAULTS[cell])
    names = get_strs(attrs, "activations", DEFAULTS[cell] * count)
    if len(names) != count * each:
        raise ModelError(f"activations {names} must name {each} functions a direction, "
                         f"{count * each} in all")
    alphas = iter(get_floats(attrs, "activation_alpha", []))
    betas = iter(get_floats(attrs, "activation_beta", []))
    made = []
    for name in names:
        key = name.lower()
        alpha = next(alphas, ALPHA[key]) if key in ALPHA else 0.0
        beta = next(betas, BETA[key]) if key in BETA else 0.0
        made.append(activation(name, alpha, beta))
    return [made[k * each:(k + 1) * each] for k in range(count)]


def check(attrs: Attrs, sequence_lens: Array | None, peephole: Array | None = None) -> None:
    """Raises UnsupportedOp for what ONNX allows and the kernels do not have."""
    for found, name in ((sequence_lens is not None, "sequence_lens"), (peephole is not None, "P"),
                        (get_float(attrs, "clip", 0.0) > 0, "clip"),
                        (get_int(attrs, "input_forget", 0) != 0, "input_forget"),
                        (get_int(attrs, "layout", 0) != 0, "layout 1")):
        if found:
            raise UnsupportedOp(f"recurrent layer with {name}; sequences must have full length, "
                                "layout 0, no peepholes, no clipping, no coupled gates")


def backwards(attrs: Attrs) -> list[bool]:
    """Whether each direction walks from the last step to the first."""
    direction = get_str(attrs, "direction", "forward")
    known = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    if direction not in known:
        raise ModelError(f"direction {direction!r} is not one of {sorted(known)}")
    return known[direction]


def walk(steps: int, reverse: bool) -> Iterator[int]:
    """The steps in the order in which a direction meets them."""
    return iter(range(steps - 1, -1, -1) if reverse else range(steps))


@dataclass(frozen=True)
class Direction:
    """One direction's weights: w [G·H, I], r [G·H, H], wb and rb [G·H], h0 and c0 [batch, H]."""

    w: Array
    r: Array
    wb: Array
    rb: Array
    h0: Array
    c0: Array
    functions: Sequence[Activation]
    reverse: bool
    linear: bool


def directions(attrs: Attrs, cell: str, x: Array, w: Array, r: Array, b: Array | None,
               h0: Array | None, c0: Array | None) -> list[Direction]:
    """The weights direction by direction, with zeros for what is absent."""
    count, wide, hidden = r.shape
    batch = x.shape[1]
    bias = np.zeros((count, 2 * wide), x.dtype) if b is None else b
    start = np.zeros((count, batch, hidden), x.dtype)
    h0, c0 = (start if h0 is None else h0), (start if c0 is None else c0)
    functions, reverse = activations(attrs, cell), backwards(attrs)
    if get_int(attrs, "hidden_size", hidden) != hidden:
        raise ModelError(f"hidden_size {get_int(attrs, 'hidden_size', hidden)} does not fit "
                         f"weights R of shape {list(r.shape)}")
    if len(reverse) != count or wide != GATES[cell] * hidden:
        raise ModelError(f"weights R of shape {list(r.shape)} do not fit direction "
                         f"{get_str(attrs, 'direction', 'forward')!r} of a cell with "
                         f"{GATES[cell]} gates")
    linear = bool(get_int(attrs, "linear_before_reset", 0))
    return [Direction(w[d], r[d], bias[d, :wide], bias[d, wide:], h0[d], c0[d], functions[d],
                      reverse[d], linear) for d in range(count)]


@dataclass(frozen=True)
class Trace:
    """What a direction leaves behind: h, cells, hidden_part [steps, batch, H], gates
    [steps, batch, G·H] after activation; index = the step of x, in either direction."""

    h: Array
    gates: Array
    cells: Array
    hidden_part: Array


def forward(cell: str, x: Array, d: Direction) -> Trace:
    """One direction over x: [steps, batch, I]."""
    steps, batch = x.shape[:2]
    hidden = d.r.shape[1]
    trace = Trace(*(np.zeros((steps, batch, n * hidden), x.dtype)
                    for n in (1, GATES[cell], 1, 1)))
    h, c = d.h0, d.c0
    for t in walk(steps, d.reverse):
        given = x[t] @ d.w.T + d.wb
        if cell == "lstm":
            h, c = _lstm_step(d, given, h, c, trace, t)
        elif cell == "gru":
            h = _gru_step(d, given, h, trace, t)
        else:
            h = d.functions[0].value(given + h @ d.r.T + d.rb)
            trace.gates[t] = h
        trace.h[t] = h
    return trace


def _lstm_step(d: Direction, given: Array, h: Array, c: Array, trace: Trace, t: int
               ) -> tuple[Array, Array]:
    f, g, out = d.functions
    i, o, forget, new = np.split(given + h @ d.r.T + d.rb, 4, axis=-1)
    i, o, forget, new = f.value(i), f.value(o), f.value(forget), g.value(new)
    c = forget * c + i * new
    trace.gates[t] = np.concatenate([i, o, forget, new], axis=-1)
    trace.cells[t] = c
    return np.asarray(o * out.value(c)), c


def _gru_step(d: Direction, given: Array, h: Array, trace: Trace, t: int) -> Array:
    f, g = d.functions
    size = h.shape[-1]
    both = f.value(given[:, :2 * size] + h @ d.r[:2 * size].T + d.rb[:2 * size])
    z, reset = both[:, :size], both[:, size:]
    part = (h if d.linear else reset * h) @ d.r[2 * size:].T + d.rb[2 * size:]
    new = g.value(given[:, 2 * size:] + (reset * part if d.linear else part))
    trace.gates[t] = np.concatenate([z, reset, new], axis=-1)
    trace.hidden_part[t] = part
    return np.asarray((1 - z) * new + z * h)


@dataclass(frozen=True)
class Gradients:
    """Gradients of one direction, shaped as what they belong to."""

    dx: Array
    dw: Array
    dr: Array
    db: Array
    dh0: Array
    dc0: Array


def backward(cell: str, x: Array, d: Direction, trace: Trace, dy: Array, dh: Array, dc: Array
             ) -> Gradients:
    """Through time: dy [steps, batch, H], dh and dc [batch, H] of the last h and c."""
    dx, dw, dr = np.zeros_like(x), np.zeros_like(d.w), np.zeros_like(d.r)
    dwb, drb = np.zeros_like(d.wb), np.zeros_like(d.rb)
    order = list(walk(len(x), d.reverse))
    for k in range(len(order) - 1, -1, -1):
        t = order[k]
        h = trace.h[order[k - 1]] if k else d.h0
        c = trace.cells[order[k - 1]] if k else d.c0
        dh = dh + dy[t]
        if cell == "lstm":
            da, dc = _lstm_back(d, trace, t, c, dh, dc)
            dhidden, carried = da, np.zeros_like(dh)
        elif cell == "gru":
            da, dhidden, carried = _gru_back(d, trace, t, h, dh)
        else:
            da = dh * d.functions[0].slope(trace.gates[t])
            dhidden, carried = da, np.zeros_like(dh)
        dx[t] = da @ d.w
        dw += da.T @ x[t]
        dwb += da.sum(axis=0)
        drb += dhidden.sum(axis=0)
        dh = _hidden_back(cell, d, trace, t, h, dhidden, dr) + carried
    return Gradients(dx, dw, dr, np.concatenate([dwb, drb]), dh, dc)


def _lstm_back(d: Direction, trace: Trace, t: int, c: Array, dh: Array, dc: Array
               ) -> tuple[Array, Array]:
    """Gradient of the gates' sums, and of the cell before this step."""
    f, g, out = d.functions
    i, o, forget, new = np.split(trace.gates[t], 4, axis=-1)
    squashed = out.value(trace.cells[t])
    dc = dc + dh * o * out.slope(squashed)
    da = np.concatenate([dc * new * f.slope(i), dh * squashed * f.slope(o),
                         dc * c * f.slope(forget), dc * i * g.slope(new)], axis=-1)
    return da, dc * forget


def _gru_back(d: Direction, trace: Trace, t: int, h: Array, dh: Array
              ) -> tuple[Array, Array, Array]:
    """Gradient of the input side's sums, of the hidden side's, and dh carried past the gates."""
    f, g = d.functions
    size = h.shape[-1]
    z, reset, new = np.split(trace.gates[t], 3, axis=-1)
    dnew = dh * (1 - z) * g.slope(new)
    carried = dh * z
    if d.linear:
        dpart = dnew * reset
        dreset = dnew * trace.hidden_part[t]
    else:
        dpart = dnew
        dgated = dnew @ d.r[2 * size:]
        dreset = dgated * h
        carried = carried + dgated * reset
    gates = [dh * (h - new) * f.slope(z), dreset * f.slope(reset)]
    return (np.concatenate([*gates, dnew], axis=-1), np.concatenate([*gates, dpart], axis=-1),
            carried)


def _hidden_back(cell: str, d: Direction, trace: Trace, t: int, h: Array, dhidden: Array,
                 dr: Array) -> Array:
    """Adds this step's part to dr and gives the gradient of h through R."""
    if cell != "gru" or d.linear:
        dr += dhidden.T @ h
        return np.asarray(dhidden @ d.r)
    size = h.shape[-1]
    reset = trace.gates[t][:, size:2 * size]
    dr[:2 * size] += dhidden[:, :2 * size].T @ h
    dr[2 * size:] += dhidden[:, 2 * size:].T @ (reset * h)
    return np.asarray(dhidden[:, :2 * size] @ d.r[:2 * size])
