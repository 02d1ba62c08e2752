"""Law: an operator of ONNX Runtime's own answers as it does there, quantised ones within a step."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import ganglion as gg
from ganglion.errors import GanglionError
from ganglion.formats.onnx.contrib import RULES
from ganglion.ops.evaluate import evaluate

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
ROWS = RNG.normal(size=(4, 8)).astype(np.float32)
CODES = RNG.integers(-128, 128, (1, 3, 6, 6)).astype(np.int8)
F, Q = np.float32, np.int8
Case = tuple[str, list[np.ndarray], list[np.ndarray | None], dict[str, object]]


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def scale(step: float, zero: int) -> list[np.ndarray]:
    return [np.asarray(step, F), np.asarray(zero, Q)]


X, Y = scale(0.05, 3), scale(0.07, -5)
CASES: dict[str, Case] = {
    **{f"convolution, {name}": ("FusedConv", [IMAGE], [f(4, 3, 3, 3), f(4)], {
        "activation": name, **({"activation_params": params} if params else {}), "pads": [1] * 4})
       for name, params in (("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.2]),
                            ("Clip", [-0.5, 1.0]), ("HardSigmoid", [0.3, 0.4]))},
    "convolution and sum": ("FusedConv", [IMAGE], [f(4, 3, 1, 1), f(4), f(1, 4, 6, 6)],
                            {"activation": "Relu"}),
    "product": ("FusedGemm", [ROWS], [f(8, 5), f(5)], {"activation": "Relu", "alpha": 1.0}),
    "gelu": ("Gelu", [ROWS], [], {}), "gelu of a sum": ("BiasGelu", [ROWS], [f(8)], {}),
    "fast gelu": ("FastGelu", [ROWS], [], {}), "fast with bias": ("FastGelu", [ROWS], [f(8)], {}),
    "quick gelu": ("QuickGelu", [ROWS], [], {"alpha": 1.5}),
    "norm of a sum": ("SkipLayerNormalization", [f(1, 4, 8), f(1, 4, 8)], [f(8), f(8), f(8)],
                      {"epsilon": 1e-5}),
    "sum": ("QLinearAdd", [CODES], [*X, CODES[:, :, ::-1].copy(), *scale(0.03, 1), *Y], {}),
    "multiplied": ("QLinearMul", [CODES], [*X, CODES[:, :, ::-1].copy(), *scale(0.03, 1), *Y], {}),
    "average": ("QLinearAveragePool", [CODES], [*X, *Y], {"kernel_shape": [2, 2],
                                                           "strides": [2, 2]}),
    "average of all": ("QLinearGlobalAveragePool", [CODES], [*X, *Y], {}),
    "sigmoid": ("QLinearSigmoid", [CODES], [*X, *scale(1 / 256, -128)], {}),
    "leaky": ("QLinearLeakyRelu", [CODES], [*X, *Y], {"alpha": 0.3}),
    "softmax": ("QLinearSoftmax", [CODES], [*X, *scale(1 / 256, -128)], {"axis": -1, "opset": 13}),
    "joined": ("QLinearConcat", [], [*Y, CODES, *X, CODES, *scale(0.09, 0)], {"axis": 1}),
    "dense": ("QGemm", [CODES.reshape(18, 6)],
              [*X, RNG.integers(-99, 99, (6, 5)).astype(Q), *scale(0.02, 0),
               RNG.integers(-999, 999, 5).astype(np.int32), *Y], {}),
}


def model(case: Case) -> bytes:
    op, given, constants, attrs = case
    names = [f"x{k}" for k in range(len(given))]
    held = {f"c{k}": c for k, c in enumerate(constants)}
    inputs = [*names, *held]
    if op == "QLinearConcat":  # what varies stands behind its output's scale
        inputs = list(held)
    node = helper.make_node(op, inputs, ["y"], "n", domain="com.microsoft", **attrs)
    kind = TensorProto.INT8 if op.startswith("Q") and op != "QuickGelu" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(n, numpy_helper.from_array(a).data_type,
                                                    a.shape) for n, a in zip(names, given)],
        [helper.make_tensor_value_info("y", kind, [None] * (2 if op in ("FusedGemm", "QGemm") or
                                                            (given and given[0].ndim == 2) else 3
                                                            if op.startswith("Skip") else 4))],
        [numpy_helper.from_array(a, n) for n, a in held.items() if a is not None])
    return helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]).SerializeToString()


@pytest.mark.parametrize("name", CASES)
def test_it_answers_as_onnx_runtime_does(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    data = model(case)
    feeds = {f"x{k}": x for k, x in enumerate(case[1])}
    expected, = ort.InferenceSession(data).run(None, feeds)
    (tmp_path / "net.onnx").write_bytes(data)
    read = gg.load(tmp_path / "net.onnx")
    found, = evaluate(read, feeds).values()
    assert found.dtype == expected.dtype
    if found.dtype == np.int8:
        assert np.abs(found.astype(int) - expected).max() <= 1
    else:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    assert gg.compile(read, isas=("scalar",)).manifest["check"]["status"] == "passed"


@pytest.mark.parametrize("by_unit", [False, True])
def test_an_lstm_of_int8_weights_keeps_them(by_unit: bool, tmp_path: Path) -> None:
    """ONNX Runtime rounds the input and the state of every step besides. Of seven bits, as its
    products of eight saturate on processors without VNNI."""
    hidden, size = 16, 12
    x = RNG.normal(size=(7, 1, size)).astype(np.float32)
    held: dict[str, np.ndarray] = {"b": f(1, 8 * hidden) * F(0.1)}
    for name, rows in (("w", size), ("r", hidden)):
        held[name] = RNG.integers(-63, 64, (1, rows, 4 * hidden)).astype(Q)
        shape = (1, 4 * hidden) if by_unit else (1,)
        held[f"{name}_scale"] = RNG.uniform(0.004, 0.008, shape).astype(np.float32)
        held[f"{name}_zero"] = np.zeros(shape, Q)
    node = helper.make_node("DynamicQuantizeLSTM", [
        "x", "w", "r", "b", "", "", "", "", "w_scale", "w_zero", "r_scale", "r_zero"],
        ["y", "h", "c"], "n", domain="com.microsoft", hidden_size=hidden)
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [port("x", TensorProto.FLOAT, x.shape)],
        [port("y", TensorProto.FLOAT, (7, 1, 1, hidden)),
         *(port(n, TensorProto.FLOAT, (1, 1, hidden)) for n in "hc")],
        [numpy_helper.from_array(a, n) for n, a in held.items()])
    data = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]).SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data)
    read = gg.load(tmp_path / "net.onnx")
    for found, wanted in zip(evaluate(read, {"x": x}).values(),
                             ort.InferenceSession(data).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.02)
    built = gg.compile(read, isas=("scalar",))
    assert built.manifest["check"]["status"] == "passed"
    assert built.const_bytes < 2 * (size + hidden) * 4 * hidden


def test_every_rule_has_a_case() -> None:
    plain = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLSTM"}
    assert {case[0] for case in CASES.values()} | plain == set(RULES)


@pytest.mark.parametrize(("op", "attrs"), [
    ("FusedConv", {"activation": "Softmax"}), ("QLinearAveragePool", {"channels_last": 1}),
    ("QLinearSoftmax", {"opset": 12}), ("FusedConv", {"activation": 3}), ("QGemm", {}),
    ("Attention", {})])
def test_forms_that_are_not_read_are_refused(op: str, attrs: dict[str, object],
                                             tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model((op, [IMAGE], [], attrs)))
    with pytest.raises(GanglionError):
        gg.load(tmp_path / "net.onnx")
