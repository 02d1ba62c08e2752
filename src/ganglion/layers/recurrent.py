"""SimpleRNN, LSTM, GRU and Bidirectional: one ONNX node each.

Keras keeps `[inputs, gates * units]` with the gates i, f, c, o (LSTM) or z, r, h (GRU); ONNX keeps
`[directions, gates * units, inputs]` with i, o, f, c or z, r, h, and two biases. The weights are
laid out once, when they are drawn or read. A bias that Keras does not have is a constant zero,
joined in the graph, so that training sees the parameters that Keras has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.layers.base import (
    Array,
    Emitter,
    InitSpec,
    Layer,
    RegSpec,
    Tensor,
    describe,
    is_float,
    rank,
    static,
)
from ganglion.layers.initializers import Initializer, get
from ganglion.ops.marks import UNTRAINABLE

_FUNCTIONS: Mapping[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "sigmoid": ("Sigmoid", (), ()), "tanh": ("Tanh", (), ()), "relu": ("Relu", (), ()),
    "linear": ("Affine", (1.0,), (0.0,)), "hard_sigmoid": ("HardSigmoid", (1 / 6,), (0.5,)),
    "elu": ("Elu", (1.0,), ()), "leaky_relu": ("LeakyRelu", (0.2,), ()),
    "softsign": ("Softsign", (), ()), "softplus": ("Softplus", (), ()),
}
"""Keras's name to ONNX's, with the alphas and betas it takes."""


@dataclass(frozen=True)
class _ForgetBias(Initializer):
    """Ones for the forget gate (the second of four), else `base` (Jozefowicz 2015)."""

    base: Initializer

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        bias = self.base.draw(shape, rng)
        units = shape[-1] // 4
        bias[..., units:2 * units] = 1.0
        return bias


@dataclass(frozen=True, eq=False)
class _Recurrent(Layer):
    """What the three cells share. Input `[N, T, C]`, output `[N, units]` or `[N, T, units]`."""

    gates: ClassVar[tuple[int, ...]] = (0,)
    states: ClassVar[int] = 1

    units: int
    activation: str | None = "tanh"
    _: KW_ONLY
    use_bias: bool = True
    kernel_initializer: InitSpec = "glorot_uniform"
    recurrent_initializer: InitSpec = "orthogonal"
    bias_initializer: InitSpec = "zeros"
    kernel_regularizer: RegSpec = None
    recurrent_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False

    def __call__(self, sequences: Tensor,
                 initial_state: Sequence[Tensor] | Tensor | None = None
                 ) -> Tensor | tuple[Tensor, ...]:
        if initial_state is None:
            initial_state = []
        elif isinstance(initial_state, Tensor):
            initial_state = [initial_state]
        made = self.call([sequences, *initial_state])
        return made if len(made) > 1 else made[0]

    def check(self) -> None:
        self.positive(units=self.units)
        for name in self.functions():
            if (name or "linear") not in _FUNCTIONS:
                raise self.error(f"activation {name!r} does not exist inside a recurrent cell; "
                                 f"known: {', '.join(sorted(_FUNCTIONS))}")
        if not 0 <= self.dropout <= 1 or not 0 <= self.recurrent_dropout <= 1:
            raise self.error("dropout and recurrent_dropout must be between 0 and 1, found "
                             f"{self.dropout} and {self.recurrent_dropout}")

    def functions(self) -> tuple[str | None, ...]:
        """Activations in the order that ONNX names them."""
        return (self.activation,)

    def outputs(self) -> int:
        return 1 + self.states * self.return_state

    def attributes(self) -> dict[str, int]:
        """Further attributes of the ONNX node."""
        return {}

    def bias_parts(self) -> int:
        """How many of ONNX's two biases Keras trains."""
        return 1

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        direction = "reverse" if self.go_backwards else "forward"
        x, initial = _enter(e, xs, self.states)
        y, *last = run_cells(e, [(self, e.sub("cell"))], x, initial, direction)
        last = [e.op("Squeeze", h, e.ints(0)) for h in last]
        if not self.return_sequences:
            made = [last[0]]
        else:
            y = e.op("Transpose", e.op("Squeeze", y, e.ints(1)), perm=[1, 0, 2])
            if self.go_backwards:
                # Keras gives the steps in the order in which it took them.
                shape = y.shape
                y = e.op("Slice", y, e.ints(-1), e.ints(-(1 << 31)), e.ints(1), e.ints(-1))
                y.shape = shape
            made = [y]
        return [*made, *last] if self.return_state else made

    def laid_out(self, w: Array) -> Array:
        """`[inputs, G * units]` to `[1, G * units, inputs]` with ONNX's order of gates."""
        parts = np.split(w, len(self.gates), axis=-1)
        return np.concatenate([parts[i] for i in self.gates], axis=-1).T[None]

    def cell_weights(self, e: Emitter, inputs: int) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        """ONNX's W `[1, G*u, in]`, R `[1, G*u, u]` and B `[1, 2*G*u]`."""
        width = len(self.gates) * self.units
        w = e.weight("kernel", (inputs, width), self.kernel_initializer,
                     regularizer=self.kernel_regularizer, layout=self.laid_out)
        r = e.weight("recurrent_kernel", (self.units, width), self.recurrent_initializer,
                     regularizer=self.recurrent_regularizer, layout=self.laid_out)
        if not self.use_bias:
            return w, r, None
        both = self.bias_parts() == 2

        def layout(b: Array) -> Array:
            return np.concatenate([self.laid_out(row[None])[..., 0]
                                   for row in np.atleast_2d(b)], axis=-1)

        b = e.weight("bias", (2, width) if both else (width,), self.bias_start(),
                     regularizer=self.bias_regularizer, layout=layout)
        if not both:
            b = e.op("Concat", b, e.constant(np.zeros((1, width), np.float32), "zeros"), axis=1)
        return w, r, b

    def bias_start(self) -> InitSpec:
        return self.bias_initializer


@dataclass(frozen=True, eq=False)
class SimpleRNN(_Recurrent):
    """`h = activation(x @ kernel + h @ recurrent_kernel + bias)`."""


@dataclass(frozen=True, eq=False)
class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter 1997); states h and c."""

    gates: ClassVar[tuple[int, ...]] = (0, 3, 1, 2)
    states: ClassVar[int] = 2

    _: KW_ONLY
    recurrent_activation: str | None = "sigmoid"
    unit_forget_bias: bool = True

    def functions(self) -> tuple[str | None, ...]:
        return (self.recurrent_activation, self.activation, self.activation)

    def bias_start(self) -> InitSpec:
        if self.unit_forget_bias:
            return _ForgetBias(get(self.bias_initializer))
        return self.bias_initializer


@dataclass(frozen=True, eq=False)
class GRU(_Recurrent):
    """Gated recurrent unit (Cho 2014). reset_after: the reset gate follows the product."""

    gates: ClassVar[tuple[int, ...]] = (0, 1, 2)

    _: KW_ONLY
    recurrent_activation: str | None = "sigmoid"
    reset_after: bool = True

    def functions(self) -> tuple[str | None, ...]:
        return (self.recurrent_activation, self.activation)

    def attributes(self) -> dict[str, int]:
        return {"linear_before_reset": int(self.reset_after)}

    def bias_parts(self) -> int:
        return 2 if self.reset_after else 1


@dataclass(frozen=True, eq=False)
class Bidirectional(Layer):
    """A recurrent layer over the sequence and over its reverse.

    merge_mode: "concat", "sum", "mul", "ave", or None for two outputs.
    backward_layer: by default like `layer`, with weights of its own.
    """

    layer: _Recurrent
    merge_mode: str | None = "concat"
    backward_layer: _Recurrent | None = field(default=None, kw_only=True)

    def __call__(self, sequences: Tensor, initial_state: Sequence[Tensor] | None = None
                 ) -> Tensor | tuple[Tensor, ...]:
        made = self.call([sequences, *(initial_state or [])])
        return made if len(made) > 1 else made[0]

    def check(self) -> None:
        self.one_of("merge_mode", self.merge_mode, ("concat", "sum", "mul", "ave", None))
        if not isinstance(self.layer, _Recurrent):
            raise self.error("expects SimpleRNN, LSTM or GRU, found "
                             f"{type(self.layer).__name__}")
        backward = self.backward()
        for name in ("units", "use_bias", "return_sequences", "return_state", "dropout"):
            if getattr(self.layer, name) != getattr(backward, name):
                raise self.error(f"both directions need the same {name}, found "
                                 f"{getattr(self.layer, name)} and {getattr(backward, name)}")
        if (type(backward) is not type(self.layer)
                or backward.attributes() != self.layer.attributes()):
            raise self.error("both directions need the same kind of cell, found "
                             f"{type(self.layer).__name__} and {type(backward).__name__}")
        if self.layer.go_backwards or (self.backward_layer is not None
                                       and not self.backward_layer.go_backwards):
            raise self.error("the first layer must run forward and the second backward "
                             "(go_backwards=True); swap them")

    def backward(self) -> _Recurrent:
        """The layer that gives the second direction its arguments."""
        return self.backward_layer or self.layer

    def outputs(self) -> int:
        return (1 + (self.merge_mode is None)
                + 2 * self.layer.states * self.layer.return_state)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        x, initial = _enter(e, xs, 2 * self.layer.states)
        n = self.layer.states
        if initial:
            initial = [e.op("Concat", initial[i], initial[n + i], axis=0) for i in range(n)]
        cells = [(self.layer, e.sub("forward_layer", "cell", label="forward_layer",
                                    layer=self.layer)),
                 (self.backward(), e.sub("backward_layer", "cell", label="backward_layer",
                                         layer=self.backward()))]
        y, *last = run_cells(e, cells, x, initial, "bidirectional")
        made = self._merged(e, y, last[0])
        if self.layer.return_state:
            made += [_pick(e, h, d, 0) for d in range(2) for h in last]
        return made

    def _merged(self, e: Emitter, y: ir.Value, h: ir.Value) -> list[ir.Value]:
        """Both directions joined; y is `[T, 2, N, u]`, h `[2, N, u]`."""
        sequences = self.layer.return_sequences
        if self.merge_mode == "concat":
            z = e.op("Transpose", y if sequences else h,
                     perm=[2, 0, 1, 3] if sequences else [1, 0, 2])
            keep = (0, 0) if sequences else (0,)
            return [e.op("Reshape", z, e.ints(*keep, 2 * self.layer.units))]
        if sequences:
            a, b = (e.op("Transpose", _pick(e, y, d, 1), perm=[1, 0, 2]) for d in range(2))
        else:
            a, b = (_pick(e, h, d, 0) for d in range(2))
        if self.merge_mode is None:
            return [a, b]
        if self.merge_mode == "mul":
            return [e.op("Mul", a, b)]
        total = e.op("Add", a, b)
        return [e.op("Mul", total, e.floats(0.5)) if self.merge_mode == "ave" else total]


def run_cells(e: Emitter, cells: Sequence[tuple[_Recurrent, Emitter]], x: ir.Value,
              initial: Sequence[ir.Value], direction: str) -> Sequence[ir.Value]:
    """One ONNX node for one cell or two. x `[T, N, C]`, initial states `[D, N, u]` each.

    Gives Y `[T, D, N, u]`, Y_h `[D, N, u]` and, for an LSTM, Y_c `[D, N, u]`.
    """
    first = cells[0][0]
    inputs = static(e, x, -1, "the kernel has one row for each feature")
    columns = zip(*(cell.cell_weights(part, inputs) for cell, part in cells))
    w, r, b = (_stack(e, [v for v in column if v is not None]) for column in columns)
    if first.dropout:
        x = e.op("Dropout", x, e.floats(first.dropout))
    op = "RNN" if isinstance(first, SimpleRNN) else type(first).__name__
    made = e.ops(op, x, w, r, b, None, *initial, outputs=1 + first.states,
                 hidden_size=first.units, direction=direction, **first.attributes(),
                 **_activations([f for cell, _ in cells for f in cell.functions()]))
    node = made[0].producer()
    rates = [cell.recurrent_dropout for cell, _ in cells]
    if node is not None and any(rates):
        node.metadata_props[UNTRAINABLE] = (
            f"{describe(e.layer, e.name)} has recurrent_dropout={max(rates)}, for which an ONNX "
            f"{op} has no place; set it to 0 to train")
    return made


def _activations(names: Sequence[str | None]) -> dict[str, Sequence[str] | Sequence[float]]:
    """The ONNX attributes; none when all are ONNX's defaults."""
    rows = [_FUNCTIONS[name or "linear"] for name in names]
    if {row[0] for row in rows} <= {"Sigmoid", "Tanh"} and not _differs(names):
        return {}
    made: dict[str, Sequence[str] | Sequence[float]] = {"activations": [row[0] for row in rows]}
    for key, values in (("activation_alpha", [a for row in rows for a in row[1]]),
                        ("activation_beta", [b for row in rows for b in row[2]])):
        if values:
            made[key] = values
    return made


def _differs(names: Sequence[str | None]) -> bool:
    """Whether the functions are others than ONNX's defaults for 1, 2 or 3 of them a direction."""
    defaults = {1: ["tanh"], 2: ["sigmoid", "tanh"], 3: ["sigmoid", "tanh", "tanh"]}
    return not any(list(names) == default * k for n, default in defaults.items()
                   for k in (1, 2) if n * k == len(names))


def _stack(e: Emitter, values: Sequence[ir.Value]) -> ir.Value | None:
    if len(values) < 2:
        return values[0] if values else None
    return e.op("Concat", *values, axis=0)


def _pick(e: Emitter, x: ir.Value, index: int, axis: int) -> ir.Value:
    """One slice of `x` along `axis`, without that axis."""
    return e.op("Gather", x, e.constant(np.asarray(index, np.int64)), axis=axis)


def _enter(e: Emitter, xs: Sequence[ir.Value], states: int) -> tuple[ir.Value, list[ir.Value]]:
    """The sequence as `[T, N, C]` and the initial states as `[1, N, u]`."""
    x, *initial = xs
    is_float(e, x)
    rank(e, x, 3)
    if len(initial) not in (0, states):
        raise e.error(f"takes {states} initial states, found {len(initial)}")
    return (e.op("Transpose", x, perm=[1, 0, 2]),
            [e.op("Unsqueeze", h, e.ints(0)) for h in initial])
