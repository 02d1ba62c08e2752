"""passes.quantized.integer: islands become integer operators that mean the same."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.qdq import QdqNet

from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.passes.quantized.integer import ToInteger

Make = Callable[[], QdqNet]


def conv(groups: int = 1, axis: int | None = 0, act: str = "", zero: int = 5, **attrs) -> QdqNet:
    net = QdqNet(1)
    x = net.input((2, 4, 9, 7))
    w, scale = net.weight((6 if groups < 4 else 4, 4 // groups, 3, 3), axis)
    count = 6 if groups < 4 else 4
    y = net.g.op("Conv", x, w, net.bias(count, np.float32(0.05) * scale), group=groups, **attrs)
    if act == "Relu":
        y = net.g.op("Relu", y)
    if act == "Clip":
        y = net.g.op("Clip", y, net.g.constant(np.float32(0)), net.g.constant(np.float32(6)))
    net.quantized(y, 0.11, zero)
    return net


def conv1d() -> QdqNet:
    net = QdqNet(2)
    w, _ = net.weight((5, 3, 4), 0)
    net.quantized(net.g.op("Conv", net.input((2, 3, 11)), w, auto_pad="SAME_UPPER", strides=[2]),
                  0.1, 0)
    return net


def transposed(groups: int = 1, axis: int | None = 1, **attrs) -> QdqNet:
    net = QdqNet(3)
    w, scale = net.weight((4, 3, 3, 2), axis)
    x = net.input((2, 4, 5, 6))
    b = net.bias(3 * groups, np.tile(np.float32(0.05) * scale, groups) if axis else
                 np.float32(0.05) * scale)
    net.quantized(net.g.op("ConvTranspose", x, w, b, group=groups, **attrs), 0.1, -7)
    return net


def gemm(trans_a: int, trans_b: int, axis: bool = True) -> QdqNet:
    net = QdqNet(4)
    x = net.input((9, 4) if trans_a else (4, 9))
    channel = (0 if trans_b else 1) if axis else None
    w, scale = net.weight((6, 9) if trans_b else (9, 6), channel)
    b = net.bias(6, np.float32(0.05) * scale)
    net.quantized(net.g.op("Gemm", x, w, b, transA=trans_a, transB=trans_b), 0.08, 1)
    return net


def matmul(bias: str, act: bool = False) -> QdqNet:
    net = QdqNet(5)
    w, scale = net.weight((9, 6), 1)
    y = net.g.op("MatMul", net.input((2, 5, 9)), w)
    if bias == "codes":
        y = net.g.op("Add", y, net.bias(6, np.float32(0.05) * scale))
    if bias == "float":
        y = net.g.op("Add", net.g.constant(net.rng.normal(size=6).astype(np.float32), "b"), y)
    net.quantized(net.g.op("Relu", y) if act else y, 0.08, -128 if act else 1)
    return net


def two_activations() -> QdqNet:
    net = QdqNet(6)
    a = net.input((2, 3, 4, 5))
    codes = net.g.input("x2", ir.DataType.INT8, (2, 3, 5, 4))
    b = net.g.op("DequantizeLinear", codes, net.g.constant(np.float32(0.02)))
    net.quantized(net.g.op("MatMul", a, b), 0.03, 2)
    return net


def pool(name: str, shape: tuple[int, ...] = (2, 3, 8, 7), scale: float = 0.04, **attrs) -> QdqNet:
    net = QdqNet(7)
    net.quantized(net.g.op(name, net.input(shape), **attrs), scale, -3)
    return net


def mean(shape: tuple[int, ...], axes: list[int], keepdims: int) -> QdqNet:
    net = QdqNet(8)
    y = net.g.op("ReduceMean", net.input(shape), net.g.ints(*axes), keepdims=keepdims)
    net.quantized(y, 0.03, 4)
    return net


def softmax(axis: int) -> QdqNet:
    net = QdqNet(9)
    net.quantized(net.g.op("Softmax", net.input((3, 6, 5)), axis=axis), 1 / 256, -128)
    return net


def swish() -> QdqNet:
    net = QdqNet(10)
    x = net.input((3, 50))
    y = net.g.op("Mul", x, net.g.op("Sigmoid", x))
    net.quantized(net.g.op("Add", y, net.g.constant(np.float32(0.3))), 0.03, -100)
    return net


def moves(out_scale: float = 0.05, out_zero: int = 3) -> QdqNet:
    net = QdqNet(11)
    g, x = net.g, net.input((2, 4, 6, 6))
    y = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = g.op("Pad", y, g.ints(0, 0, 1, 2, 0, 0, 0, 1))
    y = g.op("Transpose", y, perm=[0, 2, 3, 1])
    y = g.op("Slice", y, g.ints(0), g.ints(3), g.ints(1))
    y = g.op("Gather", y, g.ints(2, 0), axis=3)
    y = g.op("Reshape", y, g.ints(2, -1))
    net.quantized(y, out_scale, out_zero)
    return net


def concat(second_scale: float) -> QdqNet:
    net = QdqNet(12)
    a, b = net.input((2, 3)), net.input((2, 5), second_scale, 3, name="x2")
    net.quantized(net.g.op("Concat", a, b, axis=1), 0.05, 3)
    return net


def split() -> QdqNet:
    net = QdqNet(13)
    a, b = net.g.ops("Split", net.input((2, 6)), outputs=2, axis=1, num_outputs=2)
    net.quantized(net.g.op("Concat", b, a, axis=1), 0.05, 3)
    return net


def residual() -> QdqNet:
    net = QdqNet(14)
    y = net.g.op("Add", net.input((2, 8)), net.input((2, 8), 0.03, -4, name="x2"))
    net.quantized(net.g.op("Relu", y), 0.06, -128)
    return net


ISLANDS: dict[str, tuple[Make, set[str]]] = {
    "conv": (lambda: conv(strides=[2, 1], pads=[1, 0, 2, 1]), {"QLinearConv"}),
    "conv per tensor": (lambda: conv(axis=None, dilations=[2, 2]), {"QLinearConv"}),
    "conv relu": (lambda: conv(act="Relu"), {"QLinearConv"}),
    "conv relu6": (lambda: conv(act="Clip", zero=-20), {"QLinearConv"}),
    "conv same lower": (lambda: conv(auto_pad="SAME_LOWER", strides=[2, 2]), {"QLinearConv"}),
    "conv grouped": (lambda: conv(groups=2), {"QLinearConv"}),
    "conv depthwise": (lambda: conv(groups=4), {"QLinearConv"}),
    "conv 1d": (conv1d, {"QLinearConv"}),
    "transposed": (lambda: transposed(strides=[2, 3], pads=[1, 0, 0, 1]), {"QLinearConvTranspose"}),
    "transposed padded": (lambda: transposed(strides=[2, 2], output_padding=[1, 0], axis=None),
                          {"QLinearConvTranspose"}),
    "transposed same": (lambda: transposed(strides=[2, 2], auto_pad="SAME_UPPER"),
                        {"QLinearConvTranspose"}),
    "transposed grouped": (lambda: transposed(groups=2), {"QLinearConvTranspose"}),
    "gemm": (lambda: gemm(0, 0), {"QLinearGemm"}),
    "gemm transposed": (lambda: gemm(1, 1), {"QLinearGemm"}),
    "gemm per tensor": (lambda: gemm(0, 1, axis=False), {"QLinearGemm"}),
    "matmul": (lambda: matmul(""), {"QLinearGemm"}),
    "matmul bias": (lambda: matmul("codes"), {"QLinearGemm"}),
    "matmul float bias relu": (lambda: matmul("float", act=True), {"QLinearGemm"}),
    "matmul activations": (two_activations, {"QLinearMatMul"}),
    "average": (lambda: pool("AveragePool", kernel_shape=[3, 2], strides=[2, 2],
                             pads=[1, 0, 1, 1]), {"QLinearAveragePool"}),
    "average counting pads": (lambda: pool("AveragePool", kernel_shape=[3, 2], pads=[1, 0, 1, 1],
                                           count_include_pad=1), {"QLinearAveragePool"}),
    "average ceil": (lambda: pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
                     {"QLinearAveragePool"}),
    "average 1d": (lambda: pool("AveragePool", (2, 3, 9), kernel_shape=[4]),
                   {"QLinearAveragePool"}),
    "global average": (lambda: pool("GlobalAveragePool"), {"QLinearGlobalAveragePool"}),
    "mean channels first": (lambda: mean((2, 3, 5, 5), [2, 3], 1), {"QLinearGlobalAveragePool"}),
    "mean channels last": (lambda: mean((2, 5, 4, 3), [1, 2], 0),
                           {"Transpose", "QLinearGlobalAveragePool", "Reshape"}),
    "softmax": (lambda: softmax(-1), {"QLinearSoftmax"}),
    "softmax middle": (lambda: softmax(1), {"QLinearSoftmax"}),
    "swish": (swish, {"Table"}),
    "moves": (moves, {"MaxPool", "Pad", "Transpose", "Slice", "Gather", "Reshape"}),
    "moves to another scale": (lambda: moves(0.08, -9), {"MaxPool", "Pad", "Transpose", "Slice",
                                                         "Gather", "Reshape", "Table"}),
    "global max": (lambda: pool("GlobalMaxPool", (9, 3, 2, 2), 0.06), {"MaxPool", "Table"}),
    "concat": (lambda: concat(0.05), {"Concat"}),
    "concat of two scales": (lambda: concat(0.02), {"Concat", "Table"}),
    "split": (split, {"Split", "Concat"}),
    "residual": (residual, {"DequantizeLinear", "Add", "Relu", "QuantizeLinear"}),
}
EXACT = {"matmul activations", "swish", "moves", "moves to another scale", "global max", "concat",
         "concat of two scales", "split", "residual"}
"""Islands whose rounding the pass must not touch (products of few terms are exact too)."""


def draw(model: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = {}
    for value in model.graph.inputs:
        dtype = value.dtype.numpy()
        drawn[value.name] = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1,
                                         [int(d) for d in value.shape]).astype(dtype)
    return drawn


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("name", ISLANDS)
def test_an_island_becomes_integer_and_differs_by_one_code_at_most(
        name: str, dtype: type[np.integer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QdqNet, "dtype", dtype)
    make, operators = ISLANDS[name]
    model = make().finish()
    inputs = draw(model)
    before = evaluate(model, inputs)["y"]
    result = ToInteger()(model)
    after = evaluate(model, inputs)["y"]
    assert result.modified == (name != "residual")
    assert {n.op_type for n in model.graph} == operators
    assert (after.dtype, after.shape) == (dtype, before.shape)
    assert before.std() > 5, "the case exercises nothing"
    difference = np.abs(after.astype(int) - before.astype(int))
    assert difference.max() <= (0 if name in EXACT else 1)
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("name", ISLANDS)
def test_a_second_run_changes_nothing(name: str) -> None:
    model = ISLANDS[name][0]().finish()
    ToInteger()(model)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not ToInteger()(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ISLANDS)
def test_shapes_that_the_pass_states_are_those_computed(name: str) -> None:
    model = ISLANDS[name][0]().finish()
    ToInteger()(model)

    def check(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        for value, array in zip(node.outputs, outputs):
            assert (value.dtype.numpy(), tuple(value.shape)) == (array.dtype, array.shape), node
        return outputs

    evaluate(model, draw(model), on_node=check)


def test_a_sum_that_could_leave_int32_is_refused() -> None:
    net = QdqNet(0)
    k = 70_000
    w = net.g.op("DequantizeLinear", net.g.constant(np.full((k, 1), 127, np.int8), "w"),
                 net.g.constant(np.float32(0.1)))
    net.quantized(net.g.op("MatMul", net.input((1, k)), w), 1.0, 0)
    with pytest.raises(ModelError, match=r"matmul.*int32"):
        ToInteger()(net.finish())


@pytest.mark.parametrize("scale", [1.0, 1.2e-7])
def test_a_float_bias_beside_dead_weights_is_not_rounded_away(scale: float) -> None:
    net = QdqNet(1)
    codes = net.rng.integers(-127, 128, (4, 3)).astype(np.int8)
    codes[:, 1] = 0
    w = net.g.op("DequantizeLinear", net.g.constant(codes, "w"),
                 net.g.constant(np.array([0.01, scale, 0.02], np.float32)), axis=1)
    bias = net.g.constant(np.array([-0.2, 0.4, 0.3], np.float32))
    y = net.g.op("Gemm", net.input((5, 4), 1.0), w, bias)
    net.quantized(y, 0.05, 0)
    model = net.finish()
    before = evaluate(model, draw(model))["y"]
    ToInteger()(model)
    assert [n.op_type for n in model.graph] == ["QLinearGemm"]
    after = evaluate(model, draw(model))["y"]
    assert (after[:, 1] == 8).all()
    assert np.abs(after.astype(int) - before).max() <= 1


@pytest.mark.parametrize("code", [-2 ** 31, 2 ** 31 - 1])
def test_a_saturated_bias_gives_the_end_of_the_codes_and_leaves_int32_nowhere(code: int) -> None:
    net = QdqNet(2)
    w, scale = net.weight((4, 2), None)
    step = np.asarray(np.float32(0.05 * float(scale)))
    bias = net.g.op("DequantizeLinear", net.g.constant(np.array([code, 5], np.int32), "b"),
                    net.g.constant(step))
    net.quantized(net.g.op("Gemm", net.input((5, 4)), w, bias), 0.05, 0)
    model = net.finish()
    before = evaluate(model, draw(model))["y"]
    ToInteger()(model)
    assert [n.op_type for n in model.graph] == ["QLinearGemm"]
    after = evaluate(model, draw(model))["y"]
    assert (after[:, 0] == (-128 if code < 0 else 127)).all()
    assert np.abs(after.astype(int) - before).max() <= 1


@pytest.mark.parametrize(("code", "end"), [(-2 ** 31, -128), (2 ** 31 - 1, 127)])
def test_a_saturated_bias_may_end_within_a_step_of_the_last_code(code: int, end: int) -> None:
    """Of dead channels in files: 2^31 steps are 0.9 of one of the output, whose zero is its end."""
    net = QdqNet(4)
    codes = net.rng.integers(-127, 128, (4, 2)).astype(np.int8)
    codes[:, 0] = 0
    scales = np.array([0.9 / 2 ** 31, 0.01], np.float32)
    w = net.g.op("DequantizeLinear", net.g.constant(codes, "w"), net.g.constant(scales), axis=1)
    bias = net.g.op("DequantizeLinear", net.g.constant(np.array([code, 5], np.int32), "b"),
                    net.g.constant(np.float32(1.0) * scales), axis=0)
    net.quantized(net.g.op("Gemm", net.input((5, 4), 1.0), w, bias), 1.0, end)
    model = net.finish()
    ToInteger()(model)
    assert [n.op_type for n in model.graph] == ["QLinearGemm"]
    assert (evaluate(model, draw(model))["y"][:, 0] == end).all()


def test_a_bias_that_would_round_to_another_answer_stays_float() -> None:
    net = QdqNet(3)
    w = net.g.op("DequantizeLinear", net.g.constant(np.full((4, 2), 127, np.int8), "w"),
                 net.g.constant(np.float32(1.0)))
    bias = net.g.constant(np.array([0.4, -0.3], np.float32))
    net.quantized(net.g.op("Gemm", net.input((5, 4), 1.0), w, bias), 0.05, 0)
    model = net.finish()
    before = evaluate(model, draw(model))["y"]
    ToInteger()(model)
    np.testing.assert_array_equal(evaluate(model, draw(model))["y"], before)


def test_weights_of_other_integer_types_are_shifted_to_int8() -> None:
    net = QdqNet(15)
    codes = net.rng.integers(1, 256, (5, 4)).astype(np.uint8)
    w = net.g.op("DequantizeLinear", net.g.constant(codes, "w"), net.g.constant(np.float32(0.01)),
                 net.g.constant(np.uint8(128)))
    net.quantized(net.g.op("MatMul", net.input((3, 5)), w), 0.05, 0)
    model = net.finish()
    before = evaluate(model, draw(model))["y"]
    ToInteger()(model)
    assert [n.op_type for n in model.graph] == ["QLinearGemm"]
    np.testing.assert_array_equal(evaluate(model, draw(model))["y"], before)


def test_two_activations_keep_float_when_the_second_has_a_zero_point() -> None:
    net = QdqNet(16)
    net.quantized(net.g.op("MatMul", net.input((3, 4)), net.input((4, 3), 0.02, 9, name="x2")),
                  0.05, 0)
    model = net.finish()
    assert not ToInteger()(model).modified


def test_a_value_that_is_also_an_output_stays_float() -> None:
    net = QdqNet(17)
    y = net.g.op("Sigmoid", net.input((3, 4)))
    net.g.output("real", y)
    net.quantized(y, 1 / 256, -128)
    model = net.finish()
    assert not ToInteger()(model).modified


def test_output_names_stay() -> None:
    net = QdqNet(18)
    net.g.output("flat", net.g.op("Flatten", net.input((3, 4, 2))))
    model = net.g.model()
    before = evaluate(model, draw(model))
    ToInteger()(model)
    after = evaluate(model, draw(model))
    assert list(after) == ["flat"]
    assert [n.op_type for n in model.graph] == ["Flatten", "DequantizeLinear"]
    np.testing.assert_array_equal(after["flat"], before["flat"])


def test_two_equal_quantisations_become_one() -> None:
    net = QdqNet(19)
    y = net.g.op("Add", net.input((3, 4)), net.input((3, 4), 0.02, 0, name="x2"))
    net.g.output("first", net.g.op("QuantizeLinear", y, *net.parameters(0.07, 1)))
    net.g.output("second", net.g.op("Neg", net.quantized(y, 0.07, 1)))
    model = net.g.model()
    before = evaluate(model, draw(model))
    ToInteger()(model)
    assert sum(n.op_type == "QuantizeLinear" for n in model.graph) == 1
    for name, array in evaluate(model, draw(model)).items():
        np.testing.assert_array_equal(array, before[name])


def test_an_output_that_only_repeats_the_input_stays_an_output() -> None:
    net = QdqNet(20)
    net.quantized(net.input((3, 4)), 0.05, 3)
    model = net.finish()
    ToInteger()(model)
    assert [n.op_type for n in model.graph] == ["Identity"]
    codes = draw(model)
    np.testing.assert_array_equal(evaluate(model, codes)["y"], codes["x"])


def test_onnx_qlinear_conv_is_taken_over_with_symmetric_weights() -> None:
    net = QdqNet(21)
    g, rng = net.g, net.rng
    x = g.input("x", ir.DataType.UINT8, (2, 3, 6, 6))
    y = g.op("QLinearConv", x, g.constant(np.float32(0.1)), g.constant(np.uint8(7)),
             g.constant(rng.integers(1, 256, (4, 3, 3, 3)).astype(np.uint8), "w"),
             g.constant(rng.uniform(0.01, 0.02, 4).astype(np.float32), "s"),
             g.constant(np.full(4, 128, np.uint8)), g.constant(np.float32(0.3)),
             g.constant(np.uint8(120)), g.constant(rng.integers(-99, 99, 4).astype(np.int32)))
    g.output("y", y)
    model = g.model()
    before = evaluate(model, draw(model))["y"]
    ToInteger()(model)
    node = model.graph[0]
    assert (node.domain, node.inputs[3].dtype) == ("ai.ganglion", ir.DataType.INT8)
    np.testing.assert_array_equal(evaluate(model, draw(model))["y"], before)
