"""ops.integer and ops.quantization: the references compute exactly what they say."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.integer import average_pool, requant_multiplier, requantize, softmax

F = np.float32


def one_by_one(acc: Sequence[int], multiplier: np.float32, zero: int, lo: int, hi: int
               ) -> list[int]:
    """Requantisation of Python integers, one float32 operation at a time."""
    answers = []
    for each in acc:
        product = F(F(each) * F(multiplier))
        answers.append(min(max(round(float(product)) + zero, lo), hi))
    return answers


@settings(max_examples=60, deadline=None)
@given(acc=st.lists(st.integers(-2 ** 31, 2 ** 31 - 1), min_size=1, max_size=30),
       scales=st.tuples(*[st.floats(1e-4, 10)] * 3), zero=st.integers(-128, 127))
def test_requantisation_is_one_float32_product_rounded_half_to_even(
        acc: list[int], scales: tuple[float, float, float], zero: int) -> None:
    m = requant_multiplier(*(F(s) for s in scales))
    assert m == F(float(F(scales[0])) * float(F(scales[1])) / float(F(scales[2])))
    found = requantize(np.array(acc, np.int64), m, zero, -100, 90, np.dtype(np.int8))
    assert found.tolist() == one_by_one(acc, m, zero, -100, 90)


def test_ties_go_to_the_even_code() -> None:
    acc = np.array([-5, -3, -1, 1, 3, 5])
    found = requantize(acc, F(0.5), 0, -128, 127, np.dtype(np.int8))
    assert found.tolist() == [-2, -2, 0, 0, 2, 2]


def test_convolution_sums_are_exact_integers() -> None:
    rng = np.random.default_rng(0)
    g = GraphBuilder("conv")
    x = g.input("x", ir.DataType.INT8, (1, 3, 4, 5))
    w = rng.integers(-127, 128, (2, 3, 2, 3)).astype(np.int8)
    scale = np.array([0.011, 0.007], F)
    y = g.op("QLinearConv", x, g.constant(F(0.05)), g.constant(np.int8(-9)), g.constant(w, "w"),
             g.constant(scale), g.constant(np.int8(0)), g.constant(F(0.2)), g.constant(np.int8(4)),
             g.constant(np.array([1000, -700], np.int32)), domain="ai.ganglion", strides=[2, 1],
             pads=[1, 0, 0, 1], lo=-20, hi=100)
    g.output("y", y)
    codes = rng.integers(-128, 128, (1, 3, 4, 5)).astype(np.int8)
    found = evaluate(g.model(), {"x": codes})["y"]
    image = np.full((3, 5, 6), -9)
    image[:, 1:, :5] = codes[0]
    m = requant_multiplier(F(0.05), scale, F(0.2))
    for o in range(2):
        for p in range(found.shape[2]):
            for q in range(found.shape[3]):
                part = image[:, 2 * p:2 * p + 2, q:q + 3] + 9
                acc = int((part * w[o].astype(int)).sum()) + (1000, -700)[o]
                assert found[0, o, p, q] == one_by_one([acc], m[o], 4, -20, 100)[0]


def test_an_average_divides_the_multiplier_once_for_each_count() -> None:
    x = np.random.default_rng(1).integers(-128, 128, (1, 1, 3, 3)).astype(np.int8)
    m = requant_multiplier(F(0.05), 1.0, F(0.03))
    found = average_pool({"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}, x, 7, m, -11)
    for p in range(3):
        for q in range(3):
            part = x[0, 0, max(p - 1, 0):p + 1, max(q - 1, 0):q + 1].astype(int) - 7
            factor = F(F(m) / F(part.size))
            assert found[0, 0, p, q] == one_by_one([int(part.sum())], factor, -11, -128, 127)[0]


def test_softmax_adds_table_entries_and_divides_in_float32() -> None:
    x = np.random.default_rng(2).integers(-128, 128, (2, 9)).astype(np.int8)
    found = softmax(x, 0.1, 1 / 256, -128, -1)
    for row, answer in zip(x.astype(int), found):
        e = [round(np.exp(-(row.max() - code) * 0.1) * 2 ** 23) for code in row]
        for entry, code in zip(e, answer):
            share = F(F(F(entry) / F(sum(e))) * F(256))
            assert code == min(max(round(float(share)) - 128, -128), 127)


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from([np.int8, np.uint8, np.int16]), axis=st.sampled_from([0, 1, -1]),
       per_axis=st.booleans(), seed=st.integers(0, 999))
def test_quantising_and_back_is_onnx_own_meaning(dtype: type[np.integer], axis: int,
                                                 per_axis: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, 4, 2)
    size = (shape[axis],) if per_axis else ()
    g = GraphBuilder("pair")
    x = g.input("x", ir.DataType.FLOAT, shape)
    pair = [g.constant(rng.uniform(0.01, 0.5, size).astype(F), "s"),
            g.constant(rng.integers(0, 99, size).astype(dtype), "z")]
    codes = g.op("QuantizeLinear", x, *pair, axis=axis)
    g.output("codes", codes)
    g.output("real", g.op("DequantizeLinear", codes, *pair, axis=axis))
    model = g.model()
    data = (rng.normal(size=shape) * 20).astype(F)
    theirs = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": data})
    ours = evaluate(model, {"x": data})
    for name, array in zip(("codes", "real"), theirs):
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_table_is_looked_up_from_the_lowest_code(dtype: type[np.integer]) -> None:
    g = GraphBuilder("table")
    x = g.input("x", ir.DataType.from_numpy(np.dtype(dtype)), (256,))
    entries = np.random.default_rng(3).permutation(256).astype(np.uint8)
    g.output("y", g.op("Table", x, g.constant(entries, "t"), domain="ai.ganglion"))
    codes = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    np.testing.assert_array_equal(evaluate(g.model(), {"x": codes})["y"], entries)
