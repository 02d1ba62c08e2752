"""Quantised networks of one operator, with what the operator gives in real numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tests.support import tflite_examples as floats
from tests.support.tflite_files import Options, TfliteFile

Array = np.ndarray


@dataclass(frozen=True)
class Q:
    """Codes with their meaning. `constant`: they stand in the file."""

    codes: Array
    scale: float | Sequence[float]
    zero: int = 0
    axis: int = 0
    constant: bool = False

    @property
    def real(self) -> Array:
        scale = np.asarray(self.scale, np.float64)
        if scale.ndim:
            scale = scale.reshape([-1 if k == self.axis else 1 for k in range(self.codes.ndim)])
        real: Array = (self.codes.astype(np.float64) - self.zero) * scale
        return real


@dataclass(frozen=True)
class Quantized:
    """A file, its inputs as codes, the outputs in real numbers, and how these are quantised."""

    name: str
    data: bytes
    inputs: Sequence[Array]
    expected: Array
    scale: float
    zero: int
    dtype: str

    @property
    def codes(self) -> Array:
        """The nearest codes of what is expected."""
        info = np.iinfo(self.dtype)
        return np.clip(np.rint(self.expected / np.float32(self.scale)) + self.zero, info.min,
                       info.max).astype(self.dtype)


def quantized(name: str, op: str, operands: Sequence[Q | floats.Const | None], expected: Array,
              options: Options | None = None, out: tuple[float, int] | None = None,
              dtype: str | None = None) -> Quantized:
    """A network of one operator; `out`: scale and zero point, else made from the range."""
    file, reads, ports, given = TfliteFile(), [], [], []
    for k in operands:
        if k is None:
            reads.append(-1)
        elif isinstance(k, floats.Const):
            reads.append(file.constant(k.array))
        elif k.constant:
            reads.append(file.constant(k.codes, scale=k.scale, zero=k.zero, axis=k.axis))
        else:
            reads.append(file.tensor(k.codes.shape, str(k.codes.dtype), scale=k.scale,
                                     zero=k.zero))
            ports.append(reads[-1])
            given.append(k.codes)
    dtype = dtype or str(given[0].dtype)
    scale, zero = out or _range(expected, dtype)
    y = file.tensor(expected.shape, dtype, scale=scale, zero=zero)
    file.op(op, reads, [y], options)
    return Quantized(name, file.build(ports, [y]), given, expected, scale, zero, dtype)


def _range(real: Array, dtype: str) -> tuple[float, int]:
    info = np.iinfo(dtype)
    if dtype == "int16":
        return float(np.float32(np.abs(real).max() / info.max)), 0
    lo, hi = min(real.min(), 0.0), max(real.max(), 0.0)
    scale = float(np.float32((hi - lo) / 255))
    return scale, int(np.clip(np.rint(info.min - lo / scale), info.min, info.max))


@dataclass(frozen=True)
class Maker:
    """Draws operands for networks of one activation type."""

    rng: np.random.Generator
    dtype: str

    def x(self, *shape: int, scale: float = 0.03, zero: int | None = None) -> Q:
        info = np.iinfo(self.dtype)
        middle = 0 if self.dtype == "int16" else int(info.min) + 120 if zero is None else zero
        codes = self.rng.integers(info.min, info.max, shape, endpoint=True).astype(self.dtype)
        return Q(codes, scale / (256 if self.dtype == "int16" else 1), middle)

    def w(self, *shape: int, axis: int | None) -> Q:
        """Weights: int8 symmetric, or uint8 around 128 for networks of uint8."""
        if self.dtype == "uint8":
            codes = self.rng.integers(1, 256, shape).astype(np.uint8)
            return Q(codes, 0.01, 128, constant=True)
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = 0.01 if axis is None else list(self.rng.uniform(0.005, 0.02, shape[axis]))
        return Q(codes, np.float32(scale).tolist(), 0, axis or 0, True)

    def b(self, x: Q, w: Q, count: int) -> Q:
        """A bias in steps of both scales; int64 for networks of int16."""
        wide = np.int64 if self.dtype == "int16" else np.int32
        codes = self.rng.integers(-2000, 2000, count).astype(wide)
        steps = np.float32(x.scale) * np.float32(w.scale)
        return Q(codes, steps.tolist(), 0, 0, True)


def products(m: Maker) -> list[Quantized]:
    """Convolutions and dense layers with fused activations."""
    found = []
    same = {"padding": 0, "stride_h": 2, "stride_w": 1}
    for axis in (0, None):
        x = m.x(1, 6, 5, 3)
        w = m.w(4, 3, 3, 3, axis=axis)
        b = m.b(x, w, 4)
        y = floats.conv(x.real, w.real, b.real, 0, (2, 1))
        found.append(quantized(f"conv axis {axis}", "CONV_2D", [x, w, b], np.maximum(y, 0),
                               ("Conv2DOptions", {**same, "fused_activation_function": 1})))
    x, d = m.x(1, 6, 5, 4), m.w(1, 3, 3, 4, axis=3)
    b = m.b(x, d, 4)
    found.append(quantized("depthwise", "DEPTHWISE_CONV_2D", [x, d, b],
                           np.clip(floats.depthwise(x.real, d.real, b.real, (1, 1)), 0, 6),
                           ("DepthwiseConv2DOptions", {
                               "padding": 0, "stride_h": 1, "stride_w": 1, "depth_multiplier": 1,
                               "fused_activation_function": 3})))
    x, t = m.x(1, 3, 4, 3), m.w(2, 3, 3, 3, axis=0)
    found.append(quantized("transpose conv", "TRANSPOSE_CONV", [floats.ints(1, 6, 8, 2), t, x],
                           floats.transpose_conv(x.real, t.real, (1, 6, 8, 2), (2, 2), 0),
                           ("TransposeConvOptions", {"padding": 0, "stride_h": 2,
                                                     "stride_w": 2})))
    x, w = m.x(2, 12), m.w(5, 12, axis=None)
    b = m.b(x, w, 5)
    found.append(quantized("dense", "FULLY_CONNECTED", [x, w, b], x.real @ w.real.T + b.real,
                           ("FullyConnectedOptions", {})))
    return found


def spatial(m: Maker) -> list[Quantized]:
    """Pools and moves, which keep the scale."""
    x = m.x(1, 6, 4, 3)
    out = (x.scale, x.zero)
    parts = floats.patches(x.real, (2, 2), (2, 2))
    pool: Options = ("Pool2DOptions", {"padding": 1, "stride_h": 2, "stride_w": 2,
                                       "filter_height": 2, "filter_width": 2})
    return [
        quantized("max pool", "MAX_POOL_2D", [x], parts.max((3, 4)), pool, out),
        quantized("average pool", "AVERAGE_POOL_2D", [x], parts.mean((3, 4)), pool, out),
        quantized("reshape", "RESHAPE", [x, floats.ints(-1, 3)], x.real.reshape(-1, 3), None, out),
        quantized("pad", "PAD", [x, floats.Const(np.int32([[0, 0], [1, 0], [0, 2], [0, 0]]))],
                  np.pad(x.real, [(0, 0), (1, 0), (0, 2), (0, 0)]), None, out),
        quantized("resize", "RESIZE_NEAREST_NEIGHBOR", [x, floats.ints(12, 8)],
                  x.real.repeat(2, 1).repeat(2, 2), ("ResizeNearestNeighborOptions", {}), out),
        quantized("resize linear", "RESIZE_BILINEAR", [x, floats.ints(6, 4)], x.real,
                  ("ResizeBilinearOptions", {}), out)]


def elementwise(m: Maker) -> list[Quantized]:
    """Arithmetic of two scales, functions, reductions."""
    x, y = m.x(2, 3, 4), m.x(2, 3, 4, scale=0.017, zero=m.x(1).zero + 9)
    c = Q(y.codes[:1, :1], y.scale, y.zero, constant=True)

    def soft(v: Array) -> Array:
        e = np.exp(v - v.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def one(name: str, function: Callable[[Array], Array], out: tuple[float, int] | None = None,
            options: Options | None = None) -> Quantized:
        return quantized(name, name, [x], function(x.real), options, out)

    unit, signed = _fixed(m.dtype)
    relu = ("AddOptions", {"fused_activation_function": 1})
    joined = np.concatenate([x.real, y.real], 1)
    return [
        quantized("add", "ADD", [x, y], np.maximum(x.real + y.real, 0), relu),
        quantized("sub constant", "SUB", [x, c], x.real - c.real, ("SubOptions", {})),
        quantized("mul", "MUL", [x, y], x.real * y.real, ("MulOptions", {})),
        quantized("concat", "CONCATENATION", [x, y], joined, ("ConcatenationOptions", {"axis": 1})),
        quantized("mean", "MEAN", [x, floats.ints(1)], x.real.mean(1), ("ReducerOptions", {})),
        one("SOFTMAX", soft, unit, ("SoftmaxOptions", {"beta": 1.0})),
        one("LOGISTIC", lambda v: 1 / (1 + np.exp(-v)), unit), one("TANH", np.tanh, signed),
        one("RELU", lambda v: np.maximum(v, 0)), one("QUANTIZE", lambda v: v, (0.041, x.zero)),
        one("LEAKY_RELU", lambda v: np.where(v > 0, v, 0.1 * v), None,
            ("LeakyReluOptions", {"alpha": 0.1}))]


def _fixed(dtype: str) -> tuple[tuple[float, int], tuple[float, int]]:
    """What TensorFlow Lite demands of results in [0, 1] and [-1, 1]."""
    if dtype == "int16":
        return (1 / 32768, 0), (1 / 32768, 0)
    low = int(np.iinfo(dtype).min)
    return (1 / 256, low), (1 / 128, low + 128)


def quantized_examples(dtype: str) -> list[Quantized]:
    """All for one activation type, the same at every call."""
    m = Maker(np.random.default_rng(11), dtype)
    return [*products(m), *spatial(m), *elementwise(m)]
