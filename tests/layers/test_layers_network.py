"""Laws of Sequential and Functional."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.support.evaluation import run

from ganglion import layers as L
from ganglion.errors import ModelError


def small_cnn(seed: int = 0) -> ir.Model:
    return L.Sequential([L.Input((12, 12, 3)), L.Conv2D(4, 3, activation="relu"),
                         L.BatchNormalization(), L.MaxPooling2D(), L.Dropout(0.5), L.Flatten(),
                         L.Dense(10, activation="softmax", kernel_regularizer="l2")], seed=seed)


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {k: v.const_value.numpy() for k, v in model.graph.initializers.items()}


def test_a_described_network_is_valid_onnx_with_a_symbolic_batch():
    model = small_cnn()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert str(model.graph.inputs[0].shape) == "[N,12,12,3]"
    assert str(model.graph.outputs[0].shape) == "[N,10]"


def test_inference_of_the_small_cnn_gives_probabilities():
    x = np.random.default_rng(0).random((3, 12, 12, 3), np.float32)
    (y,) = run(small_cnn(), x)
    np.testing.assert_allclose(y.sum(axis=1), np.ones(3), atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    a, b, c = weights(small_cnn(3)), weights(small_cnn(3)), weights(small_cnn(4))
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name])
    assert not np.array_equal(a["dense/kernel"], c["dense/kernel"])


def test_two_layers_of_one_network_draw_different_weights():
    w = weights(L.Sequential([L.Input((4,)), L.Dense(4), L.Dense(4)]))
    assert not np.array_equal(w["dense/kernel"], w["dense_1/kernel"])


def test_layers_and_weights_are_named_as_keras_names_them():
    model = small_cnn()
    assert {n.metadata_props["ganglion.layer"] for n in model.graph} == {
        "conv2d", "batch_normalization", "max_pooling2d", "dropout", "flatten", "dense"}
    assert {"conv2d/kernel", "conv2d/bias", "batch_normalization/gamma",
            "batch_normalization/moving_mean", "dense/kernel"} <= set(model.graph.initializers)
    assert model.graph.inputs[0].name == "input_layer"
    assert model.graph.outputs[0].name == "dense"


def test_marks_say_what_is_trained_and_what_is_penalised():
    marks = {k: dict(v.metadata_props) for k, v in small_cnn().graph.initializers.items()}
    assert marks["conv2d/kernel"] == {"ganglion.trainable": "true"}
    assert marks["batch_normalization/moving_mean"] == {"ganglion.trainable": "false"}
    assert marks["dense/kernel"] == {"ganglion.trainable": "true",
                                     "ganglion.regularizer": '{"l1": 0.0, "l2": 0.01}'}


def test_a_frozen_layer_marks_all_its_weights_as_not_trained():
    model = L.Sequential([L.Input((4,)), L.Dense(4, trainable=False), L.Dense(2)])
    marks = {k: v.metadata_props["ganglion.trainable"] for k, v in
             model.graph.initializers.items()}
    assert marks == {"dense/kernel": "false", "dense/bias": "false",
                     "dense_1/kernel": "true", "dense_1/bias": "true"}


def test_a_layer_called_twice_shares_its_weights():
    a, b, shared = L.Input((3,)), L.Input((3,)), L.Dense(2)
    model = L.Functional([a, b], [shared(a), shared(b)])
    assert set(model.graph.initializers) == {"dense/kernel", "dense/bias"}
    x = np.ones((1, 3), np.float32)
    first, second = run(model, x, x)
    np.testing.assert_array_equal(first, second)


def test_an_input_may_be_an_output():
    x = L.Input((3,))
    model = L.Functional(x, [x, L.Activation("relu")(x)])
    value = np.array([[-1, 0, 2]], np.float32)
    same, positive = run(model, value)
    np.testing.assert_array_equal(same, value)
    np.testing.assert_array_equal(positive, np.maximum(value, 0))


@pytest.mark.parametrize(("build", "words"), [
    (lambda: L.Sequential([L.Dense(3)]), "the first entry must be Input"),
    (lambda: L.Sequential([]), "the first entry must be Input"),
    (lambda: L.Sequential([L.Input((3,)), "relu"]), "entry 1 is str"),
    (lambda: L.Sequential([L.Input((3, 3, 1)), L.Conv2D(1, 3), L.Conv2D(2, 5)]),
     r"Conv2D 'conv2d_1': kernel \(5, 5\) is larger than its input \(1, 1\)"),
    (lambda: L.Sequential([L.Input((3,)), L.Conv2D(1, 3)]), "expects an input of 4 axes"),
    (lambda: L.Dense("3"), r"Dense: units must be an integer below 2\^31, found '3'"),
    (lambda: L.BatchNormalization(momentum=float("nan")), "momentum must be a finite number"),
    (lambda: L.Dense(0), "Dense: units must be positive integers, found 0"),
    (lambda: L.Dense(3, activation="rleu"), "unknown activation 'rleu'; known: "),
    (lambda: L.Conv2D(3, (3, 3, 3)), "kernel_size must be one integer or 2 of them"),
    (lambda: L.Conv2D(3, 3, padding="full"), "padding must be one of 'valid', 'same'"),
    (lambda: L.Dropout(1.5), "rate must be between 0 and 1"),
    (lambda: L.Dense(3, name="a/b"), "without '/'"),
    (lambda: L.Input(5), r"write Input\(\(5,\)\)"),
    (lambda: L.Input((0,)), "positive integers or None"),
    (lambda: L.Sequential([L.Input((None, 4)), L.Flatten(), L.Dense(3)]), "is not fixed"),
    (lambda: L.Sequential([L.Input((3,), dtype="int32"), L.Dense(3)]), "expects float32"),
    (lambda: L.Sequential([L.Input((3,)), L.Dense(3, name="a"), L.Dense(3, name="a")]),
     "two layers are called 'a'"),
    (lambda: L.Sequential([L.Input((1 << 20,)), L.Dense(1 << 20)]), "the limit is"),
    (lambda: L.Functional(L.Input((3,)), L.Dense(3)(L.Input((3,), name="other"))),
     "InputLayer 'other', which is not among"),
    (lambda: L.Dense(3)(np.ones(3)), "layers are called on what Input"),
    (lambda: L.Sequential([L.Input((6,)), L.Reshape((4,))]), "cannot hold the 6 elements"),
    (lambda: L.Sequential([L.Input((6,)), L.Dense(3, kernel_initializer="glorot")]),
     "unknown initializer 'glorot'"),
    (lambda: L.Sequential([L.Input((6,)), L.Dense(3, kernel_regularizer="l3")]),
     "unknown regularizer 'l3'"),
])
def test_wrong_descriptions_are_refused_in_the_words_of_the_layer(build, words):
    with pytest.raises(ModelError, match=words):
        build()
