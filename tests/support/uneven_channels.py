"""One product whose output channels have weights and biases of very different sizes."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.quantized.qdq import array_of

CHANNELS = 4
SIZES = (0.0, 1e-42, 1e-30, 1e-12, 1e-4, 0.03, 1.0, 40.0, 1e5)
"""Of weights: none, below the normal float32, tiny to huge."""
BIASES = (0.0, 1e-30, -0.003, 0.4, -7.0, 300.0, -4e4, 1e6)
SCALES = (1e-4, 0.02, 1.0, 255.0)
"""Of inputs."""


@dataclass(frozen=True)
class Layer:
    """An ONNX product: operator, the shapes of x and w, the axis of outputs in w, attributes;
    `bias_behind`: an Add adds the bias."""

    op: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    axis: int
    attrs: dict[str, int]
    bias_behind: bool = False


LAYERS = {
    "conv": Layer("Conv", (3, 4, 4), (CHANNELS, 3, 2, 2), 0, {}),
    "grouped": Layer("Conv", (4, 4, 4), (CHANNELS, 2, 2, 2), 0, {"group": 2}),
    "depthwise": Layer("Conv", (CHANNELS, 4, 4), (CHANNELS, 1, 3, 3), 0, {"group": CHANNELS}),
    "transposed": Layer("ConvTranspose", (3, 3, 3), (3, CHANNELS, 2, 2), 1, {}),
    "transposed_groups": Layer("ConvTranspose", (4, 3, 3), (4, 2, 2, 2), -1, {"group": 2}),
    "gemm": Layer("Gemm", (6,), (CHANNELS, 6), 0, {"transB": 1}),
    "gemm_plain": Layer("Gemm", (6,), (6, CHANNELS), 1, {}),
    "matmul": Layer("MatMul", (6,), (6, CHANNELS), 1, {}, True)}
"""Axis -1: the outputs of a grouped ConvTranspose, two a group."""


def weights(layer: Layer, sizes: tuple[float, ...], seed: int) -> np.ndarray:
    """Weights whose output channels have the given sizes."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(-1, 1, layer.w)
    if layer.axis < 0:
        half = layer.w[0] // 2
        split = np.asarray(sizes).reshape(2, 2)
        w[:half] *= split[0].reshape(1, 2, 1, 1)
        w[half:] *= split[1].reshape(1, 2, 1, 1)
    else:
        w = w * np.asarray(sizes).reshape([-1 if k == layer.axis else 1 for k in range(w.ndim)])
    return w.astype(np.float32)


def network(layer: Layer, w: np.ndarray, bias: np.ndarray, clamp: str | None) -> ir.Model:
    """x → product → [Relu | Clip to 6] → y."""
    g = GraphBuilder("uneven")
    x = g.input("x", ir.DataType.FLOAT, ("N", *layer.x))
    kernel, b = g.constant(w, "w"), g.constant(bias.astype(np.float32), "b")
    if layer.bias_behind:
        y = g.op("Add", g.op(layer.op, x, kernel, **layer.attrs), b)
    else:
        y = g.op(layer.op, x, kernel, b, **layer.attrs)
    if clamp == "relu":
        y = g.op("Relu", y)
    elif clamp == "relu6":
        y = g.op("Clip", y, g.constant(np.float32(0)), g.constant(np.float32(6)))
    g.output("y", y)
    return g.model()


@dataclass(frozen=True)
class Codes:
    """Of a quantised network: the numbers that its product multiplies for one batch, the step of
    its sums (one a channel, 0 without weights), the step and the limits of its output."""

    x: np.ndarray
    w: np.ndarray
    sum_step: np.ndarray
    step: float
    limits: tuple[float, float]


def codes_of(layer: Layer, model: ir.Model, x: np.ndarray) -> Codes:
    """What the product of a quantised Model reads, and what its output can say."""
    seen: dict[str, np.ndarray] = {}

    def record(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        seen[str(node.outputs[0].name)] = outputs[0]
        return outputs

    evaluate(model, {"x": x}, on_node=record)
    product = next(n for n in model.graph if n.op_type in ("Conv", "ConvTranspose", "Gemm",
                                                           "MatMul"))
    last = [n for n in model.graph if n.op_type == "QuantizeLinear"][-1]
    scale, zero = (array_of(v).reshape(()) for v in last.inputs[1:] if v is not None)
    ends = [(code - int(zero)) * float(scale) for code in (-128, 127)]
    scales = [array_of(v.producer().inputs[1]).astype(np.float64) for v in product.inputs[:2]]
    w = seen[str(product.inputs[1].name)]
    alive = np.asarray([part.any() for part in outputs_of(layer, w)])
    shape = (-1, *[1] * (len(layer.x) - 1)) if len(layer.x) > 1 else (-1,)
    step = np.where(alive, scales[0] * scales[1], 0).reshape(shape)
    return Codes(seen[str(product.inputs[0].name)], w, step, float(scale), (ends[0], ends[1]))


def outputs_of(layer: Layer, w: np.ndarray) -> list[np.ndarray]:
    """The weights of each output channel."""
    if layer.axis >= 0:
        return list(np.moveaxis(w, layer.axis, 0))
    half = layer.w[0] // 2
    return [w[k * half:(k + 1) * half, j] for k in range(2) for j in range(2)]
