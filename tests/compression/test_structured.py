"""compression.structured: the smaller network is the old one without the removed units."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.support.small_networks import NETWORKS, Net, rows

from ganglion.compression.pruning.structured import prune_channels
from ganglion.compression.size import model_bytes
from ganglion.errors import DataError, ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder

Silenced = Mapping[str, tuple[int, tuple[int, ...]]]


def without(model: ir.Model, x: np.ndarray, silenced: Silenced) -> np.ndarray:
    """The output when some channels are made zero: {value name: (axis, indices)}."""
    met = set()

    def silence(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        name = node.outputs[0].name
        if name not in silenced:
            return outputs
        met.add(name)
        axis, indices = silenced[name]
        y = outputs[0].copy()
        y[(slice(None),) * axis + (list(indices),)] = 0
        return (y, *outputs[1:])

    y = evaluate(model, {"x": x}, on_node=silence)["y"]
    assert met == set(silenced)
    return y


def agree(model: ir.Model, smaller: ir.Model, silenced: Silenced) -> None:
    x = rows(model, 5)
    expected = without(model, x, silenced)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(evaluate(smaller, {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)
    assert model_bytes(smaller) < model_bytes(model)
    onnx.checker.check_model(ir.to_proto(smaller), full_check=True)


def test_convolutions_through_normalisation_pooling_and_flatten() -> None:
    net = Net(4, ("N", 3, 8, 8), 3).conv(8).norm().act("Sigmoid")
    first = net.v
    net = net.pool("AveragePool").conv(6).act("Relu").pool()
    second = net.v
    model = net.flatten(24).dense(10).model()
    smaller, report = prune_channels(model, 0.5)
    assert report.units == {"conv": (8, 4), "conv_1": (6, 3), "dense": (10, 10)}
    assert "output of the network" in report.whole["dense"]
    agree(model, smaller, {first.name: (1, report.removed["conv"]),
                           second.name: (1, report.removed["conv_1"])})


@pytest.mark.parametrize("style", ["gemm", "matmul"])
def test_dense_layers(style: str) -> None:
    net = Net(5, ("N", 9), 9).dense(8, style).act("Tanh")
    first = net.v
    net = net.dense(6, style).act("Sigmoid")
    second = net.v
    model = net.dense(3, style).model()
    smaller, report = prune_channels(model, {"dense": 0.25, "dense_1": 0.5}, importance="l2")
    assert report.units == {"dense": (8, 6), "dense_1": (6, 3), "dense_2": (3, 3)}
    agree(model, smaller, {first.name: (1, report.removed["dense"]),
                           second.name: (1, report.removed["dense_1"])})


def test_a_residual_sum_loses_the_same_channels_in_every_branch() -> None:
    net = Net(6, ("N", 3, 6, 6), 3).conv(8).act("Relu")
    start = net.v
    inner = net.conv(8).act("Relu").v
    total = net.g.op("Add", start, net.conv(8).v)
    net.v = net.g.op("Sigmoid", total)
    end = net.v
    model = net.conv(2).act("GlobalAveragePool").flatten(2).model()
    smaller, report = prune_channels(model, 0.5)
    assert report.removed["conv"] == report.removed["conv_2"]
    assert report.units == {"conv": (8, 4), "conv_1": (8, 4), "conv_2": (8, 4), "conv_3": (2, 2)}
    agree(model, smaller, {start.name: (1, report.removed["conv"]),
                           inner.name: (1, report.removed["conv_1"]),
                           end.name: (1, report.removed["conv"])})


def test_depthwise_filters_go_with_the_channels_they_filter() -> None:
    net = Net(7, ("N", 3, 6, 6), 3).conv(8).act("Relu").depthwise().act("Sigmoid")
    last = net.v
    model = net.conv(4, 1).flatten(144).dense(3).model()
    smaller, report = prune_channels(model, {"conv": 0.5})
    depthwise = next(n for n in smaller.graph if n.name == "conv_1")
    assert depthwise.attributes["group"].as_int() == 4
    assert "conv_1" not in report.units
    agree(model, smaller, {last.name: (1, report.removed["conv"])})


def test_channels_are_found_again_behind_a_concatenation() -> None:
    net = Net(8, ("N", 2, 6, 6), 2).branches(4)
    joined = net.v
    model = net.act("Sigmoid").pool("AveragePool").flatten(72).dense(3).model()
    smaller, report = prune_channels(model, 0.5)
    gone = (*report.removed["conv"], *(k + 4 for k in report.removed["conv_1"]))
    after = next(n for n in model.graph if n.op_type == "Sigmoid").outputs[0]
    assert joined is not after
    agree(model, smaller, {after.name: (1, gone)})


def test_channels_last_reshapes_are_rewritten() -> None:
    net = Net(9, ("N", 3, 4, 4), 3).conv(6).act("Relu")
    act = net.v
    y = net.g.op("Transpose", net.v, perm=[0, 2, 3, 1])
    y = net.g.op("Reshape", y, net.g.ints(-1, 16, 6))
    net.v = net.g.op("Reshape", y, net.g.ints(-1, 96))
    net.c = 96
    model = net.dense(3).model()
    smaller, report = prune_channels(model, 0.5)
    shapes = [n.inputs[1].const_value.numpy().tolist() for n in smaller.graph
              if n.op_type == "Reshape"]
    assert shapes == [[-1, 16, 3], [-1, 48]]
    agree(model, smaller, {act.name: (1, report.removed["conv"])})


def test_a_transposed_convolution_shrinks_on_both_sides() -> None:
    net = Net(10, ("N", 3, 4, 4), 3).conv(6).act("Relu")
    first = net.v
    w = net.weights(6, 5, 2, 2, fan=12)
    net.c = 5
    net.v = net.g.op("Relu", net.g.op("ConvTranspose", net.v, w, net.vector(), strides=[2, 2],
                                      hint="up"))
    second = net.v
    model = net.conv(2).model()
    smaller, report = prune_channels(model, 0.4)
    assert report.units["up"] == (5, 3)
    agree(model, smaller, {first.name: (1, report.removed["conv"]),
                           second.name: (1, report.removed["up"])})


def test_the_features_of_a_recurrent_layer_shrink_and_its_units_stay() -> None:
    net = Net(11, (5, 2, 3), 3)
    net.v = net.g.op("MatMul", net.v, net.weights(3, 6, fan=3), hint="dense")
    first = net.v = net.g.op("Tanh", net.v)
    hidden = net.g.ops("GRU", net.v, net.weights(1, 12, 6, fan=6), net.weights(1, 12, 4, fan=4),
                       outputs=2, hidden_size=4)[0]
    net.v = hidden
    model = net.model()
    smaller, report = prune_channels(model)
    assert report.units == {"dense": (6, 3)}
    agree(model, smaller, {first.name: (2, report.removed["dense"])})


def test_what_cannot_be_followed_stays_whole_and_is_listed() -> None:
    net = Net(12, ("N", 4), 4).dense(6)
    net.v = net.g.op("LayerNormalization", net.v, net.vector())
    net = net.dense(5)
    net.v = net.g.op("Add", net.v, net.g.op("Slice", net.v, net.g.ints(0), net.g.ints(5),
                                            net.g.ints(1)))
    skip = net.g.op("Gemm", net.g.graph.inputs[0], net.weights(4, 5, fan=4), hint="skip")
    net.v = net.g.op("Softmax", net.g.op("Add", net.v, skip))
    model = net.dense(2).model()
    smaller, report = prune_channels(model)
    assert not report.removed
    assert "LayerNormalization" in report.whole["dense"]
    assert "Softmax" in report.whole["dense_1"]
    assert "Softmax" in report.whole["skip"]
    x = rows(model, 3)
    np.testing.assert_array_equal(evaluate(smaller, {"x": x})["y"], evaluate(model, {"x": x})["y"])


def test_a_sum_with_the_input_keeps_its_channels() -> None:
    net = Net(13, ("N", 3, 4, 4), 3)
    net = net.residual().conv(4).act("GlobalAveragePool").flatten(4).dense(2)
    _, report = prune_channels(net.model())
    assert set(report.removed) == {"conv", "conv_2"}
    assert "fixed" in report.whole["conv_1"]


def test_importance_by_batch_normalisation_removes_the_smallest_scales() -> None:
    net = Net(14, ("N", 3, 4, 4), 3).conv(6)
    gamma = net.g.constant(np.array([1, .1, 2, .2, 3, .3], np.float32))
    net.v = net.g.op("BatchNormalization", net.v, gamma, net.vector(), net.vector(),
                     net.vector(0.5, 1))
    model = net.act("Relu").conv(4).act("Relu").flatten(64).dense(2).model()
    _, report = prune_channels(model, importance="bn")
    assert report.removed == {"conv": (1, 3, 5)}
    assert "normalisation" in report.whole["conv_1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_stays_valid_and_the_given_one_untouched(name: str) -> None:
    model = NETWORKS[name]()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    smaller, report = prune_channels(model, 0.5)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    onnx.checker.check_model(ir.to_proto(smaller), full_check=True)
    assert report.removed
    y = evaluate(smaller, {"x": rows(model, 3)})["y"]
    assert y.shape == evaluate(model, {"x": rows(model, 3)})["y"].shape
    again, second = prune_channels(smaller, 0.0)
    assert not second.removed
    assert model_bytes(again) == model_bytes(smaller)


def test_wrong_requests_are_refused() -> None:
    model = NETWORKS["plain"]()
    for arguments, message in (({"fraction": 1.0}, "fraction"),
                               ({"fraction": {"nose": 0.5}}, "nose"),
                               ({"importance": "luck"}, "luck")):
        with pytest.raises(DataError, match=message):
            prune_channels(model, **arguments)


def test_a_layer_is_known_by_the_first_part_of_its_nodes_names() -> None:
    net = Net(15, ("N", 4), 4).dense(6).act("Relu").dense(6).act("Relu").dense(2)
    model = net.model()
    for node, name in zip((n for n in model.graph if n.op_type == "Gemm"),
                          ("hidden/MatMul", "hidden_1/MatMul", "out")):
        node.name = name
    _, report = prune_channels(model, {"hidden": 0.5})
    assert set(report.removed) == {"hidden/MatMul"}


def test_a_fraction_outside_its_range_is_refused() -> None:
    with pytest.raises(DataError, match="fraction"):
        prune_channels(NETWORKS["plain"](), {"conv": 1.5})


def test_weights_with_nan_are_refused() -> None:
    g = GraphBuilder("nan")
    x = g.input("x", ir.DataType.FLOAT, ("N", 2))
    y = g.op("Gemm", x, g.constant(np.full((2, 3), np.nan, np.float32)))
    g.output("y", g.op("Gemm", y, g.constant(np.ones((3, 2), np.float32))))
    with pytest.raises(ModelError, match="NaN"):
        prune_channels(g.model())
