"""What int8 costs on real data, and that another runtime agrees with the quantised Model."""

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from tests.support.small_networks import NETWORKS, Net, rows

from ganglion.compression.quantization.quantize import quantize
from ganglion.ops.evaluate import evaluate
from ganglion.passes.quantized.integer import ToInteger


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 1, 8, 8] in [0, 1] in a fixed random order, and labels."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return ((data.images[order, None] / 16).astype(np.float32), data.target[order])


@cache
def classifier() -> ir.Model:
    """Random convolution filters with a ridge classifier on 1200 digits behind them."""
    images, labels = digits()
    net = Net(0, ("N", 1, 8, 8), 1).conv(24).act("Relu").pool().conv(48, 3).act("Relu")
    net = net.flatten(768)
    features, width = net.v, net.c
    net.g.output("features", features)
    x = evaluate(net.g.model(), {"x": images[:1200]})["features"]
    ridge = RidgeClassifier(alpha=30).fit(x, labels[:1200])
    net.g.graph.outputs.clear()
    w = net.g.constant(ridge.coef_.T.astype(np.float32).reshape(width, 10), "head")
    b = net.g.constant(ridge.intercept_.astype(np.float32), "head_bias")
    net.v = net.g.op("Softmax", net.g.op("Gemm", features, w, b))
    return net.model()


def accuracy(model: ir.Model) -> float:
    images, labels = digits()
    y = evaluate(model, {"x": images[1200:]})["y"]
    return float((y.argmax(axis=1) == labels[1200:]).mean())


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_int8_loses_at_most_half_a_point_on_digits(method: str) -> None:
    model = classifier()
    small = quantize(model, digits()[0][:200], method=method)
    ToInteger()(small)
    assert accuracy(model) > 0.95
    assert accuracy(small) >= accuracy(model) - 0.005


@pytest.mark.onnxruntime
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_reads_the_quantised_model_and_agrees(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = NETWORKS[name]()
    small = quantize(model, rows(model, 32))
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(ir.to_proto(small).SerializeToString(), options)
    x = rows(model, 8, seed=1)
    theirs, ours = session.run(None, {"x": x})[0], evaluate(small, {"x": x})["y"]
    assert np.abs(theirs - ours).max() <= 0.02 * np.abs(ours).max() + 1e-6
