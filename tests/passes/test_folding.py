"""Laws of folding batch normalisation, biases, views and equal subexpressions."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.simplify.cancel_reshapes import CancelReshapes
from ganglion.passes.simplify.common_subexpressions import CommonSubexpressions
from ganglion.passes.simplify.fold_batch_norm import FoldBatchNorm, FoldBias, SplitBatchNorm
from ganglion.passes.simplify.fold_pad import FoldPad

Law = Callable[..., ir.Model]
F = ir.DataType.FLOAT
RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ops(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


def batch_norm(g: GraphBuilder, x: ir.Value, channels: int, **attrs: float) -> ir.Value:
    stats = [g.constant(normal(channels)) for _ in range(3)]
    var = g.constant(np.abs(normal(channels)) + 0.5)
    return g.op("BatchNormalization", x, *stats, var, epsilon=1e-3, **attrs)


def linear(kind: str, bias: bool) -> tuple[GraphBuilder, ir.Value, int]:
    """A builder, the result of one linear operator, and how many channels it has."""
    g = GraphBuilder("net")
    if kind == "conv":
        x, w, n = g.input("x", F, (2, 4, 5, 5)), normal(6, 2, 3, 3), 6
        y = g.op("Conv", x, g.constant(w), g.constant(normal(n)) if bias else None, group=2,
                 pads=[1, 0, 1, 0])
    elif kind == "conv_transpose":
        x, w, n = g.input("x", F, (2, 4, 3, 3)), normal(4, 6, 2, 2), 6
        y = g.op("ConvTranspose", x, g.constant(w), g.constant(normal(n)) if bias else None,
                 strides=[2, 2])
    elif kind == "gemm":
        x, w, n = g.input("x", F, (2, 4)), normal(5, 4), 5
        y = g.op("Gemm", x, g.constant(w), g.constant(normal(1, n)) if bias else None, transB=1)
    else:
        x, w, n = g.input("x", F, (2, 4)), normal(4, 5), 5
        y = g.op("MatMul", x, g.constant(w))
        y = g.op("Add", g.constant(normal(n)), y) if bias else y
    return g, y, n


KINDS = ("conv", "conv_transpose", "gemm", "matmul")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_batch_norm_folds_into_the_linear_operator_before_it(law: Law, kind: str,
                                                             bias: bool) -> None:
    g, y, n = linear(kind, bias)
    g.output("y", g.op("Relu", batch_norm(g, y, n)))
    model = law(g.model(), FoldBatchNorm(), exact=False)
    assert "BatchNormalization" not in ops(model)


def test_batch_norm_folds_into_each_group_of_a_transposed_convolution() -> None:
    g = GraphBuilder("net")
    y = g.op("ConvTranspose", g.input("x", F, (2, 4, 3, 3)), g.constant(normal(4, 3, 2, 2)),
             group=2, strides=[2, 2])
    g.output("y", batch_norm(g, y, 6))
    model, x = g.model(), normal(2, 4, 3, 3)
    expected = evaluate(model, {"x": x})["y"]
    assert FoldBatchNorm()(model).modified
    assert ops(model) == ["ConvTranspose"]
    np.testing.assert_allclose(evaluate(model, {"x": x})["y"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_norm_stays_where_somebody_else_reads_the_convolution(law: Law, kind: str) -> None:
    g, y, n = linear(kind, bias=True)
    g.output("raw", g.op("Relu", y))
    g.output("y", batch_norm(g, y, n))
    law(g.model(), FoldBatchNorm(), changes=False)


def test_batch_norm_of_one_reader_twice_stays(law: Law) -> None:
    g, y, n = linear("conv", bias=True)
    g.output("y", g.op("Add", batch_norm(g, y, n), y))
    law(g.model(), FoldBatchNorm(), changes=False)



def test_batch_norm_of_wrong_channel_count_is_an_error() -> None:
    g, y, n = linear("conv", bias=True)
    out = batch_norm(g, y, n)
    g.output("y", out)
    out.producer().replace_input_with(1, g.constant(normal(n + 1)))
    with pytest.raises(ModelError, match="batchnormalization"):
        FoldBatchNorm()(g.model())


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 5, 3, 4)])
def test_batch_norm_left_over_becomes_scale_and_shift(law: Law, shape: tuple[int, ...]) -> None:
    g = GraphBuilder("net")
    g.output("y", batch_norm(g, g.op("Relu", g.input("x", F, shape)), 5))
    assert ops(law(g.model(), SplitBatchNorm(), exact=False)) == ["Relu", "Mul", "Add"]


def padded(pads: list[int], *value: float, mode: str = "constant", auto_pad: str = "NOTSET",
           ) -> ir.Model:
    g = GraphBuilder("net")
    x = g.op("Pad", g.input("x", F, (2, 3, 7, 8)), g.ints(*pads),
             *[g.constant(np.float32(v)) for v in value], mode=mode)
    w = g.constant(normal(4, x.shape[1], 3, 3))
    own = {"pads": [1, 0, 0, 2]} if auto_pad == "NOTSET" else {}
    g.output("y", g.op("Conv", x, w, auto_pad=auto_pad, strides=[2, 2], **own))
    return g.model()


@pytest.mark.parametrize("value", [(), (0.0,)])
def test_zero_padding_folds_into_the_convolution(law: Law, value: tuple[float, ...]) -> None:
    model = law(padded([0, 0, 1, 2, 0, 0, 3, 0], *value), FoldPad())
    assert ops(model) == ["Conv"]


@pytest.mark.parametrize("model", [
    padded([0, 0, 1, 2, 0, 0, 3, 0], 1.0), padded([0, 1, 1, 2, 0, 0, 3, 0]),
    padded([0, 0, 1, 2, 0, 0, 3, 0], mode="reflect"),
    padded([0, 0, 1, 2, 0, 0, 3, 0], auto_pad="SAME_UPPER")],
    ids=["value", "channels", "reflect", "auto"])
def test_other_padding_stays(law: Law, model: ir.Model) -> None:
    law(model, FoldPad(), changes=False)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1,), ()])
@pytest.mark.parametrize("bias", [False, True])
def test_constant_per_channel_folds_into_the_bias(law: Law, shape: tuple[int, ...],
                                                  bias: bool) -> None:
    g, y, _ = linear("conv", bias)
    g.output("y", g.op("Add", g.constant(normal(*shape)), y))
    assert ops(law(g.model(), FoldBias(), exact=False)) == ["Conv"]


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (5, 3), (1, 6, 5, 3), (1, 1, 1, 1, 1)])
def test_constant_that_is_no_bias_stays(law: Law, shape: tuple[int, ...]) -> None:
    g, y, _ = linear("conv", bias=True)
    g.output("y", g.op("Add", y, g.constant(normal(*shape))))
    model = g.model()
    if shape == (1, 1, 1, 1, 1):
        assert not FoldBias()(model).modified
    else:
        law(model, FoldBias(), changes=False)


def test_row_of_a_gemm_folds_and_column_stays(law: Law) -> None:
    g, y, n = linear("gemm", bias=True)
    g.output("y", g.op("Add", y, g.constant(normal(n))))
    assert ops(law(g.model(), FoldBias(), exact=False)) == ["Gemm"]
    g, y, n = linear("gemm", bias=True)
    g.output("y", g.op("Add", y, g.constant(normal(2, 1))))
    law(g.model(), FoldBias(), changes=False)


@settings(max_examples=30, deadline=None, database=None)
@given(st.lists(st.sampled_from([(24,), (2, 12), (2, 3, 4), (1, 24), (4, 6), (2, 3, 2, 2)]),
                min_size=1, max_size=5))
def test_chain_of_reshapes_becomes_at_most_one(shapes: list[tuple[int, ...]]) -> None:
    g = GraphBuilder("net")
    x = y = g.op("Exp", g.input("x", F, (2, 3, 4)))
    for shape in shapes:
        y = g.op("Reshape", y, g.ints(*shape))
    g.output("y", g.op("Relu", y))
    model = g.model()
    CancelReshapes()(model)
    expected = [] if shapes[-1] == (2, 3, 4) else ["Reshape"]
    assert ops(model) == ["Exp", *expected, "Relu"]
    assert tuple(model.graph.outputs[0].shape) == shapes[-1]
    assert not CancelReshapes()(model).modified
    assert x.name == "exp_out"


def test_views_of_every_kind_merge(law: Law) -> None:
    g = GraphBuilder("net")
    y = g.op("Unsqueeze", g.op("Flatten", g.input("x", F, (2, 3, 4))), g.ints(0))
    g.output("y", g.op("Relu", g.op("Squeeze", y, g.ints(0))))
    assert ops(law(g.model(), CancelReshapes())) == ["Reshape", "Relu"]


def test_nodes_that_change_nothing_go(law: Law) -> None:
    g = GraphBuilder("net")
    y = g.op("Relu", g.input("x", F, (2, 3)))
    y = g.op("Identity", y)
    y = g.op("Cast", y, to=F)
    y = g.op("Pad", y, g.ints(0, 0, 0, 0))
    y = g.op("Slice", y, g.ints(0), g.ints(99), g.ints(1))
    y = g.op("Dropout", y, g.constant(np.float32(0.5)))
    y = g.op("Transpose", y, perm=[0, 1])
    y = g.op("Expand", g.op("Concat", y, axis=0), g.ints(1, 3))
    g.output("y", g.op("Exp", y))
    assert ops(law(g.model(), CancelReshapes())) == ["Relu", "Exp"]


def test_nodes_that_change_something_stay(law: Law) -> None:
    g = GraphBuilder("net")
    y = g.op("Cast", g.input("x", F, (2, 3)), to=ir.DataType.INT32)
    y = g.op("Pad", y, g.ints(0, 1, 0, 0))
    y = g.op("Slice", y, g.ints(-1), g.ints(-99), g.ints(1), g.ints(-1))
    y = g.op("Expand", g.op("Transpose", y), g.ints(2, 4, 2))
    g.output("y", y)
    law(g.model(), CancelReshapes(), changes=False)


def test_dropout_in_training_mode_stays() -> None:
    g = GraphBuilder("net")
    g.output("y", g.op("Dropout", g.input("x", F, (2, 3)), g.constant(np.float32(0.5)),
                       g.constant(np.asarray(True))))
    assert not CancelReshapes()(g.model()).modified


def test_identity_that_names_an_output_stays(law: Law) -> None:
    g = GraphBuilder("net")
    x = g.input("x", F, (2, 3))
    g.output("y", x)
    g.output("z", g.op("Relu", x))
    law(g.model(), CancelReshapes(), changes=False)


def test_equal_constants_and_equal_nodes_become_one(law: Law) -> None:
    g = GraphBuilder("net")
    x = g.input("x", F, (2, 30))
    big = normal(30)
    one = g.op("LeakyRelu", g.op("Add", x, g.constant(big)), alpha=0.1)
    two = g.op("LeakyRelu", g.op("Add", x, g.constant(big)), alpha=0.1)
    other = g.op("LeakyRelu", g.op("Add", x, g.constant(big)), alpha=0.2)
    g.output("y", g.op("Concat", one, two, other, axis=0))
    model = law(g.model(), CommonSubexpressions())
    assert ops(model) == ["Add", "LeakyRelu", "LeakyRelu", "Concat"]
    assert len(model.graph.initializers) == 1


def test_two_equal_outputs_keep_both_names(law: Law) -> None:
    g = GraphBuilder("net")
    x = g.input("x", F, (2,))
    g.output("y", g.op("Relu", x))
    g.output("z", g.op("Relu", x))
    law(g.model(), CommonSubexpressions(), changes=False)
