"""Networks drawn from a seed, of operators as exporters write them.

Several networks stand side by side in one Model, so that one compilation tests them all; a seed
alone gives the same network again, which is how a failure is taken apart.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder
from ganglion.ops.values import static_shape

T = TypeVar("T")
MAX_ELEMENTS = 3000
"""Values do not grow beyond this while drawing."""


class Drawer:
    """Choices that follow from a seed."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def number(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return int(self.rng.integers(low, high + 1))


class OpDrawer(Drawer):
    """Appends drawn nodes to a graph. `values`: what later nodes may read."""

    def __init__(self, g: GraphBuilder, seed: Sequence[int]) -> None:
        super().__init__(seed)
        self.g = g
        self.values: list[ir.Value] = []

    def weights(self, *shape: int, scale: float | None = None) -> ir.Value:
        fan = float(np.prod(shape[1:])) if len(shape) > 1 else 4.0
        array = self.rng.standard_normal(shape) * (scale or fan ** -0.5)
        return self.g.constant(array.astype(np.float32), "w", share=False)

    def ints(self, *values: int) -> ir.Value:
        return self.g.ints(*values)

    def input(self, shape: Sequence[int]) -> None:
        name = f"x{len(self.g.graph.inputs)}"
        self.values.append(self.g.input(name, ir.DataType.FLOAT, shape))

    def grow(self, steps: int) -> None:
        """Appends up to `steps` nodes, each behind a drawn earlier value (mostly the last)."""
        for _ in range(steps):
            x = self.values[-1] if self.rng.random() < 0.7 else self.pick(self.values)
            made = self.pick(MOVES)(self, x)
            for value in made:
                size = int(np.prod(static_shape(value)))
                if 0 < size <= MAX_ELEMENTS:
                    self.values.append(value)

    def finish(self) -> None:
        """Makes outputs of what nobody reads, at most four, and of one value that is read."""
        own = [v for v in self.values if v.producer() is not None]
        ends = [v for v in own if not v.uses()][:4] or own[-1:] or self.values[-1:]
        if own and self.rng.random() < 0.3:
            ends.append(self.pick(own))
        for value in dict.fromkeys(ends):
            self.g.output(f"y{len(self.g.graph.outputs)}", value)


Move = Callable[[OpDrawer, ir.Value], Sequence[ir.Value]]


def unary(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    name, attrs = d.pick([
        ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Abs", {}), ("Neg", {}),
        ("LeakyRelu", {"alpha": 0.3}), ("Elu", {}), ("Selu", {}), ("Softplus", {}),
        ("HardSigmoid", {}), ("HardSwish", {}), ("Gelu", {}), ("Erf", {}), ("Sin", {}),
        ("Softsign", {}), ("Identity", {}), ("Dropout", {}), ("Mish", {}), ("Relu", {})])
    return [d.g.op(name, x, **attrs)]


def guarded(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Functions with a limited domain, on arguments inside it."""
    positive = d.g.add(d.g.op("Abs", x), 0.5)
    small = d.g.op("Clip", x, d.g.constant(np.float32(-3)), d.g.constant(np.float32(3)))
    return [d.pick([lambda: d.g.op("Sqrt", positive), lambda: d.g.op("Log", positive),
                    lambda: d.g.op("Reciprocal", positive), lambda: d.g.op("Exp", small),
                    lambda: d.g.div(1.5, positive), lambda: small,
                    lambda: d.g.op("Pow", positive, d.g.constant(np.float32(1.5)))])()]


def with_constant(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Arithmetic with a constant that is broadcast, on either side."""
    shape = [n if d.rng.random() < 0.5 else 1 for n in static_shape(x)]
    shape = shape[d.number(0, len(shape)):]
    other = d.weights(*shape, scale=0.7)
    pair = [x, other] if d.rng.random() < 0.6 else [other, x]
    return [d.g.op(d.pick(["Add", "Sub", "Mul", "Max", "Min"]), *pair)]


def with_value(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Arithmetic with another value, where the shapes broadcast."""
    others = [v for v in d.values if _broadcasts(static_shape(v), static_shape(x))]
    other = d.pick(others or [x])
    pair = [x, other] if d.rng.random() < 0.5 else [other, x]
    return [d.g.op(d.pick(["Add", "Sub", "Mul", "Max", "Min", "Add"]), *pair)]


def _broadcasts(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(n == m or 1 in (n, m) for n, m in zip(a[::-1], b[::-1]))


def select(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Where over a comparison, or a comparison cast to float."""
    mask = d.g.op(d.pick(["Greater", "Less"]), x, d.g.constant(np.float32(0.123)))
    if d.rng.random() < 0.3:
        mask = d.g.op("Not", mask)
    if d.rng.random() < 0.4:
        return [d.g.op("Cast", mask, to=ir.DataType.FLOAT)]
    others = [v for v in d.values if _broadcasts(static_shape(v), static_shape(x))]
    return [d.g.op("Where", mask, x, d.pick([*others, d.weights(1)]))]


def transpose(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    perm = [int(p) for p in d.rng.permutation(len(static_shape(x)))]
    return [d.g.op("Transpose", x, perm=perm)] if perm else []


def reshape(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Other factors of the same size, sometimes with -1 or 0."""
    shape = static_shape(x)
    left, found = int(np.prod(shape)), []
    for _ in range(d.number(0, 3)):
        factor = d.pick([f for f in range(1, left + 1) if left % f == 0][:6])
        found.append(factor)
        left //= factor
    found.append(left)
    goal = [int(found[i]) for i in d.rng.permutation(len(found))]
    if d.rng.random() < 0.4:
        goal[d.number(0, len(goal) - 1)] = -1
    if shape and goal[0] == shape[0]:
        goal[0] = 0
    return [d.g.op("Reshape", x, d.ints(*goal))]


def flatten(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    return [d.g.op("Flatten", x, axis=d.number(0, len(static_shape(x))))]


def squeeze(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    units = [i for i, n in enumerate(static_shape(x)) if n == 1]
    if units and d.rng.random() < 0.6:
        return [d.g.op("Squeeze", x, d.ints(d.pick(units)))]
    if len(static_shape(x)) > 4:
        return []
    return [d.g.op("Unsqueeze", x, d.ints(d.number(0, len(static_shape(x)))))]


def concat(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if not shape:
        return []
    axis = d.number(0, len(shape) - 1)
    others = [v for v in d.values if len(static_shape(v)) == len(shape)
              and all(n == m or i == axis for i, (n, m) in enumerate(zip(shape, static_shape(v))))]
    many = [d.pick([*others, x]) for _ in range(d.number(1, 3))]
    if d.rng.random() < 0.2:
        many.append(d.weights(*shape))
    return [d.g.op("Concat", *many, axis=axis - (len(shape) if d.rng.random() < 0.3 else 0))]


def split(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    axes = [i for i, n in enumerate(shape) if n > 1]
    if not axes:
        return []
    axis = d.pick(axes)
    first = d.number(1, shape[axis] - 1)
    return d.g.ops("Split", x, d.ints(first, shape[axis] - first), outputs=2, axis=axis)


def slices(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    axes = [i for i in range(len(shape)) if d.rng.random() < 0.6]
    if not axes:
        return []
    starts, ends, steps = [], [], []
    for axis in axes:
        n = shape[axis]
        step = d.pick([1, 1, 2, 3, -1, -2])
        a, b = sorted((d.number(0, n - 1), d.number(0, n - 1)))
        starts.append(a if step > 0 else b)
        ends.append(b + 1 if step > 0 else (a - 1 if a else -n - 5))
        steps.append(step)
    named = [a - len(shape) if d.rng.random() < 0.3 else a for a in axes]
    return [d.g.op("Slice", x, d.ints(*starts), d.ints(*ends), d.ints(*named), d.ints(*steps))]


def pad(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if not shape:
        return []
    mode = d.pick(["constant", "constant", "edge", "reflect"])
    most = [min(2, n - 1) if mode == "reflect" else 2 for n in shape]
    pads = [d.number(0, m) if d.rng.random() < 0.5 else 0 for m in [*most, *most]]
    if mode == "constant" and d.rng.random() < 0.3 and shape[-1] > 2:
        pads[-1] = -1
    value = d.g.constant(np.float32(0.5)) if mode == "constant" and d.rng.random() < 0.5 else None
    return [d.g.op("Pad", x, d.ints(*pads), value, mode=mode)]


def expand(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    goal = [d.number(2, 3) if n == 1 else n for n in static_shape(x)]
    if len(goal) < 4 and d.rng.random() < 0.3:
        goal = [2, *goal]
    return [d.g.op("Expand", x, d.ints(*goal))]


def tile(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    repeats = [d.pick([1, 1, 2, 3]) for _ in static_shape(x)]
    return [d.g.op("Tile", x, d.ints(*repeats))] if repeats else []


def gather(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if not shape:
        return []
    axis = d.number(0, len(shape) - 1)
    n = shape[axis]
    many = d.pick([(), (1,), (2,), (2, 2)])
    index = d.rng.integers(-n, n, many)
    return [d.g.op("Gather", x, d.g.constant(np.asarray(index, np.int64)), axis=axis)]


def reduce(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    rank = len(static_shape(x))
    if not rank:
        return []
    name = d.pick(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2",
                   "ReduceSumSquare"])
    axes = [a for a in range(rank) if d.rng.random() < 0.5]
    axes = [a - rank if d.rng.random() < 0.3 else a for a in axes]
    return [d.g.op(name, x, d.ints(*axes) if axes else None, keepdims=d.number(0, 1))]


def normalise(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if not shape:
        return []
    axis = d.number(0, len(shape) - 1)
    if d.rng.random() < 0.5:
        return [d.g.op(d.pick(["Softmax", "LogSoftmax"]), x, axis=axis)]
    kept = shape[axis:]
    if np.prod(kept) < 3:  # the deviation of one element divides zero by nearly zero
        return []
    bias = d.weights(*kept) if d.rng.random() < 0.5 else None
    return [d.g.op("LayerNormalization", x, d.weights(*kept), bias, axis=axis, epsilon=0.01)]


def dense(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Gemm with any flags, as exporters of PyTorch's Linear and by hand."""
    shape = static_shape(x)
    if len(shape) != 2:
        x = d.g.op("Flatten", x, axis=min(1, len(shape)))
        shape = static_shape(x)
    trans_a, trans_b = int(d.rng.random() < 0.15), int(d.rng.random() < 0.6)
    m, k = shape[::-1] if trans_a else shape
    n = d.pick([1, 2, 5, 17])
    w = d.weights(n, k) if trans_b else d.weights(k, n, scale=k ** -0.5)
    c = d.pick([None, d.weights(n), d.weights(n), d.weights(1, n), d.weights(m, 1),
                d.weights(m, n), d.weights()])
    alpha, beta = d.pick([(1.0, 1.0), (1.0, 1.0), (0.5, 1.0), (1.0, 2.0)])
    return [d.g.op("Gemm", x, w, c, transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)]


def matmul(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """A product with a constant, with itself transposed, or of stacks."""
    shape = static_shape(x)
    if not shape:
        return []
    style = d.pick(["constant", "constant", "self", "stack", "left", "vector"])
    if style == "self" and len(shape) >= 2:
        perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        return [d.g.op("MatMul", x, d.g.op("Transpose", x, perm=perm))]
    if style == "left" and len(shape) >= 2:
        return [d.g.op("MatMul", d.weights(3, shape[-2]), x)]
    if style == "stack" and len(shape) >= 3:
        return [d.g.op("MatMul", x, d.weights(*shape[:-2], shape[-1], 3, scale=0.3))]
    if style == "vector":
        return [d.g.op("MatMul", x, d.weights(shape[-1], scale=0.3))]
    y = d.g.op("MatMul", x, d.weights(shape[-1], d.pick([1, 4, 17]), scale=0.3))
    return [y, d.g.op("Add", y, d.weights(static_shape(y)[-1]))]


def window(d: OpDrawer, spatial: Sequence[int]) -> tuple[list[int], dict[str, object]]:
    """A kernel that fits and the attributes of its way over the image."""
    kernel = [d.number(1, min(3, n)) for n in spatial]
    attrs: dict[str, object] = {"strides": [d.number(1, 4) for _ in spatial]}
    style = d.pick(["pads", "pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if style == "pads":
        attrs["pads"] = [d.number(0, (k - 1)) for k in kernel * 2]
    elif style != "none":
        attrs["auto_pad"] = style
    if style in ("none", "pads"):
        attrs["dilations"] = [d.pick([1, 2]) if (k - 1) * 2 < n else 1
                              for k, n in zip(kernel, spatial)]
    return kernel, attrs


def conv(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if len(shape) not in (3, 4):
        return []
    c = shape[1]
    groups = d.pick([g for g in range(1, c + 1) if c % g == 0])
    out = groups * d.pick([1, 1, 2, 3, 8])
    kernel, attrs = window(d, shape[2:])
    inputs = [x, d.weights(out, c // groups, *kernel)]
    if d.rng.random() < 0.6:
        inputs.append(d.weights(out))
    y = d.g.op("Conv", *inputs, group=groups, attrs=attrs)
    if d.rng.random() < 0.3:
        parameters = [d.weights(out), d.weights(out), d.weights(out),
                      d.g.constant(d.rng.uniform(0.5, 2, out).astype(np.float32))]
        y = d.g.op("BatchNormalization", y, *parameters)
    return [y, d.g.op("Relu", y)] if d.rng.random() < 0.5 else [y]


def conv_transpose(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if len(shape) not in (3, 4):
        return []
    c = shape[1]
    groups = d.pick([g for g in range(1, c + 1) if c % g == 0])
    per = d.pick([1, 2, 5])
    kernel = [d.number(1, 3) for _ in shape[2:]]
    strides = [d.number(1, 3) for _ in kernel]
    attrs = {"strides": strides, "pads": [d.number(0, (k - 1) // 2) for k in kernel * 2],
             "output_padding": [d.number(0, s - 1) for s in strides], "group": groups}
    inputs = [x, d.weights(c, per, *kernel)]
    if d.rng.random() < 0.6:
        inputs.append(d.weights(groups * per))
    return [d.g.op("ConvTranspose", *inputs, attrs=attrs)]


def pool(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if len(shape) not in (3, 4):
        return []
    name = d.pick(["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "MaxPool"])
    if name.startswith("Global"):
        return [d.g.op(name, x)]
    kernel, attrs = window(d, shape[2:])
    if name == "AveragePool":
        attrs["count_include_pad"] = d.number(0, 1)
        attrs.pop("dilations", None)
    if "auto_pad" not in attrs and "pads" not in attrs:
        attrs["ceil_mode"] = d.number(0, 1)
    return [d.g.op(name, x, kernel_shape=kernel, attrs=attrs)]


def image(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Anything seen as [N, C, W] or [N, C, H, W] again, so that images stay common."""
    size = int(np.prod(static_shape(x)))
    w = d.pick([f for f in range(1, 9) if size % f == 0])
    h = d.pick([f for f in range(1, 9) if (size // w) % f == 0])
    return [d.g.op("Reshape", x, d.ints(1, -1, h, w))]


def resize(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if len(shape) != 4:
        return []
    scales = np.array([1, 1, d.number(1, 3), d.number(1, 2)], np.float32)
    return [d.g.op("Resize", x, None, d.g.constant(scales), mode="nearest",
                   coordinate_transformation_mode="asymmetric", nearest_mode="floor")]


def recurrent(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    shape = static_shape(x)
    if len(shape) != 3:
        return []
    kind, gates = d.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    direction = d.pick(["forward", "reverse", "bidirectional"])
    count, hidden = 2 if direction == "bidirectional" else 1, d.pick([1, 3, 5])
    attrs = {"hidden_size": hidden, "direction": direction}
    if kind == "GRU":
        attrs["linear_before_reset"] = d.number(0, 1)
    w = d.weights(count, gates * hidden, shape[2], scale=0.4)
    r = d.weights(count, gates * hidden, hidden, scale=0.4)
    b = d.weights(count, 2 * gates * hidden, scale=0.4) if d.rng.random() < 0.7 else None
    start = d.weights(count, shape[1], hidden) if d.rng.random() < 0.4 else None
    return d.g.ops(kind, x, w, r, b, None, start, outputs=d.pick([1, 2]), attrs=attrs)


def integers(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Through integers, bools and indices, and back to floats."""
    shape, g = static_shape(x), d.g
    if not shape:
        return []
    whole = d.pick([ir.DataType.INT32, ir.DataType.INT64])
    axis, style = d.number(0, len(shape) - 1), d.number(0, 5)
    if style == 0:
        made = g.op(d.pick(["ArgMax", "ArgMin"]), x, axis=axis, keepdims=d.number(0, 1))
        return [g.op("Cast", made, to=ir.DataType.FLOAT)]
    tens = g.op("Cast", g.mul(x, 10.0), to=whole)
    if style == 1:
        name = d.pick(["Add", "Sub", "Mul", "Max", "Min"])
        made = g.op(name, tens, d.pick([tens, g.scalar(3, tens)]))
        return [g.op("Cast", made, to=ir.DataType.FLOAT)]
    if style == 2:
        both = g.op(d.pick(["And", "Or"]), g.greater(x, 0.1), g.op("Equal", tens, tens))
        return [g.op("Where", both, x, g.op("Neg", x))]
    low = g.op("Clip", tens, g.scalar(0, tens), g.scalar(shape[axis] - 1, tens))
    if style == 3:
        return [g.op("GatherElements", x, low, axis=axis)]
    if style == 4:
        index = g.op("Reshape", low, d.ints(-1))
        return [g.op("Gather", x, index, axis=axis)]
    values = g.constant(np.array([0.25, 2], np.float32))
    return [g.op("OneHot", low, g.constant(np.array(shape[axis], np.int64)), values, axis=axis)]


def several(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """Operators of any number of inputs, and those with parameters along channels."""
    others = [v for v in d.values if _broadcasts(static_shape(v), static_shape(x))]
    if d.rng.random() < 0.5 and len(static_shape(x)) > 1:
        slopes = [static_shape(x)[1], *[1] * (len(static_shape(x)) - 2)]
        return [d.g.op("PRelu", x, d.weights(*slopes))]
    many = [x, *(d.pick([*others, x]) for _ in range(d.number(0, 3)))]
    many = [v for i, v in enumerate(many)
            if all(_broadcasts(static_shape(u), static_shape(v)) for u in many[:i])]
    return [d.g.op(d.pick(["Sum", "Mean", "Max", "Min"]), *many)]


def computed_weights(d: OpDrawer, x: ir.Value) -> Sequence[ir.Value]:
    """A product or convolution whose weights are not constant."""
    shape = static_shape(x)
    if len(shape) in (3, 4) and shape[0] == 1:
        kernel = d.g.op("Tanh", x)
        pads = [n // 2 for n in shape[2:]]
        return [d.g.op("Conv", x, kernel, pads=[*pads, *pads])]
    if len(shape) != 2:
        return []
    square = d.g.op("Gemm", x, x, transA=1)
    return [square, d.g.op("Gemm", x, square, d.g.op("ReduceMean", x, d.ints(0)))]


MOVES: tuple[Move, ...] = (
    integers, integers, several, computed_weights,
    unary, unary, guarded, with_constant, with_constant, with_value, with_value, select, transpose,
    transpose, reshape, flatten, squeeze, concat, concat, split, slices, slices, pad, expand, tile,
    gather, reduce, reduce, normalise, dense, matmul, matmul, conv, conv, conv, conv_transpose,
    pool, pool, image, image, resize, recurrent)

SHAPES = ((1, 3, 8, 8), (1, 1, 7, 5), (2, 17, 4, 4), (1, 4, 1, 1), (1, 4, 9), (2, 3, 5), (1, 12),
          (3, 6), (5,), (1, 2, 1, 6), (1, 16, 3, 3), (2, 2, 2, 2, 2))


def from_ops(seeds: Sequence[int], steps: int = 9) -> ir.Model:
    """One network a seed, side by side in one Model."""
    g = GraphBuilder("drawn")
    for seed in seeds:
        d = OpDrawer(g, (seed, 1))
        for _ in range(d.pick([1, 1, 2])):
            d.input(d.pick(SHAPES))
        d.grow(steps)
        d.finish()
    return g.model()


def from_exports(seeds: Sequence[int]) -> ir.Model:
    """Conv, BatchNormalization, Relu, MaxPool, Flatten, Gemm in PyTorch's order and layout."""
    g = GraphBuilder("exported")
    for seed in seeds:
        d = OpDrawer(g, (seed, 2))
        d.input((1, d.pick([1, 3, 17]), d.number(6, 12), d.number(6, 12)))
        for _ in range(d.number(1, 3)):
            for move in (conv, d.pick([unary, pool, with_constant])):
                d.values += [v for v in move(d, d.values[-1]) if 0 not in static_shape(v)]
        if d.rng.random() < 0.5:
            d.values += pool(d, d.values[-1])
        d.values.append(d.g.op("Flatten", d.values[-1]))
        for _ in range(d.number(1, 2)):
            d.values += dense(d, d.values[-1])
            d.values += unary(d, d.values[-1])
        d.finish()
    return g.model()
