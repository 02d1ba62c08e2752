"""Quantised networks learn through their float shadow, and become int8 again."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import uneven
from tests.support.small_networks import NETWORKS, rows

import ganglion as gg
from ganglion import layers as L
from ganglion.ops.evaluate import evaluate
from ganglion.passes.quantized.float_shadow import FloatShadow, float_shadow
from ganglion.training.step.weights import trainable

LOSS = "sparse_categorical_crossentropy"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_shadow_answers_like_the_quantised_network_and_returns_to_it(name: str) -> None:
    model = NETWORKS[name]()
    quantised, x = gg.quantize(model, rows(model, 16)), rows(model, 8, seed=1)
    shadow = float_shadow(quantised)
    again = gg.quantize(shadow)
    first, second, third = (evaluate(m, {"x": x})["y"] for m in (quantised, shadow, again))
    np.testing.assert_allclose(second, first, atol=1e-5)
    np.testing.assert_allclose(third, first, atol=1e-5)
    assert sorted(n.op_type for n in again.graph) == sorted(n.op_type for n in quantised.graph)
    assert not FloatShadow()(shadow).modified


def test_ports_of_codes_become_floats() -> None:
    model = NETWORKS["plain"]()
    quantised = gg.quantize(model, rows(model, 16), io="int8")
    shadow = float_shadow(quantised)
    assert [v.dtype for v in (*shadow.graph.inputs, *shadow.graph.outputs)] == [
        ir.DataType.FLOAT] * 2
    x = rows(model, 4, seed=1)
    plain = gg.quantize(model, rows(model, 16))
    np.testing.assert_allclose(evaluate(shadow, {"x": x})["y"], evaluate(plain, {"x": x})["y"],
                               atol=1e-5)


@pytest.mark.parametrize("io", ["float", "int8"])
@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_quantised_file_is_trained_and_quantised_again(tmp_path: Path, suffix: str,
                                                         io: str) -> None:
    (x, y), test = uneven.digits()
    net = gg.Sequential([gg.Input((8, 8, 1)), L.Conv2D(6, 3, activation="relu"),
                         L.MaxPooling2D(), L.Flatten(), L.Dense(10, activation="softmax")])
    path = tmp_path / f"net{suffix}"
    write = gg.save if suffix == ".onnx" else gg.export
    write(gg.quantize(net, x[:100], io=io), path)
    learned, history = gg.fit(gg.load(path), x, y, loss=LOSS, epochs=8,
                              optimizer=gg.optimizers.Adam(learning_rate=5e-3))
    assert len([v for v in trainable(learned) if "log_scale" not in str(v.name)]) == 4
    assert history.history["loss"][-1] < 0.3 * history.history["loss"][0]
    small = gg.quantize(learned)
    assert uneven.accuracy(small, test) > 0.85
    assert gg.compile(small).manifest["check"]["exact"]


def test_uint8_weights_are_kept_within_a_step() -> None:
    from ganglion.ops.graph import GraphBuilder

    rng = np.random.default_rng(0)
    g = GraphBuilder("uint8")
    x = g.input("x", ir.DataType.FLOAT, ("N", 5))
    codes, zero = g.constant(rng.integers(0, 256, (5, 3)).astype(np.uint8)), np.uint8(70)
    w = g.op("DequantizeLinear", codes, g.constant(np.float32(0.02)), g.constant(zero))
    g.output("y", g.op("MatMul", x, w))
    model = g.model()
    data = rng.normal(size=(8, 5)).astype(np.float32)
    expected = evaluate(model, {"x": data})["y"]
    bound = np.abs(data).sum(1, keepdims=True) * 0.02
    assert (np.abs(evaluate(float_shadow(model), {"x": data})["y"] - expected) <= bound).all()
