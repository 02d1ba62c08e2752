"""LSTM, GRU and simple recurrent layers over a sequence, float32; the way back is in
`recurrent_grad.py`.

The input's part of a block of steps is one matrix product ahead of their loop; inside it only the
hidden state's product is left. Weights are packed so that lanes run along the hidden units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.literal import literal_f32
from ganglion.kernels.tiling import panels

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
DEFAULTS = {"lstm": ("sigmoid", "tanh", "tanh"), "gru": ("sigmoid", "tanh"), "rnn": ("tanh",)}
ALPHA = {"affine": 1.0, "leakyrelu": 0.01, "hardsigmoid": 0.2, "elu": 1.0}
BLOCK_ROWS = 48
"""Rows that make a product of the inputs worth its while."""
BETA = {"affine": 0.0, "hardsigmoid": 0.5}


@dataclass(frozen=True)
class Function:
    """One of ONNX's recurrent activations, `name` in lower case, with its parameters."""

    name: str
    alpha: float
    beta: float

    def value(self, x: np.ndarray) -> np.ndarray:
        """In NumPy, in x's own dtype."""
        return np.asarray(VALUES[self.name](x, self.alpha, self.beta))

    def slope(self, y: np.ndarray) -> np.ndarray:
        """The derivative, from the value y."""
        return np.asarray(SLOPES[self.name](y, self.alpha, self.beta))

    def value_text(self, x: str, lanes: int) -> str:
        """C expression of the value at the variable x."""
        return self._text(VALUE_TEXTS, x, lanes)

    def slope_text(self, y: str, lanes: int) -> str:
        """C expression of the derivative where the value is in the variable y."""
        return self._text(SLOPE_TEXTS, y, lanes)

    def _text(self, texts: Mapping[str, str], x: str, lanes: int) -> str:
        f = f"v{lanes}f"
        numbers = {"A": self.alpha, "B": self.beta, "0": 0.0, "1": 1.0}
        named = {f"<{k}>": f"{f}_set({literal_f32(v)})" for k, v in numbers.items()}
        text = texts[self.name].replace("@", f + "_").replace("<x>", x)
        for key, literal in named.items():
            text = text.replace(key, literal)
        return text


VALUES: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "sigmoid": lambda x, a, b: np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x))),
    "tanh": lambda x, a, b: np.tanh(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "softplus": lambda x, a, b: np.logaddexp(x, 0),
}
VALUE_TEXTS = {
    "sigmoid": "@sigmoid(<x>)",
    "tanh": "@tanh(<x>)",
    "relu": "@max(<0>, <x>)",
    "affine": "@add(@mul(<A>, <x>), <B>)",
    "leakyrelu": "@select(@lt(<x>, <0>), @mul(<A>, <x>), <x>)",
    "hardsigmoid": "@min(<1>, @max(<0>, @add(@mul(<A>, <x>), <B>)))",
    "elu": "@select(@lt(<x>, <0>), @mul(<A>, @sub(@exp(@min(<x>, <0>)), <1>)), <x>)",
    "softsign": "@div(<x>, @add(<1>, @abs(<x>)))",
    "softplus": "@add(@max(<x>, <0>), @log(@add(<1>, @exp(@neg(@abs(<x>))))))",
}
SLOPES: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "sigmoid": lambda y, a, b: y * (1 - y),
    "tanh": lambda y, a, b: 1 - y * y,
    "relu": lambda y, a, b: (y > 0) * 1.0,
    "affine": lambda y, a, b: np.full_like(y, a),
    "leakyrelu": lambda y, a, b: np.where(y < 0, a, 1.0),
    "hardsigmoid": lambda y, a, b: a * ((y > 0) & (y < 1)),
    "elu": lambda y, a, b: np.where(y < 0, y + a, 1.0),
    "softsign": lambda y, a, b: (1 - np.abs(y)) ** 2,
    "softplus": lambda y, a, b: -np.expm1(-y),
}
SLOPE_TEXTS = {
    "sigmoid": "@mul(<x>, @sub(<1>, <x>))",
    "tanh": "@sub(<1>, @mul(<x>, <x>))",
    "relu": "@select(@gt(<x>, <0>), <1>, <0>)",
    "affine": "<A>",
    "leakyrelu": "@select(@lt(<x>, <0>), <A>, <1>)",
    "hardsigmoid": "@select(@gt(<x>, <0>), @select(@lt(<x>, <1>), <A>, <0>), <0>)",
    "elu": "@select(@lt(<x>, <0>), @add(<x>, <A>), <1>)",
    "softsign": "@mul(@sub(<1>, @abs(<x>)), @sub(<1>, @abs(<x>)))",
    "softplus": "@sub(<1>, @exp(@neg(<x>)))",
}


@dataclass(frozen=True)
class RecurrentSpec:
    """ONNX LSTM-22, GRU-22, RNN-22 (layout 0). `cell`: "lstm", "gru", "rnn".

    x: [steps, batch, inputs]; w: [D, G·hidden, inputs]; r: [D, G·hidden, hidden];
    b: [D, 2·G·hidden]; h0, c0: [D, batch, hidden]; y: [steps, D, batch, hidden];
    h: [D, batch, hidden]; c likewise. D = 2 for direction "bidirectional", else "forward" or
    "reverse". Gate order as ONNX's: iofc, zrh. `activations`: names of each direction in turn,
    ONNX's ("Sigmoid", "Tanh", "Relu", "HardSigmoid", ...), empty for ONNX's defaults; `alphas` and
    `betas` go, in order, to those that have such a parameter. `linear_before_reset` as in ONNX
    (Keras's reset_after). Operands: x, w, r, [b], [h0], [c0 (lstm)], y, h, [c (lstm)]; with `trace`
    (training) also gates [D, steps, batch, G·hidden] after activation and, lstm only, cells
    [D, steps, batch, hidden], gru with linear_before_reset only: hidden_part
    [D, steps, batch, hidden] (R_h·h + b before the reset gate). With `codes` (and w_const) w and r
    are int8, followed by w_scale and r_scale [D, G·hidden] that multiply their rows.
    """

    cell: str
    steps: int
    batch: int
    inputs: int
    hidden: int
    direction: str = "forward"
    bias: bool = True
    h0: bool = False
    c0: bool = False
    linear_before_reset: bool = False
    activations: tuple[str, ...] = ()
    trace: bool = False
    w_const: bool = True
    alphas: tuple[float, ...] = ()
    betas: tuple[float, ...] = ()
    codes: bool = False

    @property
    def reverses(self) -> list[bool]:
        """Whether each direction walks from the last step to the first."""
        return {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
            self.direction]

    @property
    def gates(self) -> int:
        """G, the number of gates."""
        return GATES[self.cell]

    @property
    def linear(self) -> bool:
        """Whether the reset gate acts on the hidden part of a GRU's candidate."""
        return self.cell == "gru" and self.linear_before_reset

    @property
    def functions(self) -> list[list[Function]]:
        """The activations of each direction: f, g, h for lstm; f, g for gru; f for rnn."""
        each = len(DEFAULTS[self.cell])
        names = self.activations or DEFAULTS[self.cell] * len(self.reverses)
        alphas, betas = iter(self.alphas), iter(self.betas)
        made = [Function(key, next(alphas, ALPHA[key]) if key in ALPHA else 0.0,
                         next(betas, BETA[key]) if key in BETA else 0.0)
                for key in map(str.lower, names)]
        return [made[k:k + each] for k in range(0, len(made), each)]

    def sizes(self) -> dict[str, int]:
        """Elements of every array by operand name."""
        d, rows = len(self.reverses), self.steps * self.batch
        wide, state = self.gates * self.hidden, d * self.batch * self.hidden
        return {"x": rows * self.inputs, "w": d * wide * self.inputs, "r": d * wide * self.hidden,
                "w_scale": d * wide, "r_scale": d * wide,
                "b": d * 2 * wide, "h0": state, "c0": state, "y": self.steps * state, "h": state,
                "c": state, "gates": d * rows * wide, "cells": self.steps * state,
                "hidden_part": self.steps * state}


    @property
    def block(self) -> int:
        """Steps whose inputs are multiplied together."""
        return even_block(self.steps, self.batch, BLOCK_ROWS)


def even_block(steps: int, batch: int, rows: int) -> int:
    """Steps of a block of at least `rows` rows where there are so many, all blocks alike.

    >>> even_block(50, 1, 48), even_block(50, 32, 48)
    (25, 2)
    """
    blocks = -(-steps // -(-rows // batch))
    return -(-steps // blocks)


def traced(spec: RecurrentSpec) -> list[str]:
    """Names of the outputs that the gradient needs."""
    return ["gates", *(["cells"] if spec.cell == "lstm" else []),
            *(["hidden_part"] if spec.linear else [])]


def operands(spec: RecurrentSpec) -> list[Operand]:
    """The arrays of a recurrent layer, in parameter order."""
    size = spec.sizes()
    fixed = "const" if spec.w_const else "input"
    found = [Operand("x", "float32", size["x"])]
    found += [Operand(n, "int8" if spec.codes else "float32", size[n], fixed) for n in ("w", "r")]
    scales = ["w_scale", "r_scale"] if spec.codes else []
    found += [Operand(n, "float32", size[n], fixed) for n in (*scales, *["b"] * spec.bias)]
    lstm = spec.cell == "lstm"
    starts = [*["h0"] * spec.h0, *["c0"] * (spec.c0 and lstm)]
    ends = ["y", "h", *["c"] * lstm, *(traced(spec) if spec.trace else [])]
    found += [Operand(n, "float32", size[n]) for n in starts]
    return found + [Operand(n, "float32", size[n], "output") for n in ends]


def shaped(spec: RecurrentSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs in float64 and in the shapes of the docstring, zeros for those absent."""
    d, h = len(spec.reverses), spec.hidden
    shapes = {"x": (spec.steps, spec.batch, -1), "w": (d, -1, spec.inputs), "r": (d, -1, h),
              "b": (d, -1), "h0": (d, spec.batch, h), "c0": (d, spec.batch, h)}
    sizes = spec.sizes()
    return {name: np.asarray(arrays.get(name, np.zeros(sizes[name])), np.float64).reshape(shape)
            for name, shape in shapes.items()}


def reference(spec: RecurrentSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Step by step in float64."""
    given = shaped(spec, arrays)
    if spec.codes:
        for name in ("w", "r"):
            given[name] *= arrays[f"{name}_scale"].reshape(len(spec.reverses), -1, 1)
    d, h = len(spec.reverses), spec.hidden
    per_step = (d, spec.steps, spec.batch)
    out = {"y": np.zeros((spec.steps, d, spec.batch, h)), "h": given["h0"].copy(),
           "c": given["c0"].copy(), "gates": np.zeros((*per_step, spec.gates * h)),
           "cells": np.zeros((*per_step, h)), "hidden_part": np.zeros((*per_step, h))}
    for k, reverse in enumerate(spec.reverses):
        w, r, (wb, rb) = given["w"][k], given["r"][k], np.split(given["b"][k], 2)
        for t in range(spec.steps)[::-1 if reverse else 1]:
            inner = given["x"][t] @ w.T + wb
            _step(spec, k, inner, r, rb, out, t)
            out["y"][t, k] = out["h"][k]
    wanted = [o.name for o in operands(spec) if o.role == "output"]
    return {name: out[name].astype(np.float32) for name in wanted}


def _step(spec: RecurrentSpec, k: int, inner: np.ndarray, r: np.ndarray, rb: np.ndarray,
          out: dict[str, np.ndarray], t: int) -> None:
    """Moves h and c of direction k on by one step and notes the trace. inner: [batch, G·hidden]."""
    f, *others = spec.functions[k]
    h, size = out["h"][k], spec.hidden
    if spec.cell == "rnn":
        out["h"][k] = out["gates"][k, t] = f.value(inner + h @ r.T + rb)
    elif spec.cell == "lstm":
        g, squash = others
        sums = inner + h @ r.T + rb
        i, o, forget = np.split(f.value(sums[:, :3 * size]), 3, axis=1)
        new = g.value(sums[:, 3 * size:])
        out["c"][k] = out["cells"][k, t] = forget * out["c"][k] + i * new
        out["h"][k] = o * squash.value(out["c"][k])
        out["gates"][k, t] = np.concatenate([i, o, forget, new], axis=1)
    else:
        sums = inner[:, :2 * size] + h @ r[:2 * size].T + rb[:2 * size]
        z, reset = np.split(f.value(sums), 2, axis=1)
        part = (h if spec.linear else reset * h) @ r[2 * size:].T + rb[2 * size:]
        out["hidden_part"][k, t] = part
        new = others[0].value(inner[:, 2 * size:] + (reset * part if spec.linear else part))
        out["h"][k] = (1 - z) * new + z * h
        out["gates"][k, t] = np.concatenate([z, reset, new], axis=1)


def macs(spec: RecurrentSpec) -> int:
    """Multiply-adds of the products."""
    per_step = spec.gates * spec.hidden * (spec.inputs + spec.hidden)
    return len(spec.reverses) * spec.steps * spec.batch * per_step


def padded(spec: RecurrentSpec, lanes: int) -> int:
    """Hidden units rounded up to whole vectors."""
    return -(-spec.hidden // lanes) * lanes


def _pack(spec: RecurrentSpec, lanes: int, panel: int, consts: dict[str, np.ndarray]
          ) -> dict[str, np.ndarray]:
    """w → [D, inputs, G·padded], r → [D, hidden, G·padded] (a GRU's candidate apart), both in
    panels of `panel` columns; b → [D, G or G + 1, padded]: the sums of both halves, but of a
    linear GRU's candidate the hidden part's own as a row more."""
    if not spec.w_const:
        return consts
    d, gates, h = len(spec.reverses), spec.gates, spec.hidden
    room = ((0, 0), (0, 0), (0, 0), (0, padded(spec, lanes) - h))
    found = {}
    for name, parts in (("w", [gates]), ("r", [2, 1] if spec.cell == "gru" else [gates])):
        wide = np.pad(consts[name].reshape(d, gates, h, -1).transpose(0, 3, 1, 2), room)
        found[name] = np.concatenate([
            panels(one.reshape(len(one), -1), panel, lanes)
            for way in wide for one in np.split(way, np.cumsum(parts)[:-1], axis=1)])
    for name in ("w_scale", "r_scale") if spec.codes else ():
        found[name] = np.pad(consts[name].reshape(d, gates, h), room[1:])
    if spec.bias:
        both = consts["b"].reshape(d, 2, gates, h)
        rows = both.sum(axis=1, dtype=np.float32)
        if spec.linear:
            rows = np.concatenate([rows[:, :2], both[:, :, 2]], axis=1)
        found["b"] = np.pad(rows, room[1:])
    return found


def _variant(isa: Isa, rows: int, vectors: int) -> Variant[RecurrentSpec]:
    lanes = isa.lanes

    def scratch_bytes(spec: RecurrentSpec) -> int:
        wide = padded(spec, lanes)
        work = spec.block * spec.batch * spec.gates * wide + 3 * spec.batch * wide
        weights = (spec.inputs + spec.hidden + 2) * spec.gates * wide
        return 4 * (work + (0 if spec.w_const else weights))

    def cost(spec: RecurrentSpec) -> float:
        wide = spec.gates * padded(spec, lanes) / lanes
        per_step = wide * ((spec.inputs + spec.hidden) * 0.7 + 25)
        return len(spec.reverses) * spec.steps * spec.batch * per_step

    return Variant(f"recurrent_f32__{isa.name}", isa, "recurrent.c.j2", cost=cost,
                   pack=lambda spec, consts: _pack(spec, lanes, vectors * lanes, consts),
                   scratch_bytes=scratch_bytes, tile={"rows": rows, "vectors": vectors})


RECURRENT: Family[RecurrentSpec] = Family(
    "recurrent", operands, reference,
    variants=(_variant(SCALAR, 4, 1), _variant(AVX2, 6, 2), _variant(AVX512, 6, 4),
              _variant(NEON, 6, 4), _variant(SIMD128, 4, 2)), macs=macs)
FAMILIES = (RECURRENT,)
