"""LSTM, GRU and simple recurrent layers, as one node each, and their gradients through time.

Shapes (layout 0; D = 2 when bidirectional, G gates = 4, 3, 1, H hidden, I inputs):
x [steps, batch, I], w [D, G·H, I], r [D, G·H, H], b [D, 2·G·H], h0 and c0 [D, batch, H],
y [steps, D, batch, H], h and c [D, batch, H].

Operators of ai.ganglion, all attributes as the ONNX operator's:

LSTMTrace(X, W, R, B, sequence_lens, initial_h, initial_c, P) -> Y, Y_h, Y_c, gates, cells
GRUTrace(X, W, R, B, sequence_lens, initial_h) -> Y, Y_h, gates[, hidden_part]
RNNTrace(X, W, R, B, sequence_lens, initial_h) -> Y, Y_h, gates
LSTMGrad(x, w, r, b, h0, c0, y, gates, cells, dy, dh, dc) -> dx, dw, dr, db, dh0, dc0
GRUGrad(x, w, r, b, h0, y, gates, hidden_part, dy, dh) -> dx, dw, dr, db, dh0
RNNGrad(x, w, r, b, h0, y, gates, dy, dh) -> dx, dw, dr, db, dh0

gates [D, steps, batch, G·H] are the values after activation, cells [D, steps, batch, H] the cell
states, hidden_part [D, steps, batch, H] is R_h·h + Rb_h (only with linear_before_reset, otherwise
neither an output of GRUTrace nor an input of GRUGrad: absent). Index t of a trace belongs to x[t]
in either direction. b, h0, c0, dy, dh and dc may be absent (zeros); every gradient is always
given, db as [D, 2·G·H] even without b.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.attr import get_int
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs, Dims, Infer, Kernel, Op, Reference, Vjp
from ganglion.ops.building import Builder
from ganglion.ops.cells import Trace, backward, check, directions, forward
from ganglion.ops.gradients import optional
from ganglion.ops.values import attributes

Types = list[tuple[ir.DataType, Dims]]


def _traces(attrs: Attrs, cell: str, x: Array, w: Array, r: Array, b: Array | None,
            h0: Array | None, c0: Array | None) -> list[Trace]:
    return [forward(cell, x, d) for d in directions(attrs, cell, x, w, r, b, h0, c0)]


def _last(attrs: Attrs, parts: Sequence[Array]) -> Array:
    """[D, batch, H]: what each direction ends with."""
    reverse = attrs.get("direction", "forward") == "reverse"
    return np.stack([p[0 if k == 1 or reverse else -1] for k, p in enumerate(parts)])


def _outputs(attrs: Attrs, cell: str, traces: Sequence[Trace]) -> tuple[Array, ...]:
    """All outputs of the Trace operator, in its order."""
    y = np.stack([t.h for t in traces], axis=1)
    found = [y, _last(attrs, [t.h for t in traces])]
    if cell == "lstm":
        found.append(_last(attrs, [t.cells for t in traces]))
    found.append(np.stack([t.gates for t in traces]))
    if cell == "lstm":
        found.append(np.stack([t.cells for t in traces]))
    if cell == "gru" and get_int(attrs, "linear_before_reset", 0):
        found.append(np.stack([t.hidden_part for t in traces]))
    return tuple(found)


def _reference(cell: str, trace: bool) -> Reference:
    """The layer itself, or with `trace` its Trace operator."""
    def reference(attrs: Attrs, x: Array, w: Array, r: Array, b: Array | None = None,
                  lens: Array | None = None, h0: Array | None = None, c0: Array | None = None,
                  peephole: Array | None = None) -> tuple[Array, ...]:
        check(attrs, lens, peephole)
        found = _outputs(attrs, cell, _traces(attrs, cell, x, w, r, b, h0, c0))
        return found if trace else found[:3 if cell == "lstm" else 2]
    return reference


def _gradients(attrs: Attrs, cell: str, weights: Sequence[Array | None],
               traces: Sequence[Array | None], dys: Sequence[Array | None]) -> tuple[Array, ...]:
    """`weights`: x, w, r, b, h0, c0; `traces`: y, gates, cells, hidden_part; `dys`: dy, dh, dc."""
    x, w, r, b, h0, c0 = weights
    y, gates, cells, part = traces
    if x is None or w is None or r is None or y is None or gates is None:
        raise ModelError("x, w, r, y and gates must be there")
    nothing = np.zeros((len(r), *y.shape[:1], *y.shape[2:]), x.dtype)
    dy = np.zeros_like(y) if dys[0] is None else dys[0]
    dh, dc = (nothing[:, 0] if v is None else v for v in dys[1:])
    found = []
    for k, d in enumerate(directions(attrs, cell, x, w, r, b, h0, c0)):
        trace = Trace(y[:, k], gates[k], (nothing if cells is None else cells)[k],
                      (nothing if part is None else part)[k])
        found.append(backward(cell, x, d, trace, dy[:, k], dh[k], dc[k]))
    dx = np.asarray(sum(g.dx for g in found))
    rest = [np.stack([getattr(g, name) for g in found])
            for name in ("dw", "dr", "db", "dh0", "dc0")]
    return (dx, *rest) if cell == "lstm" else (dx, *rest[:-1])


def _lstm_grad(attrs: Attrs, x: Array, w: Array, r: Array, b: Array | None, h0: Array | None,
               c0: Array | None, y: Array, gates: Array, cells: Array, dy: Array | None = None,
               dh: Array | None = None, dc: Array | None = None) -> tuple[Array, ...]:
    return _gradients(attrs, "lstm", [x, w, r, b, h0, c0], [y, gates, cells, None], [dy, dh, dc])


def _gru_grad(attrs: Attrs, x: Array, w: Array, r: Array, b: Array | None, h0: Array | None,
              y: Array, gates: Array, part: Array | None = None, dy: Array | None = None,
              dh: Array | None = None) -> tuple[Array, ...]:
    return _gradients(attrs, "gru", [x, w, r, b, h0, None], [y, gates, None, part],
                      [dy, dh, None])


def _rnn_grad(attrs: Attrs, x: Array, w: Array, r: Array, b: Array | None, h0: Array | None,
              y: Array, gates: Array, dy: Array | None = None, dh: Array | None = None
              ) -> tuple[Array, ...]:
    return _gradients(attrs, "rnn", [x, w, r, b, h0, None], [y, gates, None, None],
                      [dy, dh, None])


def _sizes(inputs: Sequence[ir.Value | None]) -> tuple[ir.DataType, Dims, Dims, Dims]:
    x, w, r = inputs[:3]
    if (x is None or w is None or r is None or x.dtype is None or x.shape is None
            or w.shape is None or r.shape is None):
        raise ModelError("a recurrent operator needs x, w and r with known shapes")
    return x.dtype, tuple(x.shape), tuple(w.shape), tuple(r.shape)


def _trace_types(cell: str) -> Infer:
    def infer(attrs: Attrs, inputs: Sequence[ir.Value | None]) -> Types:
        dtype, (steps, batch, _), _, (count, wide, hidden) = _sizes(inputs)
        last = (count, batch, hidden)
        per_step = (count, steps, batch, hidden)
        found: Types = [(dtype, (steps, count, batch, hidden)), (dtype, last)]
        found += [(dtype, last)] if cell == "lstm" else []
        found.append((dtype, (count, steps, batch, wide)))
        if cell == "lstm" or (cell == "gru" and get_int(attrs, "linear_before_reset", 0)):
            found.append((dtype, per_step))
        return found
    return infer


def _grad_types(cell: str) -> Infer:
    def infer(attrs: Attrs, inputs: Sequence[ir.Value | None]) -> Types:
        dtype, x, w, r = _sizes(inputs)
        wide = r[1]
        if not isinstance(wide, int):
            raise ModelError("the weights of a recurrent operator must have static shapes")
        state = (r[0], x[1], r[2])
        found: Types = [(dtype, x), (dtype, w), (dtype, r), (dtype, (r[0], 2 * wide)),
                        (dtype, state)]
        return [*found, (dtype, state)] if cell == "lstm" else found
    return infer


def _vjp(cell: str) -> Vjp:
    """The node's Trace operator takes its place, so that the forward pass runs once."""
    name = cell.upper()

    def vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
            ) -> list[ir.Value | None]:
        if all(dy is None for dy in dys):
            return [None] * len(node.inputs)
        attrs = attributes(node)
        linear = cell == "gru" and bool(get_int(attrs, "linear_before_reset", 0))
        states = 3 if cell == "lstm" else 2
        outputs = states + (2 if cell == "lstm" or linear else 1)
        traced = g.take_over(node, f"{name}Trace", outputs, GANGLION_DOMAIN)
        x, w, r, b = (optional(node, k) for k in range(4))
        h0, c0 = optional(node, 5), optional(node, 6)
        given = [x, w, r, b, h0, *([c0] if cell == "lstm" else []), traced.outputs[0],
                 *traced.outputs[states:]]
        if cell == "gru" and not linear:
            given.append(None)
        wanted = [*dys, *[None] * (states - len(dys))]
        count = 6 if cell == "lstm" else 5
        grads = g.ops(f"{name}Grad", *given, *wanted, outputs=count, domain=GANGLION_DOMAIN,
                      attrs=attrs)
        dx, dw, dr, db, dh0 = grads[:5]
        found: list[ir.Value | None] = [dx, dw, dr, db, None, dh0, *grads[5:], None]
        return [None if v is None else d for v, d in zip(node.inputs, found)]
    return vjp


READS = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
         "layout")
"""Attributes of every cell; `cells.check` refuses what the kernels do not have."""
CELL_READS = {"lstm": (*READS, "input_forget"), "gru": (*READS, "linear_before_reset"),
              "rnn": READS}


def _rows(cell: str, grad: Reference) -> tuple[Op, Op, Op]:
    name, reads = cell.upper(), CELL_READS[cell]
    return (
        Op(name, source=f"ONNX {name}-14", reads=reads, lower=Kernel("recurrent", cell),
           vjp=_vjp(cell), weights=(1, 2), added=(3,), learned=(1, 2, 3),
           states=(5, 6) if cell == "lstm" else (5,),
           reference=_reference(cell, trace=False)),
        Op(f"{name}Trace", source=f"ONNX {name}-14, and what its gradient needs",
           domain=GANGLION_DOMAIN, reads=reads, lower=Kernel("recurrent", cell),
           reference=_reference(cell, trace=True), infer=_trace_types(cell)),
        Op(f"{name}Grad", source=f"gradient of {name} through time; orders in ops/recurrent.py",
           domain=GANGLION_DOMAIN, reads=reads, lower=Kernel("recurrent_grad", cell),
           reference=grad, infer=_grad_types(cell)))


ROWS = (*_rows("lstm", _lstm_grad), *_rows("gru", _gru_grad), *_rows("rnn", _rnn_grad))
