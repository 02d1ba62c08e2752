"""One network of every element-wise operator on every type, and inputs that hold all edges."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder

SIGNED = ("int8", "int16", "int32", "int64")
INTEGERS = (*SIGNED, "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64", "float16", "bfloat16")
NUMBERS = (*INTEGERS, *FLOATS)
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
EDGES = (0, 1, 2, 3, 7, 100, 2**24, 2**24 + 1, 2**31, 2**32 - 1, 2**53 + 1, 1700000000, 1700000123)
FRACTIONS = (0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -3.25, 127.5, 65503.9, 65519.9, 65520.0,
             -65536.0, 6.0e-8, 2.9e-8, -3.1e-8, 1.0e-5, 1.00390625, 1.01171875, 3.3e38, 1e-40,
             np.inf, -np.inf, np.nan)
COUNT = 650
"""Elements of every input: all pairs of edges, and as many drawn numbers as there is room for."""


def dtype_of(name: str) -> np.dtype[np.generic]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def onnx_type(name: str) -> ir.DataType:
    return ir.DataType.from_numpy(dtype_of(name))


def edges(dtype: str) -> np.ndarray:
    """The numbers of `EDGES`, their negatives, and the ends of the range, as far as they fit."""
    if dtype in FLOATS:
        with np.errstate(all="ignore"):
            return np.array(FRACTIONS).astype(dtype_of(dtype))
    info = np.iinfo(dtype)
    every = {*EDGES, *(-e for e in EDGES), info.min, info.min + 1, info.max - 1, info.max}
    return np.array(sorted(e for e in every if info.min <= e <= info.max), dtype)


def drawn(dtype: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers of every size that the type has; floats moderate."""
    if dtype in FLOATS:
        return (rng.standard_normal(count) * 40).astype(dtype_of(dtype))
    bits = 8 * np.dtype(dtype).itemsize
    wide = rng.integers(0, 2**64, count, np.uint64) >> rng.integers(64 - bits, 64, count, np.uint64)
    return wide.astype(f"uint{bits}").view(dtype)


def feeds(seed: int) -> dict[str, np.ndarray]:
    """Inputs a (left), b (right), e (exponents), r (float32 within a type's range)."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in NUMBERS:
        some = edges(name)
        some = some[rng.permutation(len(some))[:25]]
        rest = COUNT - len(some)**2
        found[f"a_{name}"] = np.concatenate([np.repeat(some, len(some)), drawn(name, rng, rest)])
        found[f"b_{name}"] = np.concatenate([np.tile(some, len(some)), drawn(name, rng, rest)])
    for name in INTEGERS:
        found[f"e_{name}"] = rng.integers(0, 12, COUNT).astype(name)
        info = np.iinfo(name)
        inside = rng.uniform(max(info.min, -2.0**40), min(info.max, 2.0**40), COUNT)
        found[f"r_{name}"] = np.trunc(inside / 1.01).astype(np.float32) + np.float32(0.25)
    found["mask"] = rng.random(COUNT) < 0.5
    return found


def network() -> ir.Model:
    """Outputs are named OPERATOR_TYPE, casts cast_FROM_TO."""
    g = GraphBuilder("typed")
    for name, array in feeds(0).items():
        g.input(name, ir.DataType.from_numpy(array.dtype), array.shape)
    inputs = {str(v.name): v for v in g.graph.inputs}
    for name in NUMBERS:
        _arithmetic(g, inputs, name)
    for name in INTEGERS:
        _of_integers(g, inputs, name)
    for source in (*NUMBERS, "bool"):
        x = inputs["mask" if source == "bool" else f"a_{source}"]
        for goal in (*NUMBERS, "bool"):
            if not (source in FLOATS and goal in INTEGERS):
                g.output(f"cast_{source}_{goal}", g.op("Cast", x, to=onnx_type(goal)))
    _mixed(g, inputs)
    return g.model()


def _arithmetic(g: GraphBuilder, inputs: Mapping[str, ir.Value], name: str) -> None:
    a, b, mask = inputs[f"a_{name}"], inputs[f"b_{name}"], inputs["mask"]
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", *COMPARISONS):
        g.output(f"{op}_{name}", g.op(op, a, b))
    if name != "bfloat16":  # NumPy has no fmod for it
        g.output(f"Fmod_{name}", g.op("Mod", a, b, fmod=1))
    for op in ("Abs", "Sign", *(("Neg",) if name[0] != "u" else ())):
        g.output(f"{op}_{name}", g.op(op, a))
    g.output(f"Where_{name}", g.op("Where", mask, a, b))
    g.output(f"Identity_{name}", g.op("Identity", g.op("Reshape", a, g.ints(1, COUNT))))


def _of_integers(g: GraphBuilder, inputs: Mapping[str, ir.Value], name: str) -> None:
    a, b = (inputs[f"{k}_{name}"] for k in "ab")
    low, high = (g.constant(np.array(v, name)) for v in (3, np.iinfo(name).max - 2))
    g.output(f"Mod_{name}", g.op("Mod", a, b))
    g.output(f"Clip_{name}", g.op("Clip", a, low, high))
    g.output(f"Constant_{name}", g.op("Sub", high, a))
    for op in ("And", "Or", "Xor"):
        g.output(f"{op}_{name}", g.op(f"Bitwise{op}", a, b))
    g.output(f"Not_{name}", g.op("BitwiseNot", a))
    if name in SIGNED:
        g.output(f"Relu_{name}", g.op("Relu", a))
    else:
        for way in ("LEFT", "RIGHT"):
            g.output(f"Shift{way}_{name}", g.op("BitShift", a, b, direction=way))
    if name in ("int32", "int64"):
        for power in ("int8", "int32", "int64", "uint16"):
            g.output(f"Pow_{name}_{power}", g.op("Pow", a, inputs[f"e_{power}"]))
    g.output(f"cut_float32_{name}", g.op("Cast", inputs[f"r_{name}"], to=onnx_type(name)))


def _mixed(g: GraphBuilder, inputs: Mapping[str, ir.Value]) -> None:
    """Groups whose members have several types: one loop each."""
    long, other, single = inputs["a_int64"], inputs["b_int64"], inputs["r_int32"]
    byte = inputs["a_int8"]
    above = g.op("Greater", long, g.constant(np.array(2**53, np.int64)))
    g.output("mixed_where", g.mul(g.op("Where", above, single, inputs["r_int8"]), single))
    ones = g.op("Cast", g.op("Less", long, other), to=ir.DataType.INT64)
    g.output("mixed_count", g.add(g.mul(ones, long), other))
    narrow = g.op("Cast", g.add(long, other), to=ir.DataType.INT8)
    g.output("mixed_narrow", g.op("Cast", g.mul(narrow, byte), to=ir.DataType.FLOAT))
    back = g.op("Cast", g.op("Cast", single, to=ir.DataType.FLOAT16), to=ir.DataType.FLOAT)
    g.output("mixed_half", g.add(back, single))
    rounded = g.op("Cast", g.mul(inputs["r_int16"], 0.5), to=ir.DataType.INT32)
    g.output("mixed_cut", g.op("Equal", rounded, inputs["a_int32"]))
    both = g.op("Xor", above, g.op("Equal", byte, inputs["b_int8"]))
    g.output("mixed_masks", g.op("Where", both, inputs["a_uint64"], inputs["b_uint64"]))
    row = g.op("Reshape", long, g.ints(COUNT // 10, 10))
    line = g.op("Slice", other, g.ints(5), g.ints(15))
    column = g.op("Reshape", g.op("Slice", other, g.ints(0), g.ints(COUNT // 10)),
                  g.ints(COUNT // 10, 1))
    g.output("mixed_broadcast", g.op("Max", g.mul(row, line), g.op("Sub", row, column)))
    g.output("mixed_transposed", g.add(g.op("Transpose", row, perm=[1, 0]),
                                       g.op("Reshape", column, g.ints(1, COUNT // 10))))
