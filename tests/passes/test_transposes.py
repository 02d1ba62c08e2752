"""Laws of moving Transposes: nothing changes but how many elements they move."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from ganglion.ops.graph import GraphBuilder
from ganglion.passes.simplify.cancel_transposes import CancelTransposes
from ganglion.passes.simplify.transposable import inverse, without

Law = Callable[..., ir.Model]
F = ir.DataType.FLOAT
RNG = np.random.default_rng(5)
NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ops(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


def conv(g: GraphBuilder, x: ir.Value, channels: int, out: int) -> ir.Value:
    """A convolution of channels-last values, as a front end for Keras writes it."""
    y = g.op("Conv", g.op("Transpose", x, perm=NCHW), g.constant(normal(out, channels, 3, 3)),
             pads=[1, 1, 1, 1])
    return g.op("Transpose", y, perm=NHWC)


def test_channels_last_chain_loses_all_inner_transposes(law: Law) -> None:
    g = GraphBuilder("net")
    y = g.op("Relu", conv(g, g.input("x", F, (2, 8, 6, 3)), 3, 4))
    y = g.op("Mul", y, g.constant(normal(4)))
    y = g.op("Add", y, g.constant(normal(1, 1, 4)))
    y = g.op("MaxPool", g.op("Transpose", y, perm=NCHW), kernel_shape=[2, 2], strides=[2, 2])
    y = conv(g, g.op("Transpose", y, perm=NHWC), 4, 5)
    g.output("y", g.op("Clip", y, g.constant(np.float32(0)), g.constant(np.float32(6))))
    model = law(g.model(), CancelTransposes())
    assert ops(model) == ["Transpose", "Conv", "Relu", "Mul", "Add", "MaxPool", "Conv", "Clip",
                          "Transpose"]


def test_residual_block_keeps_no_transpose_inside(law: Law) -> None:
    g = GraphBuilder("net")
    first = g.op("Relu", conv(g, g.input("x", F, (1, 4, 5, 3)), 3, 4))
    y = g.op("Add", conv(g, g.op("Relu", conv(g, first, 4, 4)), 4, 4), first)
    y = g.op("Concat", g.op("Relu", y), first, axis=-1)
    y = g.op("Pad", y, g.ints(0, 1, 2, 0, 0, 3, 4, 0))
    g.output("y", g.op("ReduceMean", y, g.ints(1, 2), keepdims=0))
    # The mean adds in another order.
    model = law(g.model(), CancelTransposes(), exact=False)
    assert ops(model).count("Transpose") == 1


def test_gate_of_one_value_a_channel_follows(law: Law) -> None:
    g = GraphBuilder("net")
    y = conv(g, g.input("x", F, (1, 4, 5, 3)), 3, 4)
    gate = g.op("Sigmoid", g.op("ReduceMean", y, g.ints(1, 2)))
    g.output("y", conv(g, g.op("Mul", y, gate), 4, 4))
    model = law(g.model(), CancelTransposes(), exact=False)
    assert ops(model).count("Transpose") == 2


def test_quantised_chain_loses_its_inner_transposes(law: Law) -> None:
    g = GraphBuilder("net")
    y = conv(g, g.input("x", F, (1, 4, 5, 3)), 3, 4)
    scale, zero = g.constant(np.abs(normal(4)) + 0.1), g.constant(np.zeros(4, np.int8))
    y = g.op("DequantizeLinear", g.op("QuantizeLinear", y, scale, zero, axis=3), scale, zero,
             axis=-1)
    g.output("y", conv(g, y, 4, 4))
    model = law(g.model(), CancelTransposes())
    assert ops(model).count("Transpose") == 2


def test_transpose_that_meets_nothing_stays(law: Law) -> None:
    g = GraphBuilder("net")
    y = g.op("Relu", g.op("Transpose", g.input("x", F, (2, 3)), perm=[1, 0]))
    g.output("y", g.op("MatMul", y, g.constant(normal(2, 4))))
    law(g.model(), CancelTransposes(), changes=False)


AXES = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)


def through(g: GraphBuilder, x: ir.Value, kind: str, axes: list[int]) -> list[ir.Value]:
    """An operator in the middle, with drawn axes; x has rank 4."""
    size = list(x.shape)
    column = [d if k == axes[0] else 1 for k, d in enumerate(size)]
    makers: dict[str, Callable[[], ir.Value]] = {
        "relu": lambda: g.op("Relu", x),
        "add": lambda: g.op("Add", g.constant(normal(*column)), x),
        "low rank": lambda: g.op("Sub", g.constant(normal(*size[2:])), x),
        "full": lambda: g.op("Mul", x, g.constant(normal(*size))),
        "where": lambda: g.op("Where", g.op("Greater", x, g.constant(np.float32(0))), x,
                              g.constant(normal(*column))),
        "twice": lambda: g.op("Mul", x, x),
        "concat": lambda: g.op("Concat", x, g.constant(normal(*size)), x, axis=axes[0] - 4),
        "pad": lambda: g.op("Pad", x, g.ints(*range(8))),
        "pad axes": lambda: g.op("Pad", x, g.ints(*axes, *axes), None, g.ints(*axes)),
        "reduce": lambda: g.op("ReduceSum", x, g.ints(*axes), keepdims=1),
        "reduce all": lambda: g.op("ReduceMax", x, keepdims=1),
        "slice": lambda: g.op("Slice", x, g.ints(*[0] * len(axes)), g.ints(*[1] * len(axes)),
                              g.ints(*axes)),
        "slice first": lambda: g.op("Slice", x, g.ints(0, 1), g.ints(1, 9)),
        "softmax": lambda: g.op("Softmax", x, axis=axes[0]),
        "tile": lambda: g.op("Tile", x, g.ints(1, 2, 1, 3))}
    if kind == "split":
        return list(g.ops("Split", x, g.ints(1, size[axes[0]] - 1), outputs=2, axis=axes[0]))
    return [makers[kind]()]


KINDS = ["relu", "add", "low rank", "full", "where", "twice", "concat", "pad", "pad axes",
         "reduce", "reduce all", "slice", "slice first", "softmax", "tile", "split"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None, database=None)
@given(perm=st.permutations(range(4)), axes=AXES)
def test_every_rule_keeps_the_meaning(kind: str, perm: list[int], axes: list[int]) -> None:
    g = GraphBuilder("net")
    x = g.op("Exp", g.input("x", F, (2, 3, 4, 5)))
    for k, y in enumerate(through(g, g.op("Transpose", x, perm=perm), kind, axes)):
        g.output(f"y{k}", g.op("Transpose", y, perm=list(inverse(tuple(perm)))))
    model = g.model()
    feeds = {"x": normal(2, 3, 4, 5)}
    before = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    modified = CancelTransposes()(model).modified
    assert "Transpose" not in ops(model)
    assert modified
    for a, b in zip(before, ReferenceEvaluator(ir.to_proto(model)).run(None, feeds), strict=True):
        # The reference adds and scales in another order when axes move.
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert not CancelTransposes()(model).modified


@settings(max_examples=20, deadline=None, database=None)
@given(perm=st.permutations(range(4)), axes=AXES)
def test_squeezed_permutation_is_what_is_left(perm: list[int], axes: list[int]) -> None:
    x = np.zeros((2, 3, 5, 7))
    summed = x.sum(tuple(perm[a] for a in axes))
    expected = x.transpose(perm).sum(tuple(axes)).shape
    assert summed.transpose(without(tuple(perm), axes)).shape == expected
