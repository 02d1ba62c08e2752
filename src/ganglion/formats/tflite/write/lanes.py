"""One direction of an ONNX LSTM, GRU or RNN: its weights, functions, first state and steps.

Sequences are stored as the input is: [T, B, n] with the steps first, or [B, T, n].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.errors import ModelError
from ganglion.formats.tflite.write.flat import Quant
from ganglion.formats.tflite.write.site import Array, Site
from ganglion.ops.attr import get_floats, get_strs
from ganglion.ops.cells import ALPHA, BETA, DEFAULTS, backwards

X, W, R, B, LENGTHS, STATE, CELL, PEEPHOLES = range(8)
"""The inputs of the three operators; GRU and RNN end with the state."""


@dataclass(frozen=True)
class Function:
    """An activation of a cell, by ONNX's name in small letters."""

    name: str
    alpha: float
    beta: float


@dataclass(frozen=True)
class Lane:
    """Direction `index` of the node. `x`: its input as a tensor of the file."""

    site: Site
    index: int
    reverse: bool
    functions: Sequence[Function]
    x: int
    steps_first: bool

    @property
    def steps(self) -> int:
        return self.site.shape(X)[0]

    @property
    def batch(self) -> int:
        return self.site.shape(X)[1]

    @property
    def hidden(self) -> int:
        return self.site.shape(R)[2]

    @property
    def axis(self) -> int:
        """Where sequences have their steps."""
        return 0 if self.steps_first else 1

    def sequence(self, numbers: int, steps: int | None = None) -> tuple[int, int, int]:
        """The shape of a sequence of `steps` rows, by default of all."""
        count = self.steps if steps is None else steps
        return (count, self.batch, numbers) if self.steps_first else (self.batch, count, numbers)

    def weights(self, k: int, first: int, last: int) -> int:
        """Rows of W or R as a tensor [rows, n] of real numbers, those of the gates `first` to
        `last` - 1. Codes around zero stay codes in the file, with a DEQUANTIZE behind them."""
        site, rows = self.site, slice(first * self.hidden, last * self.hidden)
        name = f"{site.name}/{'WR'[k - W]}{self.index}_{first}"
        found = site.codes(k)
        if found is not None and found[0].dtype == np.int8 and (
                found[1].per_tensor or found[1].axis == 1):
            codes, q = found
            if not q.per_tensor:
                q = Quant(q.scale[rows], q.zero[rows], 0)
            stored = site.flat.constant(codes[self.index, rows], site.values.fresh(name), q)
            return site.values.with_quant(stored, None, site.name)
        real = site.constant(k)
        if real is None:
            raise site.unsupported("its weights are computed; a .tflite file needs constants")
        return site.flat.constant(real[self.index, rows].astype(np.float32),
                                  site.values.fresh(name))

    def bias(self, part: int, first: int, last: int) -> Array:
        """Those of x (part 0) or of the state (1), of the same gates; zeros where there is none."""
        hidden, site = self.hidden, self.site
        array = site.constant(B)
        if array is None and site.has(B):
            raise site.unsupported("its biases are computed; a .tflite file needs constants")
        if array is None:
            return np.zeros((last - first) * hidden, np.float32)
        half = array[self.index].astype(np.float32).reshape(2, -1)[part]
        return np.asarray(half[first * hidden:last * hidden])

    def starts_at_zero(self, k: int) -> bool:
        """Whether the state, or the cell state (input k), is absent or constant zeros."""
        array = self.site.constant(k)
        return not self.site.has(k) or (array is not None and not array.any())

    def start(self, k: int) -> int:
        """The first state or cell state as a tensor [B, H]."""
        site, shape = self.site, (self.batch, self.hidden)
        array = site.constant(k)
        if array is not None or not site.has(k):
            known = np.zeros(shape) if array is None else array[self.index]
            return site.flat.constant(known.astype(np.float32), site.values.fresh("start"))
        return cut(site, site.read(k), 0, self.index, shape)


def lanes(site: Site, cell: str) -> list[Lane]:
    """The directions of the node. Raises UnsupportedOp for what no .tflite file can say, and
    ModelError for a wrong number of activations."""
    _check(site)
    reverse = backwards(site.attrs)
    alphas = iter(get_floats(site.attrs, "activation_alpha", []))
    betas = iter(get_floats(site.attrs, "activation_beta", []))
    functions = []
    for given in get_strs(site.attrs, "activations", DEFAULTS[cell] * len(reverse)):
        name = given.lower()
        functions.append(Function(name, next(alphas, ALPHA[name]) if name in ALPHA else 0.0,
                                  next(betas, BETA[name]) if name in BETA else 0.0))
    each = len(DEFAULTS[cell])
    if len(functions) != each * len(reverse):
        raise ModelError(f"node {site.name!r} names {len(functions)} activations; {each} for each "
                         f"of its {len(reverse)} directions are expected")
    steps_first = site.held(X).perm != (1, 0, 2)
    x = site.read(X, (0, 1, 2) if steps_first else (1, 0, 2))
    return [Lane(site, k, back, functions[k * each:(k + 1) * each], x, steps_first)
            for k, back in enumerate(reverse)]


def _check(site: Site) -> None:
    if site.whole("input_forget", 0) or site.real("clip", 0.0) or site.whole("layout", 0):
        raise site.unsupported("only layout 0 without clipping and coupled gates is written")
    if site.has(PEEPHOLES):
        raise site.unsupported("peepholes are not written")
    lengths = site.constant(LENGTHS)
    if site.has(LENGTHS) and (lengths is None or (lengths != site.shape(X)[0]).any()):
        raise site.unsupported("lengths of sequences are not written; give all steps")


def cut(site: Site, tensor: int, axis: int, place: int, shape: Sequence[int]) -> int:
    """What stands at one place of an axis, as a tensor of `shape`."""
    source = site.flat.tensors[tensor].shape
    begin = [place if k == axis else 0 for k in range(len(source))]
    end = [place + 1 if k == axis else n for k, n in enumerate(source)]
    part = tensor if source[axis] == 1 else site.op(
        "STRIDED_SLICE", [tensor, site.flat.ints(*begin), site.flat.ints(*end),
                          site.flat.ints(*[1] * len(source))],
        [b - a for a, b in zip(begin, end)], ("StridedSliceOptions", {}))
    return site.reshaped(part, shape)


def is_read(site: Site, k: int) -> bool:
    """Whether anything reads output k of the node."""
    outputs = site.node.outputs
    return k < len(outputs) and bool(outputs[k].uses() or outputs[k].is_graph_output())

