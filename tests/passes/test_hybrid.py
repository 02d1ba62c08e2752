"""passes.quantized.hybrid: products with int8 weights take inputs as codes of their own range."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.ops.base import GANGLION_DOMAIN
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.quantized.hybrid import ToHybrid

RNG = np.random.default_rng(5)


def weight(g: GraphBuilder, shape: tuple[int, ...], axis: int | None, zero: int = 0) -> ir.Value:
    """Int8 weights behind a DequantizeLinear."""
    codes = RNG.integers(-90, 91, shape, np.int8)
    count = 1 if axis is None else shape[axis]
    scale = RNG.uniform(0.01, 0.02, count).astype(np.float32)
    zeros = np.full(count, zero, np.int8)
    if axis is None:
        return g.op("DequantizeLinear", g.constant(codes), g.constant(scale[0]),
                    g.constant(zeros[0]))
    return g.op("DequantizeLinear", g.constant(codes), g.constant(scale), g.constant(zeros),
                axis=axis)


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def conv(shape: tuple[int, ...], w: tuple[int, ...], axis: int | None = 0, bias: bool = True,
         zero: int = 0, **attrs: object) -> ir.Model:
    g = GraphBuilder("n")
    x = g.input("x", ir.DataType.FLOAT, shape)
    more = [g.constant(f(w[0]))] if bias else []
    g.output("y", g.op("Conv", x, weight(g, w, axis, zero), *more, attrs=attrs))
    return g.model()


def gemm(trans_b: int, bias: tuple[int, ...] | None, **attrs: object) -> ir.Model:
    g = GraphBuilder("n")
    x = g.input("x", ir.DataType.FLOAT, (9, 4) if attrs.get("transA") else (4, 9))
    w = weight(g, (6, 9) if trans_b else (9, 6), 0 if trans_b else 1)
    more = [] if bias is None else [g.constant(f(*bias))]
    g.output("y", g.op("Gemm", x, w, *more, attrs={"transB": trans_b, **attrs}))
    return g.model()


def matmul(shape: tuple[int, ...]) -> ir.Model:
    g = GraphBuilder("n")
    x = g.input("x", ir.DataType.FLOAT, shape)
    g.output("y", g.op("MatMul", x, weight(g, (shape[-1], 6), 1)))
    return g.model()


def int_bias() -> ir.Model:
    g = GraphBuilder("n")
    x = g.input("x", ir.DataType.FLOAT, (4, 9))
    b = g.op("DequantizeLinear", g.constant(np.arange(6, dtype=np.int32)),
             g.constant(np.float32(0.5)))
    g.output("y", g.op("Gemm", x, weight(g, (9, 6), 1), b))
    return g.model()


TAKEN: dict[str, Callable[[], ir.Model]] = {
    "conv": lambda: conv((2, 4, 9, 7), (6, 4, 3, 3), pads=[1, 1, 0, 2]),
    "groups": lambda: conv((1, 4, 9, 7), (6, 2, 3, 3), group=2),
    "one-scale": lambda: conv((1, 4, 5, 5), (6, 4, 3, 3), None, bias=False),
    "shifted": lambda: conv((1, 4, 5, 5), (6, 4, 3, 3), zero=7),
    "pixels": lambda: conv((2, 4, 5, 5), (6, 4, 1, 1)),
    "row": lambda: conv((2, 3, 11), (5, 3, 4), auto_pad="SAME_UPPER", strides=[2]),
    "gemm": lambda: gemm(0, (6,)),
    "gemm-turned": lambda: gemm(1, (1, 6)),
    "gemm-bare": lambda: gemm(1, None),
    "int-bias": int_bias,
    "matmul": lambda: matmul((2, 3, 8)),
}
LEFT: dict[str, Callable[[], ir.Model]] = {
    "depthwise": lambda: conv((1, 4, 5, 5), (4, 1, 3, 3), group=4),
    "transposed-input": lambda: gemm(0, (6,), transA=1),
    "scaled": lambda: gemm(0, (6,), alpha=2.0),
    "vector": lambda: matmul((8,)),
}


def answer(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return evaluate(model, {"x": x})["y"]


def shape_of(model: ir.Model) -> list[int]:
    return [int(d) for d in model.graph.inputs[0].shape or [] if isinstance(d, int)]


@pytest.mark.parametrize("name", TAKEN)
def test_a_hybrid_product_is_within_the_steps_of_its_input(name: str) -> None:
    """Half a step of the range for each of the products, weighed by the weights."""
    model = TAKEN[name]()
    x = f(*shape_of(model))
    before = answer(model, x)
    assert ToHybrid()(model).modified
    assert {n.op_type for n in model.graph if n.domain == GANGLION_DOMAIN} <= {"HybridConv",
                                                                             "HybridGemm"}
    assert not any(n.op_type == "DequantizeLinear" for n in model.graph)
    assert not ToHybrid()(model).modified
    after = answer(model, x)
    assert after.shape == before.shape
    step = (x.max() - x.min()) / 255
    largest = np.abs(answer(model, np.zeros_like(x)) - after).max()
    assert 0 < np.abs(after - before).max() < 0.51 * step * 90 * 0.02 * 36
    assert np.abs(after - before).max() < 0.03 * largest


@pytest.mark.parametrize("name", LEFT)
def test_what_gains_nothing_or_is_no_plain_product_stays_float(name: str) -> None:
    assert not ToHybrid()(LEFT[name]()).modified


def test_sums_that_could_leave_int32_stay_float() -> None:
    g = GraphBuilder("n")
    x = g.input("x", ir.DataType.FLOAT, (1, 70000))
    w = g.op("DequantizeLinear", g.constant(np.full((70000, 1), 127, np.int8)),
             g.constant(np.float32(0.1)))
    g.output("y", g.op("MatMul", x, w))
    assert not ToHybrid()(g.model()).modified


def test_an_input_on_its_own_steps_is_multiplied_exactly() -> None:
    model = gemm(0, None)
    x = np.zeros((4, 9), np.float32)
    x[:, 0], x[:, 1] = 255.0, np.arange(4)
    exact = answer(model, x.astype(np.float64).astype(np.float32))
    ToHybrid()(model)
    np.testing.assert_allclose(answer(model, x), exact, rtol=1e-5, atol=1e-4)


def test_every_row_has_its_own_range() -> None:
    model = matmul((2, 3, 8))
    ToHybrid()(model)
    x = f(2, 3, 8)
    louder = x.copy()
    louder[0, 0] *= 1024
    quiet, loud = answer(model, x), answer(model, louder)
    np.testing.assert_array_equal(quiet[1:], loud[1:])
    np.testing.assert_array_equal(quiet[0, 1:], loud[0, 1:])
    np.testing.assert_array_equal(quiet[0, 0] * 1024, loud[0, 0])
