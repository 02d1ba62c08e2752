"""Channels without weights, with tiny and with huge ones: a quantised product answers as its codes
say, the bias in full."""

import os

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.uneven_channels import (
    BIASES,
    CHANNELS,
    LAYERS,
    SCALES,
    SIZES,
    Codes,
    Layer,
    codes_of,
    network,
    outputs_of,
    weights,
)

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.quantized.integer import ToInteger

DRAWS = float(os.environ.get("GANGLION_DRAWS", "1"))
ROADS = {"minmax": {}, "one_scale": {"per_channel": False}, "four_bits": {"weight_bits": 4},
         "two_bits_one_scale": {"weight_bits": 2, "per_channel": False}}


def inputs(shape: tuple[int, ...], scale: float, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).uniform(-0.2, 1, (24, *shape)) * scale
    return drawn.astype(np.float32)


def assert_law(name: str, sizes: tuple[float, ...], biases: tuple[float, ...], scale: float,
               clamp: str | None, road: str, aware: bool, compiled: bool = False) -> None:
    """|answer - (w · x + b)| ≤ half an output step, for the numbers that the codes of w and x stand
    for; where a channel has weights, and half a step of its sum, in which its bias is counted."""
    layer = LAYERS[name]
    w, b = weights(layer, sizes, 3), np.asarray(biases, np.float32)
    model, x = network(layer, w, b, clamp), inputs(layer.x, scale, 4)
    if aware:
        quantised = gg.quantize(gg.quantize_aware(model, x, **ROADS[road]))
    else:
        quantised = gg.quantize(model, x, **ROADS[road])
    found = codes_of(layer, quantised, x)
    if compiled:
        answer = gg.compile(quantised).session().run(x)
    else:
        ToInteger()(quantised)
        assert any(n.op_type.startswith("QLinear") for n in quantised.graph)
        answer = evaluate(quantised, {"x": x})["y"]
    expected = evaluate(network(layer, found.w, b, clamp), {"x": found.x}, dtype=np.float64)["y"]
    bound = found.step * 0.501 + found.sum_step / 2 + 1e-6 * np.abs(expected)
    assert (np.abs(answer - np.clip(expected, *found.limits)) <= bound).all()
    if not aware:
        assert_weights(layer, w, found, road)


def assert_weights(layer: Layer, w: np.ndarray, found: Codes, road: str) -> None:
    """A bias makes weights coarser only where the output cannot show it."""
    high = 127 if "bits" not in road else 7 if "four" in road else 1
    most = max(float(np.abs(part).max()) for part in outputs_of(layer, w))
    x_most = float(np.abs(found.x).max())
    for real, coded in zip(outputs_of(layer, w), outputs_of(layer, found.w)):
        own = float(np.abs(real).max()) if ROADS[road].get("per_channel", layer.axis >= 0) else most
        error = float(np.abs(real.astype(np.float64) - coded).max())
        allowed = max(own / high, 2.0 ** -60) * 0.501
        assert error <= allowed or error * x_most * real.size <= found.step / 8


SIZE, BIAS = st.sampled_from(SIZES), st.sampled_from(BIASES)


@settings(max_examples=int(60 * DRAWS), deadline=None, derandomize=True)
@given(st.sampled_from(list(LAYERS)), st.tuples(*[SIZE] * CHANNELS), st.tuples(*[BIAS] * CHANNELS),
       st.sampled_from(SCALES), st.sampled_from([None, "relu", "relu6"]),
       st.sampled_from(list(ROADS)), st.booleans())
def test_a_channel_answers_within_half_an_output_step(
        name: str, sizes: tuple[float, ...], biases: tuple[float, ...], scale: float,
        clamp: str | None, road: str, aware: bool) -> None:
    assert_law(name, sizes, biases, scale, clamp, road, aware)


@pytest.mark.parametrize("aware", [False, True])
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_dead_channel_says_its_bias(name: str, road: str, aware: bool) -> None:
    assert_law(name, (0.01, 0, 0.02, 1e-30), (-1.0, 0.4, 0.3, 0.4), 255.0, None, road, aware)


@pytest.mark.parametrize("aware", [False, True])
@pytest.mark.parametrize("road", ROADS)
def test_a_layer_without_any_weights_says_its_biases(road: str, aware: bool) -> None:
    for name in LAYERS:
        assert_law(name, (0,) * 4, (-1.0, 0.4, 0.3, 1e-4), 255.0, None, road, aware)


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_it_says_the_same(name: str) -> None:
    assert_law(name, (0.01, 0, 1e-30, 40.0), (-1.0, 0.4, 0.3, 4.0), 255.0, "relu6", "minmax",
               aware=False, compiled=True)


def test_a_dead_channel_can_learn_its_weights_by_the_scale_of_the_others() -> None:
    layer = LAYERS["gemm"]
    w = weights(layer, (0.01, 0, 0.03, 0.02), 3)
    aware = gg.quantize_aware(network(layer, w, np.zeros(CHANNELS), None), inputs(layer.x, 1.0, 4))
    scales = next(v.const_value.numpy().reshape(-1) for v in aware.graph.initializers.values()
                  if str(v.name).startswith("w") and "log_scale" in str(v.name))
    np.testing.assert_allclose(np.exp(scales[1]), np.abs(w).max() / 127, rtol=1e-5)


def test_a_batch_normalisation_that_shuts_a_channel_leaves_its_shift() -> None:
    model = gg.Sequential([gg.Input((6, 6, 3)), L.Conv2D(4, 3, name="c"),
                           L.BatchNormalization(name="n")])
    model.graph.initializers["n/gamma"].const_value = ir.tensor(np.array([1, 0, 0, 1], np.float32))
    model.graph.initializers["n/beta"].const_value = ir.tensor(np.array([0, 0.4, -3, 1],
                                                                        np.float32))
    x = inputs((6, 6, 3), 255.0, 4)
    for quantised in (gg.quantize(model, x), gg.quantize(gg.quantize_aware(model, x))):
        y = gg.compile(quantised).session().run(x)
        half = 0.501 * max(float(v.const_value.numpy()) for v in
                           quantised.graph.initializers.values() if "_scale" in str(v.name)
                           and v.const_value.numpy().ndim == 0)
        np.testing.assert_allclose(y[..., 1], 0.4, atol=half)
        np.testing.assert_allclose(y[..., 2], -3, atol=half)


def test_very_wide_layers_keep_their_sums_in_int32_by_larger_scales() -> None:
    g = GraphBuilder("wide")
    x = g.input("x", ir.DataType.FLOAT, ("N", 70_000))
    w = np.ones((70_000, 2), np.float32)
    g.output("y", g.op("Gemm", x, g.constant(w), g.constant(np.array([3e6, -5], np.float32))))
    data = np.random.default_rng(0).integers(0, 256, (4, 70_000)).astype(np.float32)
    quantised = gg.quantize(g.model(), data)
    ToInteger()(quantised)
    assert any(n.op_type == "QLinearGemm" for n in quantised.graph)
    y = evaluate(quantised, {"x": data})["y"]
    expected = data.sum(axis=1, keepdims=True) + np.array([3e6, -5])
    np.testing.assert_allclose(y, expected, rtol=0.02)


def test_numbers_that_no_scale_can_hold_are_refused() -> None:
    layer = LAYERS["gemm"]
    model = network(layer, weights(layer, (1, 1, 1, 1), 3), np.full(CHANNELS, 1e38), None)
    with pytest.raises(ModelError, match="more than float32 holds"):
        gg.quantize(model, inputs(layer.x, 1e-14, 4))
