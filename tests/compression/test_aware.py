"""compression.quantize_aware: training in the places, and towards the codes, of quantize."""

import os
from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import uneven
from tests.support.small_networks import NETWORKS, rows

import ganglion as gg
from ganglion import layers as L
from ganglion.compression.quantization.quantize import quantize
from ganglion.errors import DataError, ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.passes.quantized.integer import ToInteger
from ganglion.training.step.weights import trainable

FULL = pytest.mark.skipif(not os.environ.get("GANGLION_FULL"),
                          reason="further draws: set GANGLION_FULL=1")


def kinds(model: ir.Model) -> list[str]:
    return sorted(node.op_type for node in model.graph)


def noise(a: ir.Model, b: ir.Model, x: np.ndarray) -> float:
    """Root mean squared difference of the outputs in units of their spread."""
    y, z = (evaluate(m, {"x": x})["y"] for m in (a, b))
    return float(np.sqrt(((y - z) ** 2).mean()) / y.std())


@pytest.mark.parametrize("name", NETWORKS)
def test_untrained_it_deploys_to_what_quantize_gives(name: str) -> None:
    model = NETWORKS[name]()
    data, x = rows(model, 32), rows(model, 16, seed=1)
    aware = gg.quantize_aware(model, data)
    deployed, plain = quantize(aware), quantize(model, data)
    assert kinds(deployed) == kinds(plain)
    assert noise(plain, deployed, x) < 0.02
    for ours, theirs in zip((*model.graph.inputs, *model.graph.outputs),
                            (*deployed.graph.inputs, *deployed.graph.outputs)):
        assert (ours.name, ours.dtype, str(ours.shape)) == (theirs.name, theirs.dtype,
                                                            str(theirs.shape))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_learns_answers_like_what_is_deployed(name: str, bits: int) -> None:
    model = NETWORKS[name]()
    aware = gg.quantize_aware(model, rows(model, 32), weight_bits=bits)
    deployed, x = quantize(aware), rows(model, 16, seed=1)
    ToInteger()(deployed)
    assert noise(aware, deployed, x) < 0.02


def test_weights_of_few_bits_have_few_codes() -> None:
    model = NETWORKS["plain"]()
    for small in (quantize(model, rows(model, 16), weight_bits=3),
                  quantize(gg.quantize_aware(model, rows(model, 16), weight_bits=3))):
        codes = [v.const_value.numpy() for v in small.graph.initializers.values()
                 if v.dtype == ir.DataType.INT8 and v.const_value is not None
                 and v.const_value.size > 1 and len(v.const_value.shape) > 1]
        assert codes
        assert max(int(np.abs(c.astype(int)).max()) for c in codes) == 3


def test_int8_ports_come_out_of_training_too() -> None:
    model = NETWORKS["plain"]()
    small = quantize(gg.quantize_aware(model, rows(model, 16)), io="int8")
    assert {small.graph.inputs[0].dtype, small.graph.outputs[0].dtype} == {ir.DataType.INT8}


def test_frozen_layers_stay_frozen_and_equal_weights_apart() -> None:
    frozen = L.Dense(6, activation="relu", name="frozen", trainable=False)
    model = gg.Sequential([gg.Input((6,)), frozen, L.Dense(6, activation="relu"), L.Dense(6)])
    x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    aware = gg.quantize_aware(model, x)
    learned = [str(v.name) for v in trainable(aware) if "log_scale" not in str(v.name)]
    assert len(learned) == 4, learned
    assert not any("frozen" in name for name in learned)
    assert any("log_scale" in str(v.name) for v in trainable(aware))


def test_the_given_model_is_not_changed() -> None:
    model = NETWORKS["plain"]()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    gg.quantize_aware(model, rows(model, 8))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_every_part_takes_part_in_training() -> None:
    (x, y), _ = uneven.digits()
    aware = gg.quantize_aware(uneven.depthwise_network(8, 1), x[:50])
    assert any(is_fake_quantize(node) for node in aware.graph)
    after, _ = gg.fit(aware, x[:60], y[:60], loss="sparse_categorical_crossentropy",
                      optimizer="adam", batch_size=30)
    for value in trainable(aware):
        learned = after.graph.initializers[str(value.name)].const_value
        assert not np.array_equal(learned.numpy(), value.const_value.numpy()), value.name


def test_wrong_uses_are_refused() -> None:
    model = NETWORKS["plain"]()
    data = rows(model, 8)
    aware = gg.quantize_aware(model, data)
    with pytest.raises(DataError, match="brings the ranges"):
        quantize(aware, data)
    with pytest.raises(DataError, match="weight_bits"):
        gg.quantize_aware(model, data, weight_bits=9)
    with pytest.raises(ModelError, match="already"):
        gg.quantize_aware(aware, data)
    with pytest.raises(DataError, match="calibration"):
        gg.quantize_aware(model, None)


@cache
def trained(seed: int) -> ir.Model:
    train, _ = uneven.digits()
    return uneven.trained(uneven.depthwise_network(8, seed), train, [(1e-2, 25), (1e-3, 8)], seed)


@pytest.mark.parametrize(("seed", "octaves", "bits"), [
    (0, 3.0, 8),
    (0, 3.0, 4),
    pytest.param(1, 4.0, 8, marks=FULL),
    pytest.param(1, 3.0, 4, marks=FULL),
    pytest.param(2, 4.0, 8, marks=FULL),
    pytest.param(2, 3.0, 4, marks=FULL)])
def test_training_recovers_at_least_half_of_what_rounding_loses(seed: int, octaves: float,
                                                                bits: int) -> None:
    train, test = uneven.digits()
    model = uneven.uneven(trained(seed), octaves, seed)
    rounded = quantize(model, train[0][:200], weight_bits=bits)
    aware = gg.quantize_aware(model, train[0][:200], weight_bits=bits)
    learned = quantize(uneven.trained(aware, train, [(3e-3, 10), (3e-4, 5)], seed))
    full, plain, after = (uneven.accuracy(m, test) for m in (model, rounded, learned))
    assert full - plain > 0.02, "the network is not hard"
    assert after - plain >= 0.5 * (full - plain), (full, plain, after)
