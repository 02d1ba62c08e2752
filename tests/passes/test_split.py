"""Passes that take an operator apart: meaning kept, nothing left to take apart."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.base import Pass
from ganglion.passes.simplify.fold_batch_norm import SplitBatchNorm
from ganglion.passes.simplify.split_gemm import SplitGemm
from ganglion.passes.simplify.split_resize import SplitResize

GENERATOR = np.random.default_rng(5)


def _drawn(*shape: int) -> np.ndarray:
    return GENERATOR.uniform(0.5, 2, shape).astype(np.float32)


def _holds(model: ir.Model, each: Pass, gone: str, **inputs: np.ndarray) -> None:
    """The law: same outputs, operator gone, second run idle, Model valid."""
    before = evaluate(model, inputs, dtype=np.float64)
    assert each(model).modified
    assert gone not in [n.op_type for n in model.graph]
    assert not each(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    after = evaluate(model, inputs, dtype=np.float64)
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 3, 4, 5)])
def test_batch_norm_becomes_a_product_and_a_sum(shape: tuple[int, ...]) -> None:
    g = GraphBuilder("bn")
    x = g.input("x", ir.DataType.FLOAT, shape)
    parameters = [g.constant(_drawn(3), n, share=False) for n in ("gamma", "beta", "mean", "var")]
    g.output("y", g.op("BatchNormalization", x, *parameters, epsilon=1e-3))
    _holds(g.model(), SplitBatchNorm(), "BatchNormalization", x=_drawn(*shape))


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("c_shape", [None, (), (4,), (1, 4), (3, 1), (3, 4)])
def test_general_gemm_becomes_matmul(trans_a: int, trans_b: int,
                                     c_shape: tuple[int, ...] | None) -> None:
    g = GraphBuilder("gemm")
    a = g.input("a", ir.DataType.FLOAT, (5, 3) if trans_a else (3, 5))
    b = g.constant(_drawn(*((4, 5) if trans_b else (5, 4))), "b")
    c = [] if c_shape is None else [g.constant(_drawn(*c_shape), "c", share=False)]
    g.output("y", g.op("Gemm", a, b, *c, alpha=0.5, beta=1.5, transA=trans_a, transB=trans_b))
    shape = (5, 3) if trans_a else (3, 5)
    _holds(g.model(), SplitGemm(), "Gemm", a=_drawn(*shape))


def test_plain_gemm_stays_one_node() -> None:
    g = GraphBuilder("gemm")
    a = g.input("a", ir.DataType.FLOAT, (3, 5))
    g.output("y", g.op("Gemm", a, g.constant(_drawn(5, 4)), g.constant(_drawn(4))))
    assert not SplitGemm()(g.model()).modified


@pytest.mark.parametrize("mode", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("size", [(8, 10), (4, 15), (3, 2)])
def test_linear_resizing_becomes_matrix_products(mode: str, size: tuple[int, int]) -> None:
    g = GraphBuilder("resize")
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 4, 5))
    sizes = g.ints(1, 2, *size)
    g.output("y", g.op("Resize", x, None, None, sizes, mode="linear",
                       coordinate_transformation_mode=mode))
    _holds(g.model(), SplitResize(), "Resize", x=_drawn(1, 2, 4, 5))
