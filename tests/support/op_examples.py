"""One or more nodes for every operator row, with drawn inputs away from kinks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import GANGLION_DOMAIN
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import find
from ganglion.ops.values import static_shape

RNG = np.random.default_rng(20)


@dataclass(frozen=True)
class Example:
    """A node. `constants`: inputs that are initializers; `fixed`: float inputs without gradient;
    `peer`: ONNX Runtime has this operator with these attributes; `kink`:
    an input lies on one; `flows`: the only output with a gradient; `note` makes the name unique."""

    op: str
    inputs: Sequence[np.ndarray | None]
    attrs: Mapping[str, object] = field(default_factory=dict)
    outputs: int = 1
    constants: frozenset[int] = frozenset()
    fixed: frozenset[int] = frozenset()
    domain: str = ""
    peer: bool = True
    kink: bool = False
    flows: int | None = None
    note: str = ""

    def __str__(self) -> str:
        return f"{self.op}{'-' if self.note else ''}{self.note}"

    def build(self) -> tuple[GraphBuilder, ir.Node]:
        """A graph of this node alone, its outputs y0, y1, ... among the graph's."""
        g = GraphBuilder("example")
        return g, self.add_to(g)

    def add_to(self, g: GraphBuilder, prefix: str = "") -> ir.Node:
        """The node with inputs x0, x1, ... and outputs y0, y1, ..., all behind `prefix`."""
        values: list[ir.Value | None] = []
        for k, array in enumerate(self.inputs):
            if array is None:
                values.append(None)
            elif k in self.constants:
                values.append(g.constant(array, f"{prefix}c{k}"))
            else:
                values.append(g.input(f"{prefix}x{k}", ir.DataType.from_numpy(array.dtype),
                                      array.shape))
        outputs = g.ops(self.op, *values, outputs=self.outputs, domain=self.domain,
                        attrs=self.attrs)
        node = outputs[0].producer()
        assert node is not None
        for k, value in enumerate(outputs):
            g.output(f"{prefix}y{k}", value)
        return node

    def add_gradient(self, g: GraphBuilder, node: ir.Node, prefix: str = ""
                     ) -> tuple[dict[str, np.ndarray], list[int]]:
        """The row's vjp with inputs dy0, ... and outputs dx0, ...; drawn dys by name, and the
        inputs that got a gradient. Running statistics of a batch norm take no dy."""
        row = find(self.domain, self.op)
        assert row is not None
        assert row.vjp is not None
        rng = np.random.default_rng(7)
        drawn: dict[str, np.ndarray] = {}
        dys: list[ir.Value | None] = []
        for k, y in enumerate(node.outputs):
            statistic = self.op == "BatchNormalization" and k > 0
            if y.dtype != ir.DataType.FLOAT or statistic or self.flows not in (None, k):
                dys.append(None)
                continue
            shape = static_shape(y)
            drawn[f"{prefix}dy{k}"] = rng.standard_normal(shape)
            dys.append(g.input(f"{prefix}dy{k}", ir.DataType.FLOAT, shape))
        dxs = row.vjp(g, node, dys)
        assert len(dxs) == len(self.inputs)
        for k, dx in enumerate(dxs):
            if dx is not None:
                g.output(f"{prefix}dx{k}", dx)
        return drawn, [k for k, dx in enumerate(dxs) if dx is not None]

    def feeds(self, prefix: str = "") -> dict[str, np.ndarray]:
        """The inputs by name."""
        return {f"{prefix}x{k}": a for k, a in enumerate(self.inputs)
                if a is not None and k not in self.constants}


LATER = np.random.default_rng(21)
"""Of examples that came later: those before keep what they drew."""


def later(*shape: int) -> np.ndarray:
    return LATER.normal(size=shape).astype(np.float32)


def f(*shape: int) -> np.ndarray:
    """Normal numbers at least 0.05 away from 0."""
    x = RNG.standard_normal(shape)
    return np.asarray(x + np.sign(x) * 0.05, np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.asarray(RNG.uniform(0.3, 2.0, shape), np.float32)


def distinct(*shape: int) -> np.ndarray:
    """A shuffled row of numbers 0.1 apart, so that no extreme is tied."""
    return (RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.1 - 1.03).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def mask(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


C1, C2, C3, C12 = frozenset({1}), frozenset({2}), frozenset({3}), frozenset({1, 2})


def activations() -> list[Example]:
    x = np.concatenate([f(20), np.array([-3.4, 3.3, -9, 9, -30, 30], np.float32)]).reshape(2, 13)
    plain = ("Relu", "Sigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Mish", "Erf", "Gelu",
             "Elu", "Celu", "Selu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu")
    return [
        *(Example(name, [x]) for name in plain),
        Example("Gelu", [x], {"approximate": "tanh"}, note="tanh"),
        Example("Elu", [x], {"alpha": 0.7}, note="alpha"),
        Example("Celu", [x], {"alpha": 0.7}, note="alpha"),
        Example("Selu", [x], {"alpha": 1.5, "gamma": 1.1}, note="alpha"),
        Example("LeakyRelu", [x], {"alpha": 0.3}, note="alpha"),
        Example("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.4}, note="alpha"),
        Example("ThresholdedRelu", [x], {"alpha": 0.03}, note="alpha"),
        Example("PRelu", [f(2, 3, 4), f(3, 1)]),
        Example("Clip", [x, scalar(-0.51), scalar(0.73)], fixed=C12),
        Example("Clip", [x, None, scalar(0.73)], fixed=C2, constants=C2, note="upper"),
        Example("Clip", [x, scalar(0.0)], fixed=C1, constants=C1, note="lower"),
        Example("Clip", [x], note="unbounded"),
    ]


def arithmetic() -> list[Example]:
    wide, row, column = f(2, 3, 4), f(4), f(3, 1)
    one = ("Neg", "Abs", "Exp", "Sin", "Cos", "Reciprocal", "Floor", "Ceil", "Round", "Sign")
    variadic = ("Max", "Min", "Sum", "Mean")
    logic = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
    ints = RNG.integers(-2, 3, (3, 4))
    return [
        *(Example(name, [wide]) for name in one),
        Example("Round", [np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)], kink=True,
                note="halves"),
        *(Example(name, [positive(3, 4)]) for name in ("Sqrt", "Log")),
        *(Example(name, [wide, row]) for name in ("Add", "Sub", "Mul", "Div")),
        *(Example(name, [column, wide], note="column") for name in ("Add", "Sub", "Mul", "Div")),
        Example("Add", [f(3), f(3)], note="same"),
        Example("Div", [i64(-7, 7, -7, 7, 6), i64(2, 2, -2, -2, 3)], note="integers"),
        Example("Mod", [np.array([[5.3, -7.1, 2.9], [-4.4, 8.8, -0.9]], np.float32),
                        np.array([2.1, -3.2, 1.7], np.float32)], {"fmod": 1}),
        Example("Mod", [i64(-7, 7, -7, 7, 6), i64(2, 3, -2, -3, 3)], note="integers"),
        Example("Mod", [i64(-7, 7, -7, 7, 6), i64(2, 3, -2, -3, 3)], {"fmod": 1}, note="towards-0"),
        *(Example(name, [i64(-7, 5, 12), i64(6, -1, 10)])
          for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
        Example("BitwiseNot", [i64(-7, 5, 12)]),
        *(Example("BitShift", [np.array([1, 200, 7], np.uint8), np.array([7, 3, 0], np.uint8)],
                  {"direction": way}, note=way.lower()) for way in ("LEFT", "RIGHT")),
        Example("Pow", [positive(2, 3), f(3)]),
        Example("Pow", [wide, np.array(3, np.float32)], constants=C1, note="cube"),
        *(Example(name, [wide, f(3, 4), f(1)]) for name in variadic),
        *(Example(name, [wide], note="one") for name in variadic),
        *(Example(name, [wide, row]) for name in logic),
        *(Example(name, [ints, ints[:1]], note="integers") for name in logic),
        *(Example(name, [mask(2, 3), mask(3)]) for name in ("And", "Or")),
        Example("Xor", [np.array([[True, False]]), np.array([[True], [False]])]),
        Example("Not", [mask(2, 3)]),
        Example("Where", [mask(2, 3, 4), row, column]),
        Example("Cast", [f(2, 3)], {"to": int(ir.DataType.FLOAT)}),
        Example("Cast", [f(2, 3) * 3], {"to": int(ir.DataType.INT64)}, note="integer"),
        Example("Cast", [np.array([0, 1.5, -2], np.float32)], {"to": int(ir.DataType.BOOL)},
                note="bool"),
        Example("Cast", [mask(2, 3)], {"to": int(ir.DataType.FLOAT)}, note="from-bool"),
        Example("Cast", [ints], {"to": int(ir.DataType.FLOAT)}, note="from-integer"),
        Example("CastLike", [f(2, 3), f(1)], fixed=C1),
    ]


def linear() -> list[Example]:
    return [
        Example("MatMul", [f(3, 4), f(4, 2)]),
        Example("MatMul", [f(2, 3, 4), f(4, 2)], note="one-matrix"),
        Example("MatMul", [f(2, 3, 4), f(2, 4, 2)], note="batch"),
        Example("MatMul", [f(2, 1, 3, 4), f(3, 4, 2)], note="broadcast"),
        Example("MatMul", [f(3, 4), f(2, 4, 2)], note="left-broadcast"),
        Example("MatMul", [f(4), f(4, 2)], note="row"),
        Example("MatMul", [f(3, 4), f(4)], note="column"),
        Example("MatMul", [f(2, 3, 4), f(4)], note="batch-column"),
        Example("MatMul", [f(4), f(4)], note="dot"),
        Example("Gemm", [f(3, 4), f(4, 2), f(2)]),
        *(Example("Gemm", [f(4, 3) if ta else f(3, 4), f(2, 4) if tb else f(4, 2), f(3, 1)],
                  {"transA": ta, "transB": tb, "alpha": 0.5, "beta": 1.5}, note=f"{ta}{tb}")
          for ta in (0, 1) for tb in (0, 1)),
        Example("Gemm", [f(3, 4), f(4, 2)], note="no-bias"),
    ]


def convolution() -> list[Example]:
    x = f(2, 4, 7, 6)
    return [
        Example("Conv", [x, f(6, 4, 3, 3), f(6)]),
        Example("Conv", [x, f(6, 4, 3, 2)], {"strides": [2, 3], "pads": [1, 0, 2, 1]},
                note="strides"),
        Example("Conv", [x, f(6, 2, 3, 3), f(6)],
                {"group": 2, "dilations": [2, 1], "pads": [2, 1, 2, 1]}, note="groups"),
        Example("Conv", [x, f(8, 1, 3, 3)], {"group": 4, "auto_pad": "SAME_LOWER",
                                             "strides": [2, 2]}, note="depthwise"),
        Example("Conv", [f(2, 3, 9), f(4, 3, 4), f(4)], {"strides": [2], "auto_pad": "VALID"},
                note="1d"),
        Example("ConvTranspose", [x, f(4, 3, 3, 3), f(3)]),
        Example("ConvTranspose", [x, f(4, 3, 3, 3)],
                {"strides": [2, 3], "pads": [1, 0, 2, 1], "output_padding": [1, 2]},
                note="strides"),
        Example("ConvTranspose", [x, f(4, 3, 2, 3), f(6)],
                {"group": 2, "strides": [2, 2], "auto_pad": "SAME_UPPER"}, note="groups"),
        Example("ConvTranspose", [f(2, 3, 5), f(3, 2, 4)], {"strides": [2], "dilations": [2]},
                note="1d"),
        Example("ConvTranspose", [x, f(4, 3, 3, 3)],
                {"strides": [2, 3], "auto_pad": "SAME_LOWER"}, note="lower"),
        Example("ConvTranspose", [x, f(4, 3, 3, 3), f(3)],
                {"strides": [2, 2], "output_shape": [12, 13]}, note="shape"),
        Example("ConvTranspose", [x, f(4, 3, 3, 3)],
                {"strides": [2, 2], "output_shape": [18, 19]}, note="longer", peer=False),
    ]


def pooling() -> list[Example]:
    x = distinct(2, 3, 7, 6)
    found = []
    for name in ("MaxPool", "AveragePool"):
        extra = {"count_include_pad": 1} if name == "AveragePool" else {}
        found += [
            Example(name, [x], {"kernel_shape": [2, 2], "strides": [2, 2]}),
            Example(name, [x], {"kernel_shape": [3, 3], "strides": [2, 2],
                                "auto_pad": "SAME_UPPER"}, note="same"),
            Example(name, [x], {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1,
                                "pads": [1, 0, 1, 1], **extra}, note="ceil"),
            Example(name, [x], {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 1, 1, 1],
                                "dilations": [2, 1], **extra}, note="dilated"),
            Example(name, [distinct(2, 3, 9)], {"kernel_shape": [3]}, note="1d"),
            Example(f"Global{name}", [x]),
            Example(f"Global{name}", [distinct(2, 3, 9)], note="1d"),
        ]
    return found


def normalization() -> list[Example]:
    return [
        Example("BatchNormalization", [f(3, 4, 2, 5), f(4), f(4), f(4), positive(4)],
                {"epsilon": 1e-3}),
        Example("BatchNormalization", [f(5, 4), f(4), f(4), f(4), positive(4)], note="rows"),
        Example("BatchNormalization", [f(3, 4, 2, 5), f(4), f(4), f(4), positive(4)],
                {"training_mode": 1, "momentum": 0.8}, outputs=3, fixed=frozenset({3, 4}),
                note="training"),
        Example("BatchNormalization", [f(6, 4), f(4), f(4), f(4), positive(4)],
                {"training_mode": 1}, outputs=3, fixed=frozenset({3, 4}), note="training-rows"),
        Example("LayerNormalization", [f(2, 3, 4), f(4), f(4)]),
        Example("LayerNormalization", [f(2, 3, 4), f(4)], {"epsilon": 1e-3}, note="no-bias"),
        Example("LayerNormalization", [f(2, 3, 4), f(3, 4), f(3, 4)], {"axis": 1}, note="axis"),
    ]


def reduction() -> list[Example]:
    found = []
    for name in ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L2"):
        x = distinct(2, 3, 4)
        found += [Example(f"Reduce{name}", [x, i64(1)], constants=C1),
                  Example(f"Reduce{name}", [x, i64(-1, 0)], {"keepdims": 0}, constants=C1,
                          note="two"),
                  Example(f"Reduce{name}", [x], note="all"),
                  Example(f"Reduce{name}", [x], {"noop_with_empty_axes": 1}, note="none")]
    for name in ("ArgMax", "ArgMin"):
        found += [Example(name, [distinct(2, 3, 4)]),
                  Example(name, [np.zeros((2, 3), np.float32)], {"axis": 1, "keepdims": 0},
                          note="ties"),
                  Example(name, [np.zeros((2, 3), np.float32)],
                          {"axis": -1, "select_last_index": 1}, note="last")]
    for name in ("Softmax", "LogSoftmax"):
        found += [Example(name, [f(3, 5) * 20]), Example(name, [f(2, 3, 4)], {"axis": 1},
                                                         note="axis")]
    found += compounds()
    grid = LATER.uniform(-1.3, 1.3, (2, 5, 4, 2)).astype(np.float32)
    found += [Example("GridSample", [later(2, 3, 6, 7), grid],
                      {"mode": mode, "padding_mode": padding, "align_corners": align},
                      note=f"{mode} {padding} {align}")
              for mode in ("nearest", "linear", "cubic")
              for padding in ("zeros", "border", "reflection") for align in (0, 1)]
    found += [Example("Einsum", [later(2, 3, 4), later(2, 4, 5)], {"equation": "bij,bjk->bik"},
                      note="batches"),
              Example("Einsum", [later(2, 3, 4)], {"equation": "ijk -> ki"}, note="one operand"),
              Example("Einsum", [later(3, 4), later(4), later(5, 4)], {"equation": "ij,j,kj"},
                      note="implied"),
              Example("Einsum", [later(2, 2, 3, 4), later(2, 4, 5)],
                      {"equation": "...ij,...jk->...ki"}, peer=False, note="dots"),
              Example("Einsum", [later(3), later(4)], {"equation": "i,j->ij"}, note="outer")]
    found += [Example("Hardmax", [distinct(2, 3, 4)], note="last axis"),
              Example("Hardmax", [distinct(2, 3, 4)], {"axis": 1}),
              Example("Hardmax", [np.zeros((2, 3), np.float32)], kink=True, note="ties")]
    return found


def compounds() -> list[Example]:
    """Operators that are made of others."""
    x, axes = later(2, 4, 3, 4), i64(1, 3)
    codes = LATER.integers(0, 255, (3, 4)).astype(np.uint8)
    weights = LATER.integers(-99, 99, (4, 5)).astype(np.int8)
    found = [
        Example("InstanceNormalization", [x, later(4), later(4)], {"epsilon": 0.01}),
        Example("GroupNormalization", [x, later(4), later(4)], {"num_groups": 2}, peer=False),
        Example("MeanVarianceNormalization", [x]),
        Example("LpNormalization", [x], {"axis": 1}), Example("LpNormalization", [x], {"p": 1},
                                                              note="sizes"),
        Example("LRN", [x], {"size": 3, "alpha": 0.5}),
        Example("LRN", [x], {"size": 2, "beta": 0.5}, peer=False, note="even"),
        Example("DepthToSpace", [x], {"blocksize": 2}),
        Example("DepthToSpace", [x], {"blocksize": 2, "mode": "CRD"}, note="columns"),
        Example("SpaceToDepth", [later(2, 3, 4, 6)], {"blocksize": 2}),
        Example("CumSum", [x, np.int64(2)], constants=C1),
        Example("CumSum", [x, np.int64(-1)], {"exclusive": 1, "reverse": 1}, constants=C1,
                note="behind"),
        Example("Trilu", [x]), Example("Trilu", [x, np.int64(-1)], {"upper": 0}, constants=C1,
                                       note="lower"),
        Example("DynamicQuantizeLinear", [later(3, 5)], outputs=3),
        Example("MatMulInteger", [codes, weights]),
        Example("MatMulInteger", [codes, weights, np.asarray(7, np.uint8),
                                  np.asarray(-3, np.int8)], note="zero points"),
        *(Example(name, [later(3, 5)]) for name in ("Tan", "Sinh", "Cosh"))]
    for name in ("ReduceL1", "ReduceLogSum", "ReduceLogSumExp"):
        found += [Example(name, [np.abs(x) + np.float32(0.1), axes], constants=C1),
                  Example(name, [np.abs(x) + np.float32(0.1)], {"keepdims": 0}, note="all")]
    return found


def movement() -> list[Example]:
    x = f(2, 3, 4)
    return [
        Example("Reshape", [x, i64(3, -1)], constants=C1),
        Example("Flatten", [x], {"axis": 2}),
        Example("Squeeze", [f(2, 1, 3), i64(1)], constants=C1),
        Example("Unsqueeze", [x, i64(0, -1)], constants=C1),
        Example("Identity", [x]),
        Example("Dropout", [x]),
        Example("Transpose", [x]),
        Example("Transpose", [x], {"perm": [1, 2, 0]}, note="perm"),
        Example("Concat", [x, f(2, 1, 4), f(2, 2, 4)], {"axis": 1}),
        Example("Concat", [x], {"axis": -1}, note="one"),
        Example("Split", [x, i64(1, 3)], {"axis": 2}, outputs=2, constants=C1),
        Example("Split", [x, i64(1, 3)], {"axis": 2}, outputs=2, constants=C1, flows=1,
                note="part"),
        Example("Split", [f(7, 2)], {"num_outputs": 3}, outputs=3, note="uneven"),
        Example("Slice", [x, i64(1, 0), i64(4, 2), i64(2, 1)], constants=frozenset({1, 2, 3})),
        Example("Slice", [f(7, 6), i64(-2, 5), i64(-100, 100), i64(0, 1), i64(-2, 1)],
                constants=frozenset({1, 2, 3, 4}), note="steps"),
        Example("Slice", [f(5), i64(0), i64(5)], constants=C12, note="all"),
        Example("Pad", [x, i64(0, 1, 2, 0, 3, 1), scalar(1.5)], constants=C12, fixed=C2),
        Example("Pad", [x, i64(0, 1, 2, 0, 0, 1), scalar(0.5)], constants=C1, fixed=C2,
                note="given"),
        Example("Pad", [x, i64(-1, 2, 1, -1), None, i64(2, 0)], constants=frozenset({1, 3}),
                note="crop"),
        *(Example("Pad", [x, i64(0, 1, 2, 0, 2, 1)], {"mode": mode}, constants=C1, note=mode)
          for mode in ("edge", "reflect", "wrap")),
        Example("Expand", [f(3, 1), i64(2, 1, 4)], constants=C1),
        Example("Tile", [f(2, 3), i64(2, 3)], constants=C1),
        Example("Shape", [x]),
        Example("Size", [x]),
        Example("Constant", [], {"value": f(2, 3)}, peer=False),
        Example("ConstantOfShape", [i64(2, 3)], {"value": f(1)}, constants=frozenset({0})),
        Example("Range", [np.array(2, np.int64), np.array(9, np.int64), np.array(3, np.int64)],
                constants=frozenset({0, 1, 2})),
        Example("OneHot", [i64(0, 3, -1, 9), np.array(4, np.int64), np.array([0.5, 2], np.float32)],
                constants=C1, fixed=C2),
        Example("OneHot", [np.array([[0, 1], [2, 0]]), np.array([3]), np.array([0, 1])],
                {"axis": 1}, constants=C1, note="axis"),
    ]


def indexing() -> list[Example]:
    return [
        Example("Gather", [f(5, 3), np.array([[0, 4], [-1, 0]])]),
        Example("Gather", [f(2, 5, 3), i64(4, 1, 1)], {"axis": 1}, note="axis"),
        Example("Gather", [f(2, 5, 3), np.array([[0, 2], [-1, 0]], np.int32)], {"axis": -1},
                note="last"),
        Example("Gather", [f(5, 3), np.array(2)], note="one"),
        Example("GatherElements", [f(4, 5), np.array([[0], [3], [-1], [2]])], {"axis": 1}),
        Example("GatherElements", [f(4, 5), RNG.integers(-4, 4, (3, 5))], note="rows"),
        Example("ScatterND", [f(5, 3), np.array([[1], [4], [1]]), f(3, 3)],
                {"reduction": "add"}),
        Example("ScatterND", [f(5, 3), np.array([[1], [4]]), f(2, 3)], note="set"),
        Example("ScatterElements", [f(4, 5), RNG.integers(-4, 4, (3, 5)), f(3, 5)],
                {"reduction": "add"}),
        Example("ScatterElements", [f(3, 4), np.array([[0, 3], [2, 1]]), f(2, 2)], {"axis": 1},
                note="set"),
        Example("Resize", [f(1, 2, 3, 4), None, np.array([1, 1, 2, 3], np.float32)],
                {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
                constants=C2, fixed=C2),
        Example("Resize", [f(1, 2, 3, 4), None, np.array([1, 1, 3, 2], np.float32)],
                constants=C2, fixed=C2, note="half-pixel"),
        Example("Resize", [f(1, 2, 4, 4), None, None, i64(1, 2, 6, 3)], constants=C3,
                note="uneven"),
        Example("Resize", [f(1, 2, 3, 4), None, np.array([1, 1, 2, 2], np.float32)],
                {"mode": "linear"}, constants=C2, fixed=C2, note="linear"),
        Example("Resize", [f(1, 2, 3, 4), None, None, i64(1, 2, 5, 7)],
                {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
                constants=C3, note="corners"),
    ]


def recurrent() -> list[Example]:
    found = []
    steps, batch, size, hidden = 4, 2, 3, 2
    for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for direction in ("forward", "reverse", "bidirectional"):
            for linear in (0, 1) if name == "GRU" else (0,):
                d = 2 if direction == "bidirectional" else 1
                w, r = f(d, gates * hidden, size), f(d, gates * hidden, hidden)
                attrs = {"hidden_size": hidden, "direction": direction}
                if name == "GRU":
                    attrs["linear_before_reset"] = linear
                states = 2 if name == "LSTM" else 1
                start = [f(d, batch, hidden) for _ in range(states)]
                found.append(Example(name, [f(steps, batch, size), w, r, f(d, 2 * gates * hidden),
                                            None, *start], attrs, outputs=states + 1,
                                     note=f"{direction}{linear or ''}"))
        found.append(Example(name, [f(steps, batch, size), f(1, gates * hidden, size),
                                    f(1, gates * hidden, hidden)], {"hidden_size": hidden},
                             note="bare"))
        found.append(Example(name, [f(steps, batch, size), f(1, gates * hidden, size),
                                    f(1, gates * hidden, hidden)], {"hidden_size": hidden},
                             outputs=2, flows=1, note="last"))
        pair = {"LSTM": ["HardSigmoid", "Softsign", "Tanh"], "GRU": ["HardSigmoid", "Softsign"],
                "RNN": ["Softsign"]}[name]
        found.append(Example(name, [f(steps, batch, size), f(1, gates * hidden, size),
                                    f(1, gates * hidden, hidden)],
                             {"hidden_size": hidden, "activations": pair}, note="functions"))
    return found


def own() -> list[Example]:
    state = np.array([1, 2, 3, 4], np.uint32)
    w, scales = RNG.integers(-127, 128, (6, 3, 3, 3), np.int8), np.abs(f(6))
    weights = frozenset({1, 2, 3})
    steps = np.float32([0.01, 0.2, 0.05]).reshape(3, 1, 1)
    return [
        Example("Uniform", [state], {"shape": [2, 5]}, outputs=2, domain=GANGLION_DOMAIN),
        Example("HybridConv", [f(2, 3, 5, 4), w, scales, f(6)], {"pads": [1, 0, 1, 2]},
                domain=GANGLION_DOMAIN, constants=weights),
        Example("HybridConv", [f(2, 3, 5, 4), w[:, :, :1, :1], scales[:1], f(6)],
                domain=GANGLION_DOMAIN, constants=weights, note="pixels"),
        Example("HybridGemm", [f(2, 5, 27), w.reshape(6, 27).T.copy(), scales],
                domain=GANGLION_DOMAIN, constants=weights - {3}),
        Example("FakeQuantize", [f(4, 6), np.float32([0.02])], {"zero_point": -20},
                domain=GANGLION_DOMAIN, kink=True),
        Example("FakeQuantize", [f(3, 2, 5), steps], {"low": -7, "high": 7, "gain": 0.5},
                domain=GANGLION_DOMAIN, kink=True, note="4-bit-channels"),
    ]


def known_places() -> list[Example]:
    """Operators made of products and of rows at places that are known."""
    theta, small = later(2, 2, 3), np.clip(later(3, 5), -0.9, 0.9)
    signal, image = later(2, 10, 1), later(1, 2, 6, 7)
    odd = np.array([[np.inf, -np.inf, np.nan], [1, -2, 0]], np.float32)
    found = [
        *(Example(name, [small]) for name in ("Asin", "Acos", "Atanh")),
        *(Example(name, [5 * later(3, 5)]) for name in ("Atan", "Asinh")),
        Example("Acosh", [np.abs(later(3, 5)) + np.float32(1.1)]),
        Example("IsNaN", [odd]), Example("IsInf", [odd]),
        Example("IsInf", [odd], {"detect_negative": 0}, note="above"),
        Example("DFT", [later(2, 8, 1)], {"onesided": 1}),
        Example("DFT", [later(2, 6, 2)], note="complex"),
        Example("DFT", [later(5, 3, 1), np.int64(8), np.int64(0)], {"inverse": 1}, note="padded",
                constants=C12),
        Example("DFT", [later(2, 5, 2)], {"inverse": 1, "onesided": 1}, note="back", peer=False),
        Example("STFT", [signal, np.int64(3), np.hanning(4).astype(np.float32)], constants=C12,
                fixed=C2),
        Example("STFT", [later(1, 9, 2), np.int64(2), None, np.int64(5)], {"onesided": 0},
                constants=frozenset({1, 3}), note="complex"),
        Example("AffineGrid", [theta, i64(2, 1, 3, 4)], constants=C1),
        Example("AffineGrid", [theta, i64(2, 1, 3, 4)], {"align_corners": 1}, constants=C1,
                note="corners"),
        Example("GatherND", [later(3, 4, 2), np.array([[0, -1], [2, 1]])]),
        Example("GatherND", [later(2, 3, 4), np.array([[2], [-3]])], {"batch_dims": 1},
                note="batch"),
        Example("ReverseSequence", [later(4, 3, 2), i64(4, 1, 2)]),
        Example("ReverseSequence", [later(3, 4), i64(3, 4, 1)], {"batch_axis": 0, "time_axis": 1},
                note="batch"),
        Example("Compress", [later(4, 3), np.array([False, True, True])], {"axis": 0},
                constants=C1),
        Example("Compress", [later(2, 3), np.array([True, False, True])], constants=C1,
                note="flat"),
        Example("EyeLike", [later(3, 4)], {"k": -1}),
        Example("TopK", [distinct(3, 7), i64(3)], outputs=2, constants=C1, flows=0),
        Example("TopK", [distinct(2, 5, 3), i64(2)], {"axis": 1, "largest": 0}, outputs=2,
                constants=C1, flows=0, note="least"),
        Example("GlobalLpPool", [image], {"p": 1}),
        Example("Col2Im", [later(2, 12, 9), i64(5, 6), i64(2, 3)], {"strides": [2, 2],
                "pads": [0, 1, 1, 1]}, constants=C12, note="strides"),
        Example("Col2Im", [later(1, 6, 6), i64(7), i64(3)], {"strides": [1], "dilations": [1],
                "pads": [0, 1]}, constants=C12, peer=False, note="line")]
    return found + [Example("LpPool", [image], {"kernel_shape": [2, 3], "p": p, **attrs}, note=note)
                    for p, attrs, note in ((2, {}, ""), (1, {"strides": [2, 1]}, "sizes"),
                                           (3, {"pads": [0, 1, 1, 1]}, "cubes"))]


def all_examples() -> list[Example]:
    """Every example; the same each time within one process."""
    return [*activations(), *arithmetic(), *linear(), *convolution(), *pooling(),
            *normalization(), *reduction(), *movement(), *indexing(), *recurrent(), *own(),
            *known_places()]
