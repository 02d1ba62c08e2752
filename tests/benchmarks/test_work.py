"""What a network has to do, and what the machine allows."""

import numpy as np
import onnx_ir as ir
import pytest
from benchmarks.machine import Peaks
from benchmarks.networks import INFERENCE, TRAINING
from benchmarks.work import macs, weight_bytes

import ganglion as gg
from ganglion import layers as L
from ganglion.training.step.batch import fix_batch


def fixed(*body: L.Layer | L.Tensor, rows: int = 1) -> ir.Model:
    return fix_batch(gg.Sequential(list(body)), rows)


def test_a_dense_layer_multiplies_each_input_by_each_unit() -> None:
    assert macs(fixed(L.Input((7,)), L.Dense(5), L.ReLU())) == 7 * 5


def test_a_convolution_of_kernel_one_is_a_dense_layer_for_each_pixel() -> None:
    dense = macs(fixed(L.Input((4,)), L.Dense(6)))
    assert macs(fixed(L.Input((3, 5, 4)), L.Conv2D(6, 1))) == 15 * dense


def test_a_depthwise_convolution_sums_over_its_window_alone() -> None:
    model = fixed(L.Input((8, 8, 6)), L.DepthwiseConv2D(3, strides=2, padding="same"))
    assert macs(model) == 4 * 4 * 6 * 9


@pytest.mark.parametrize(("layer", "gates"), [(L.SimpleRNN(6), 1), (L.GRU(6), 3), (L.LSTM(6), 4)])
def test_a_recurrent_layer_multiplies_input_and_state_at_each_step(layer: L.Layer,
                                                                   gates: int) -> None:
    assert macs(fixed(L.Input((10, 4)), layer)) == 10 * gates * 6 * (4 + 6)


def test_work_grows_with_the_batch_and_weights_do_not() -> None:
    body = (L.Input((9, 9, 2)), L.Conv2D(3, 3), L.Flatten(), L.Dense(4))
    one, many = fixed(*body), fixed(*body, rows=8)
    assert macs(many) == 8 * macs(one)
    assert weight_bytes(many) == weight_bytes(one)


def test_quantised_weights_are_counted_as_stored() -> None:
    model = gg.Sequential([L.Input((128,)), L.Dense(256, activation="relu"), L.Dense(128)])
    rows = np.random.default_rng(0).standard_normal((32, 128)).astype(np.float32)
    small = fix_batch(gg.quantize(model, rows), 1)
    assert macs(small) == macs(fix_batch(model, 1)) == 2 * 128 * 256
    weights = 2 * 128 * 256
    assert weights <= weight_bytes(small) < 1.2 * weights


def test_the_bound_is_arithmetic_or_reading_whichever_takes_longer() -> None:
    peaks = Peaks(float_macs=1e9, int8_macs=4e9, read=lambda size: 1e10, isas=("scalar",))
    assert peaks.bound_us(10_000, 1_000, integer=False) == pytest.approx(10.0)
    assert peaks.bound_us(10_000, 1_000, integer=True) == pytest.approx(2.5)
    assert peaks.bound_us(10_000, 1_000_000, integer=True) == pytest.approx(100.0)


def test_the_better_of_two_measurements_counts() -> None:
    calm = Peaks(2e9, 3e9, lambda size: 1e9, ("scalar",))
    busy = Peaks(1e9, 4e9, lambda size: 2e9, ("scalar",))
    best = calm.best(busy)
    assert (best.float_macs, best.int8_macs, best.read(64)) == (2e9, 4e9, 2e9)


@pytest.mark.parametrize("network", {n.name: n for n in (*INFERENCE, *TRAINING)}.values(),
                         ids=lambda n: n.name)
def test_every_network_of_the_benchmark_is_described_completely(network) -> None:  # type: ignore[no-untyped-def]
    assert macs(fix_batch(network.model(), 1)) > 0
