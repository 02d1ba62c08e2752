"""compression.quantize: an int8 copy that answers like the float Model."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.support import small_networks
from tests.support.small_networks import NETWORKS, Net, rows

from ganglion.compression.quantization.quantize import quantize
from ganglion.errors import DataError, ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.quantized.integer import ToInteger


def small(name: str, **options) -> tuple[ir.Model, ir.Model, np.ndarray]:
    """A drawn network, its quantised copy and rows that the calibration did not see."""
    model = NETWORKS[name]()
    return model, quantize(model, rows(model, 48), **options), rows(model, 16, seed=1)


def noise(model: ir.Model, other: ir.Model, x: np.ndarray) -> float:
    """Root of the mean squared difference of the outputs, in units of the outputs' spread."""
    a, b = evaluate(model, {"x": x})["y"], evaluate(other, {"x": x})["y"]
    return float(np.sqrt(((a - b) ** 2).mean()) / a.std())


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay_close_to_the_float_model(name: str, method: str) -> None:
    model, quantised, x = small(name, method=method)
    assert noise(model, quantised, x) < 0.08


@pytest.mark.parametrize("name", NETWORKS)
def test_the_result_is_valid_onnx_with_the_same_ports(name: str) -> None:
    model, quantised, _ = small(name)
    onnx.checker.check_model(ir.to_proto(quantised), full_check=True)
    for old, new in zip((*model.graph.inputs, *model.graph.outputs),
                        (*quantised.graph.inputs, *quantised.graph.outputs)):
        assert (old.name, old.dtype, str(old.shape)) == (new.name, new.dtype, str(new.shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_given_model_is_not_changed(name: str) -> None:
    model = NETWORKS[name]()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    quantize(model, rows(model, 8))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_the_integer_model_is_within_one_code_of_its_island(name: str) -> None:
    _, quantised, x = small(name)
    integer = quantised.clone(deep_copy=True)
    assert ToInteger()(integer).modified
    seen: dict[str, np.ndarray] = {}

    def record(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        seen.update({v.name: a for v, a in zip(node.outputs, outputs) if v.name})
        return outputs

    compared: list[str] = []

    def compare(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        name = node.outputs[0].name
        if node.op_type != "QuantizeLinear" or name not in seen:
            return outputs
        difference = np.abs(seen[name].astype(int) - outputs[0].astype(int))
        assert difference.max() <= 1, name
        compared.append(name)
        return (seen[name],)

    evaluate(integer, {"x": x}, on_node=record)
    evaluate(quantised, {"x": x}, on_node=compare)
    assert len(compared) >= 6


@pytest.mark.parametrize("name", NETWORKS)
def test_only_ports_and_exact_operations_on_two_tensors_stay_float(name: str) -> None:
    _, quantised, _ = small(name)
    ToInteger()(quantised)
    floats = {n.op_type for n in quantised.graph if n.outputs[0].dtype == ir.DataType.FLOAT}
    assert floats <= {"DequantizeLinear", "Add", "Mul", "Relu"}


def test_int8_ports_carry_codes_and_describe_them() -> None:
    model, quantised, x = small("residual", io="int8")
    ports = (quantised.graph.inputs[0], quantised.graph.outputs[0])
    assert [p.dtype for p in ports] == [ir.DataType.INT8] * 2
    (s, z), (t, w) = ((float(p.metadata_props["ganglion.scale"]),
                       int(p.metadata_props["ganglion.zero_point"])) for p in ports)
    codes = np.clip(np.rint(x / s) + z, -128, 127).astype(np.int8)
    y = (evaluate(quantised, {"x": codes})["y"].astype(float) - w) * t
    expected = evaluate(model, {"x": x})["y"]
    assert np.sqrt(((y - expected) ** 2).mean()) < 0.08 * expected.std()
    ToInteger()(quantised)
    assert {n.op_type for n in quantised.graph if n.domain == ""} <= {
        "DequantizeLinear", "QuantizeLinear", "Add", "Relu", "Flatten"}
    assert "ganglion.scale" in quantised.graph.outputs[0].metadata_props


def test_bounded_activations_keep_their_range() -> None:
    g = GraphBuilder("bounded")
    x = g.input("x", ir.DataType.FLOAT, ("N", 4))
    made = {"sigmoid": g.op("Sigmoid", x), "tanh": g.op("Tanh", x), "relu": g.op("Relu", x),
            "clip": g.op("Clip", x, g.constant(np.float32(-1)), g.constant(np.float32(1))),
            "lopsided": g.op("Clip", x, g.constant(np.float32(-0.37)), g.constant(np.float32(2))),
            "softmax": g.op("Softmax", x)}
    for name, value in made.items():
        g.output(f"{name}_y", value)
    model = g.model()
    data = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32) * 3
    outputs = evaluate(quantize(model, data), {"x": data * 2})
    limits = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf), "clip": (-1, 1),
              "lopsided": (np.float32(-0.37), 2), "softmax": (0, 1)}
    for name, (lo, hi) in limits.items():
        y = outputs[f"{name}_y"]
        assert lo <= y.min() <= y.max() <= hi, name
        assert y.std() > 0.1


def test_values_that_only_move_share_one_scale() -> None:
    g = GraphBuilder("moves")
    x = g.input("x", ir.DataType.FLOAT, ("N", 2, 6, 6))
    y = g.op("Concat", g.op("MaxPool", x, kernel_shape=[1, 1]), g.op("Neg", x), axis=1)
    g.output("y", g.op("Transpose", y, perm=[0, 2, 3, 1]))
    quantised = quantize(g.model(), np.random.default_rng(0).normal(size=(9, 2, 6, 6)))
    ToInteger()(quantised)
    tables = [n for n in quantised.graph if n.op_type == "Table"]
    assert len(tables) == 1, "only Neg may need a table"


def test_recurrent_weights_are_stored_as_int8_and_computed_in_float() -> None:
    g = GraphBuilder("recurrent")
    rng = np.random.default_rng(0)
    x = g.input("x", ir.DataType.FLOAT, (7, 2, 5))
    w, r = (g.constant(rng.normal(size=(1, 24, n)).astype(np.float32) * 0.3, "w") for n in (5, 6))
    last = g.ops("LSTM", x, w, r, outputs=2, hidden_size=6)[1]
    last = g.op("Squeeze", last, g.ints(0))
    g.output("y", g.op("MatMul", last, g.constant(rng.normal(size=(6, 3)).astype(np.float32))))
    model = g.model()
    data = rng.normal(size=(14, 2, 5)).astype(np.float32)
    for quantised in (quantize(model, data), quantize(model, weights_only=True)):
        lstm = next(n for n in quantised.graph if n.op_type == "LSTM")
        for value in lstm.inputs[1:3]:
            assert value.producer().op_type == "DequantizeLinear"
            assert value.producer().inputs[0].dtype == ir.DataType.INT8
        assert lstm.inputs[0] is quantised.graph.inputs[0]
        a, b = (evaluate(m, {"x": data[:7]})["y"] for m in (model, quantised))
        assert np.abs(a - b).max() < 0.05 * np.abs(a).max() + 0.01


def test_nodes_that_only_move_numbers_between_float_operators_are_left_alone() -> None:
    g = GraphBuilder("moving")
    x = g.input("x", ir.DataType.FLOAT, (4, 3))
    y = g.op("LayerNormalization", g.op("Transpose", g.op("Reshape", x, g.ints(3, 4)),
                                        perm=[1, 0]), g.constant(np.ones(3, np.float32)))
    g.output("y", y)
    quantised = quantize(g.model(), np.ones((4, 3), np.float32))
    assert {n.op_type for n in quantised.graph} == {"Reshape", "Transpose", "LayerNormalization"}


def test_weights_only_keeps_activations_float_and_shrinks_the_file() -> None:
    model = small_networks.plain()
    quantised = quantize(model, weights_only=True)
    assert not any(n.op_type == "QuantizeLinear" for n in quantised.graph)
    assert noise(model, quantised, rows(model, 8)) < 0.03


def test_a_large_bias_beside_tiny_weights_keeps_its_value() -> None:
    g = GraphBuilder("bias")
    x = g.input("x", ir.DataType.FLOAT, ("N", 4))
    w = np.full((4, 2), 1e-9, np.float32)
    g.output("y", g.op("Gemm", x, g.constant(w), g.constant(np.array([5, -3], np.float32))))
    data = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    quantised = quantize(g.model(), data)
    ToInteger()(quantised)
    y = evaluate(quantised, {"x": data})["y"]
    np.testing.assert_allclose(y, np.broadcast_to([5, -3], y.shape), atol=0.02)


def test_tensors_that_are_always_zero_stay_zero() -> None:
    net = Net(0, ("N", 3), 3)
    net.v = net.g.op("Mul", net.v, net.g.constant(np.float32(0)))
    model = net.dense(4).model()
    data = rows(model, 8)
    expected = evaluate(model, {"x": data})["y"]
    quantised = quantize(model, data)
    ToInteger()(quantised)
    np.testing.assert_allclose(evaluate(quantised, {"x": data})["y"], expected, atol=0.01)


@pytest.mark.parametrize(("data", "message"), [
    (np.zeros((0, 3, 12, 12), np.float32), "empty"),
    (np.full((2, 3, 12, 12), np.nan, np.float32), "NaN"),
    ((np.zeros((2, 3, 12, 12), np.float32),) * 2, "2 arrays"),
    ({"image": np.zeros((2, 3, 12, 12), np.float32)}, "image"),
    (np.zeros((2, 3, 12), np.float32), "shape"),
    (None, "calibration"),
])
def test_calibration_that_cannot_serve_is_refused(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        quantize(small_networks.plain(), data)  # type: ignore[arg-type]


def test_options_are_checked() -> None:
    model = small_networks.plain()
    for options in ({"method": "guess"}, {"percentile": 0.5, "method": "percentile"},
                    {"io": "int4"}):
        with pytest.raises(DataError):
            quantize(model, rows(model, 2), **options)  # type: ignore[arg-type]


def test_weights_that_give_nan_are_named() -> None:
    net = Net(0, ("N", 3), 3).dense(4)
    net.v = net.g.op("Mul", net.v, net.g.constant(np.float32(np.inf)))
    model = net.dense(2).model()
    with pytest.raises(ModelError, match="mul"):
        quantize(model, rows(model, 4))


def test_a_quantised_model_is_not_quantised_again() -> None:
    _, quantised, _ = small("plain")
    with pytest.raises(ModelError, match="already"):
        quantize(quantised, rows(quantised, 4))


def test_a_fixed_batch_takes_any_number_of_rows() -> None:
    model = small_networks.plain(batch=4)
    quantised = quantize(model, rows(model, 10))
    assert noise(model, quantised, rows(model, 4, seed=1)) < 0.08
