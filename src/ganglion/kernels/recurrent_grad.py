"""Recurrent layers backwards through time, float32.

The time loop only carries the gradient of the hidden state; behind each block of steps, while their
slopes are in the cache, the gradients of x and of all weights are matrix products over the block.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.recurrent import RecurrentSpec, even_block, macs, shaped, traced

BLOCK_ROWS = 128
"""Rows of a product that make reading and writing its sums cheap."""


@dataclass(frozen=True)
class RecurrentGradSpec:
    """Gradients of a `layer`; shapes as in RecurrentSpec.

    Operands: x, [w], r, [h0], [c0 (lstm)], y, gates, [cells (lstm)], [hidden_part (gru,
    linear_before_reset)], [dy], [dh], [dc (lstm)], then dx, dw, dr, db [D, 2·G·hidden], dh0,
    [dc0 (lstm)]. h0 and c0 are there when the layer's are; dy, dh and dc (of y and of the last h
    and c) when the flags say so, else they are zeros; w and dx only when `dx`. The biases'
    values do not matter.
    """

    layer: RecurrentSpec
    dy: bool = True
    dh: bool = False
    dc: bool = False
    dx: bool = True

    @property
    def block(self) -> int:
        """Steps whose slopes are kept until their products are made."""
        return even_block(self.layer.steps, self.layer.batch, BLOCK_ROWS)

    @property
    def slope_row(self) -> int:
        """Elements between rows of slopes: one cache line more than a row has, so that the rows of
        a power of two do not share cache sets."""
        return self.layer.gates * self.layer.hidden + 16

    @property
    def scratch_sizes(self) -> dict[str, int]:
        """Elements of working memory: gate slopes of a block, per unit slopes or gated states of
        a block (gru), a direction's own y (bidirectional), and five states."""
        layer = self.layer
        rows = self.block * layer.batch
        ways = len(layer.reverses)
        return {"slopes": rows * self.slope_row,
                "parts": rows * layer.hidden if layer.cell == "gru" else 0,
                "own_y": layer.steps * layer.batch * layer.hidden if ways == 2 else 0,
                "state": layer.batch * layer.hidden, "cell": layer.batch * layer.hidden,
                "gated": layer.batch * layer.hidden, "zeros": layer.batch * layer.hidden}


def operands(spec: RecurrentGradSpec) -> list[Operand]:
    """The arrays of a recurrent layer's gradient, in parameter order."""
    layer = spec.layer
    lstm = layer.cell == "lstm"
    size = layer.sizes()
    given = ["x", *["w"] * spec.dx, "r", *["h0"] * layer.h0, *["c0"] * (layer.c0 and lstm), "y",
             *traced(layer), *["dy"] * spec.dy, *["dh"] * spec.dh, *["dc"] * (spec.dc and lstm)]
    results = [*["dx"] * spec.dx, "dw", "dr", "db", "dh0", *["dc0"] * lstm]
    return [*(Operand(n, "float32", size[n.removeprefix("d")]) for n in given),
            *(Operand(n, "float32", size[n.removeprefix("d")], "output") for n in results)]


@dataclass(frozen=True)
class _Way:
    """One direction's arrays in float64, with a batch axis in front of the features."""

    r: np.ndarray
    y: np.ndarray
    gates: np.ndarray
    cells: np.ndarray
    hidden_part: np.ndarray
    h0: np.ndarray
    c0: np.ndarray


def reference(spec: RecurrentGradSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Step by step in float64."""
    layer = spec.layer
    given = shaped(layer, {n: a for n, a in arrays.items() if n != "b"})
    d, steps, batch, size = len(layer.reverses), layer.steps, layer.batch, layer.hidden

    def wide(name: str, *shape: int) -> np.ndarray:
        found = arrays.get(name)
        return np.zeros(shape) if found is None else found.astype(np.float64).reshape(shape)

    y, dy = wide("y", steps, d, batch, size), wide("dy", steps, d, batch, size)
    gates = wide("gates", d, steps, batch, layer.gates * size)
    cells, part = (wide(name, d, steps, batch, size) for name in ("cells", "hidden_part"))
    dh, dc = (wide(name, d, batch, size) for name in ("dh", "dc"))
    out = {name: np.zeros_like(given[name.removeprefix("d")])
           for name in ("dx", "dw", "dr", "db", "dh0", "dc0")}
    for k in range(d):
        way = _Way(given["r"][k], y[:, k], gates[k], cells[k], part[k], given["h0"][k],
                   given["c0"][k])
        out["dh0"][k], out["dc0"][k] = _back(layer, k, way, given, out, dy[:, k], (dh[k], dc[k]))
    wanted = [o.name for o in operands(spec) if o.role == "output"]
    return {name: out[name].astype(np.float32) for name in wanted}


def _back(layer: RecurrentSpec, k: int, way: _Way, given: Mapping[str, np.ndarray],
          out: dict[str, np.ndarray], dy: np.ndarray, ends: tuple[np.ndarray, np.ndarray]
          ) -> tuple[np.ndarray, np.ndarray]:
    """Adds direction k's gradients to `out`, gives those of h0 and c0."""
    dh, dc = ends
    size, wide = layer.hidden, layer.gates * layer.hidden
    order = list(range(layer.steps))[::-1 if layer.reverses[k] else 1]
    for s in reversed(range(layer.steps)):
        t = order[s]
        h = way.y[order[s - 1]] if s else way.h0
        c = way.cells[order[s - 1]] if s else way.c0
        dh = dh + dy[t]
        if layer.cell == "gru":
            inner, hidden, dh, seen = _gru_back(layer, k, way, t, h, dh)
        else:
            inner, dc = _plain_back(layer, k, way, t, c, dh, dc)
            hidden, seen, dh = inner, [h] * layer.gates, inner @ way.r
        out["dx"][t] += inner @ given["w"][k]
        out["dw"][k] += inner.T @ given["x"][t]
        for g, state in enumerate(seen):
            rows = slice(g * size, (g + 1) * size)
            out["dr"][k, rows] += hidden[:, rows].T @ state
        out["db"][k, :wide] += inner.sum(axis=0)
        out["db"][k, wide:] += hidden.sum(axis=0)
    return dh, dc


def _plain_back(layer: RecurrentSpec, k: int, way: _Way, t: int, c: np.ndarray, dh: np.ndarray,
                dc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """lstm and rnn: the gradient of the gates' sums, and of the cell before the step."""
    f, *others = layer.functions[k]
    if layer.cell == "rnn":
        return dh * f.slope(way.gates[t]), dc
    g, squash = others
    i, o, forget, new = np.split(way.gates[t], 4, axis=1)
    squashed = squash.value(way.cells[t])
    dc = dc + dh * o * squash.slope(squashed)
    parts = [dc * new * f.slope(i), dh * squashed * f.slope(o), dc * c * f.slope(forget),
             dc * i * g.slope(new)]
    return np.concatenate(parts, axis=1), dc * forget


def _gru_back(layer: RecurrentSpec, k: int, way: _Way, t: int, h: np.ndarray, dh: np.ndarray
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """The gradient of the input side's sums, of the hidden side's, of h, and what each gate's rows
    of r were multiplied with."""
    f, g = layer.functions[k]
    size = layer.hidden
    z, reset, new = np.split(way.gates[t], 3, axis=1)
    dnew = dh * (1 - z) * g.slope(new)
    carried = dh * z
    if layer.linear:
        dpart, dreset = dnew * reset, dnew * way.hidden_part[t]
        carried = carried + dpart @ way.r[2 * size:]
    else:
        gated = dnew @ way.r[2 * size:]
        dpart, dreset = dnew, gated * h
        carried = carried + gated * reset
    both = np.concatenate([dh * (h - new) * f.slope(z), dreset * f.slope(reset)], axis=1)
    seen = [h, h, h if layer.linear else reset * h]
    return (np.concatenate([both, dnew], axis=1), np.concatenate([both, dpart], axis=1),
            carried + both @ way.r[:2 * size], seen)


def _macs(spec: RecurrentGradSpec) -> int:
    """Two products for each of the layer's, but none for a gradient of x that is not asked for."""
    layer = spec.layer
    inputs = layer.steps * layer.batch * layer.gates * layer.hidden * layer.inputs
    return 2 * macs(layer) - (0 if spec.dx else len(layer.reverses) * inputs)


def _variant(isa: Isa, rows: int, vectors: int) -> Variant[RecurrentGradSpec]:
    lanes = isa.lanes

    def cost(spec: RecurrentGradSpec) -> float:
        layer = replace(spec.layer, hidden=-(-spec.layer.hidden // lanes) * lanes)
        return 2 * macs(layer) / lanes * 0.7 + layer.steps * layer.batch * 200.0

    return Variant(f"recurrent_grad_f32__{isa.name}", isa, "recurrent_grad.c.j2", cost=cost,
                   scratch_bytes=lambda spec: 4 * sum(spec.scratch_sizes.values()),
                   tile={"rows": rows, "vectors": vectors})


RECURRENT_GRAD: Family[RecurrentGradSpec] = Family(
    "recurrent_grad", operands, reference,
    variants=(_variant(SCALAR, 4, 1), _variant(AVX2, 6, 2), _variant(AVX512, 6, 4),
              _variant(NEON, 6, 4), _variant(SIMD128, 4, 2)),
    macs=_macs)
FAMILIES = (RECURRENT_GRAD,)
