"""Laws of the initial weights."""

import math

import numpy as np
import pytest

from ganglion import layers as L
from ganglion.errors import ModelError
from ganglion.layers import initializers, regularizers

SHAPE = (3, 3, 64, 96)
FAN_IN, FAN_OUT = 9 * 64, 9 * 96


def drawn(spec, shape=SHAPE, seed=0):
    return initializers.get(spec)(shape, (seed,))


@pytest.mark.parametrize(("name", "variance"), [
    ("glorot_uniform", 2 / (FAN_IN + FAN_OUT)), ("glorot_normal", 2 / (FAN_IN + FAN_OUT)),
    ("he_uniform", 2 / FAN_IN), ("he_normal", 2 / FAN_IN),
    ("lecun_uniform", 1 / FAN_IN), ("lecun_normal", 1 / FAN_IN),
    ("random_normal", 0.05 ** 2), ("random_uniform", 0.05 ** 2 / 3),
    ("truncated_normal", (0.05 * 0.87962566) ** 2)])
def test_a_random_initializer_has_mean_zero_and_its_variance(name, variance):
    w = drawn(name).astype(np.float64)
    assert w.dtype == np.float64
    assert abs(w.mean()) < 5 * math.sqrt(variance / w.size)
    assert w.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal", "random_uniform"])
def test_an_initializer_gives_the_same_for_the_same_seed_only(name):
    np.testing.assert_array_equal(drawn(name), drawn(name))
    assert not np.array_equal(drawn(name), drawn(name, seed=1))
    assert drawn(name).dtype == np.float32


def test_a_truncated_normal_stays_within_two_standard_deviations():
    assert np.abs(drawn(initializers.TruncatedNormal(1.0, 0.5)) - 1).max() <= 1.0


@pytest.mark.parametrize("shape", [(4, 4), (3, 12), (12, 3), (2, 3, 4)])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(shape):
    w = drawn("orthogonal", shape).reshape(-1, shape[-1]).astype(np.float64)
    rows, cols = w.shape
    product = w @ w.T if rows < cols else w.T @ w
    np.testing.assert_allclose(product, np.eye(min(rows, cols)), atol=1e-6)


def test_an_initializer_with_its_own_seed_ignores_the_network_s():
    own = initializers.GlorotUniform(seed=7)
    a = L.Sequential([L.Input((4,)), L.Dense(3, kernel_initializer=own)], seed=1)
    b = L.Sequential([L.Input((4,)), L.Dense(3, kernel_initializer=own)], seed=2)
    kernels = [m.graph.initializers["dense/kernel"].const_value.numpy() for m in (a, b)]
    np.testing.assert_array_equal(*kernels)


def test_fans_of_a_convolution_are_those_of_keras_s_shape():
    model = L.Sequential([L.Input((8, 8, 64)), L.Conv2D(96, 3, kernel_initializer="he_normal")])
    kernel = model.graph.initializers["conv2d/kernel"].const_value.numpy()
    assert kernel.shape == (96, 64, 3, 3)
    assert kernel.var() == pytest.approx(2 / FAN_IN, rel=0.03)


def test_the_forget_gate_of_an_lstm_starts_open():
    model = L.Sequential([L.Input((5, 3)), L.LSTM(2)])
    bias = model.graph.initializers["lstm/bias"].const_value.numpy()
    np.testing.assert_array_equal(bias, [[0, 0, 0, 0, 1, 1, 0, 0]])  # ONNX's order: i, o, f, c


def test_fixed_initializers_say_what_they_give():
    np.testing.assert_array_equal(drawn("zeros", (2,)), [0, 0])
    np.testing.assert_array_equal(drawn("ones", (2,)), [1, 1])
    np.testing.assert_array_equal(drawn(initializers.Constant(3.5), (2,)), [3.5, 3.5])
    np.testing.assert_array_equal(drawn("identity", (2, 3)), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(("make", "words"), [
    (lambda: drawn("orthogonal", (3,)), "two axes or more"),
    (lambda: drawn("identity", (3,)), "needs a weight of two axes"),
    (lambda: initializers.VarianceScaling(mode="fan"), "mode 'fan'"),
    (lambda: regularizers.L2(-1.0), "finite number >= 0"),
    (lambda: regularizers.L1(float("nan")), "finite number >= 0")])
def test_wrong_initializers_and_regularizers_are_refused(make, words):
    with pytest.raises(ModelError, match=words):
        make()


def test_regularizers_are_what_their_names_say():
    assert regularizers.get("l1_l2") == L.L1L2(0.01, 0.01)
    assert L.L2(0.1) == L.L1L2(0.0, 0.1)
    assert L.L1(0.1) == L.L1L2(0.1, 0.0)
    assert regularizers.get(None) is None
