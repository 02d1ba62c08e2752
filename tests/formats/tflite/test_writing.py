"""Laws of exporting: what is written and read again answers alike, here and in LiteRT."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import networks, small_networks
from tests.support.litert import answers, largest, litert, rows
from tests.support.qdq import QdqNet

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import DataError, UnsupportedOp
from ganglion.formats.tflite.read.network import load_tflite
from ganglion.formats.tflite.write.network import export, network_of
from ganglion.formats.tflite.write.rows import ROWS
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import find

COUNT = 4
AVERAGES = ("cnn", "conv1d", "small_plain")
"""Networks with average pools, whose halves TensorFlow Lite rounds away from zero."""


def both_ways() -> ir.Model:
    return L.Sequential([
        L.Input((7, 3)), L.Bidirectional(L.GRU(5, return_sequences=True)),
        L.GRU(4, go_backwards=True, return_sequences=True),
        L.Bidirectional(L.SimpleRNN(4, activation="relu", return_sequences=True)),
        L.Bidirectional(L.LSTM(4)), L.Dense(2)])


def backwards() -> ir.Model:
    return L.Sequential([L.Input((7, 3)), L.LSTM(5, go_backwards=True, return_sequences=True),
                         L.GRU(4, go_backwards=True, reset_after=False)])


def started() -> ir.Model:
    """ONNX's own forms: both directions from a given first state, all outputs read."""
    g = GraphBuilder("net")
    rng = np.random.default_rng(0)
    x = g.input("x", ir.DataType.FLOAT, (4, 1, 3))
    w, r, b = (g.constant(rng.normal(0, 0.5, shape).astype(np.float32))
               for shape in ((2, 15, 3), (2, 15, 5), (2, 30)))
    h0 = g.constant(rng.normal(0, 0.5, (2, 1, 5)).astype(np.float32))
    y, h = g.ops("GRU", x, w, r, b, None, h0, outputs=2, attrs={"hidden_size": 5,
                                                               "direction": "bidirectional"})
    g.output("y", y)
    g.output("h", h)
    return g.model()


NETWORKS = {**networks.NETWORKS,
            **{f"small_{k}": v for k, v in small_networks.NETWORKS.items()},
            "both_ways": both_ways, "backwards": backwards}
WRITTEN = sorted(NETWORKS)
ROUNDED = (*AVERAGES, "gru", "both_ways", "backwards")
"""Those, and networks with cells written step by step, which round float sums otherwise."""


def quantised(name: str) -> ir.Model:
    model = NETWORKS[name]()
    return gg.quantize(model, calibration=networks.drawn_inputs(model, 16))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_float_network_is_read_back_with_the_same_answer(name, tmp_path):
    model = NETWORKS[name]()
    export(model, tmp_path / "n.tflite")
    xs = networks.drawn_inputs(model, COUNT, 1)
    assert largest(answers(model, xs), answers(load_tflite(tmp_path / "n.tflite"), xs)) < 1e-5


@pytest.mark.parametrize("name", sorted(set(WRITTEN) - set(ROUNDED)))
def test_a_quantised_network_is_read_back_with_the_same_bits(name, tmp_path):
    model = quantised(name)
    export(model, tmp_path / "n.tflite")
    xs = networks.drawn_inputs(model, COUNT, 1)
    assert largest(answers(model, xs), answers(load_tflite(tmp_path / "n.tflite"), xs)) == 0


@pytest.mark.parametrize("name", ROUNDED)
def test_averages_of_codes_and_unrolled_steps_differ_by_rounding_alone(name, tmp_path):
    model = quantised(name)
    export(model, tmp_path / "n.tflite")
    xs = networks.drawn_inputs(model, COUNT, 1)
    assert largest(answers(model, xs), answers(load_tflite(tmp_path / "n.tflite"), xs)) < 0.03


@pytest.mark.parametrize("name", AVERAGES)
def test_writing_what_was_read_from_a_file_gives_the_same_bits(name, tmp_path):
    export(quantised(name), tmp_path / "a.tflite")
    once = load_tflite(tmp_path / "a.tflite")
    export(once, tmp_path / "b.tflite")
    again = load_tflite(tmp_path / "b.tflite")
    xs = networks.drawn_inputs(once, COUNT, 1)
    assert largest(answers(once, xs), answers(again, xs)) == 0


@pytest.mark.parametrize("name", ["cnn", "conv1d", "residual"])
def test_a_network_of_channels_last_images_needs_no_transpose(name):
    written = [o.name for o in network_of(NETWORKS[name]()).operators]
    assert "TRANSPOSE" not in written
    assert "CONV_2D" in written


@pytest.mark.parametrize("name", ["small_plain", "small_residual"])
def test_a_network_of_channels_first_images_is_turned_at_its_ends_alone(name):
    written = [o.name for o in network_of(NETWORKS[name]()).operators]
    assert written[0] == "TRANSPOSE"
    assert written.count("TRANSPOSE") <= 2


@pytest.mark.parametrize("name", ["dense", "linear", "two_heads"])
def test_a_quantised_network_computes_on_codes_between_its_ends(name):
    network = network_of(quantised(name))
    inner = [o for o in network.operators if o.name not in ("QUANTIZE", "DEQUANTIZE")]
    assert inner
    for operator in inner:
        assert {network.tensors[k].dtype.name for k in operator.outputs} == {"int8"}


def codes_net(dtype: type[np.integer]) -> ir.Model:
    """Codes in, codes out: uneven convolution, pool, sum of two branches, dense layer."""
    net = QdqNet(3)
    net.dtype = dtype
    x = net.input((1, 4, 9, 9))
    w, scale = net.weight((6, 4, 3, 3), 0)
    y = net.g.op("Conv", x, w, net.bias(6, np.float32(0.05) * scale), kernel_shape=[3, 3],
                 strides=[2, 2], pads=[1, 1, 0, 0])
    y = net.quantized(net.g.op("Relu", y), 0.06, -128)
    y = net.quantized(net.g.op("MaxPool", y, kernel_shape=[3, 3], strides=[1, 1],
                               pads=[1, 1, 1, 1]), 0.06, -128)
    w, scale = net.weight((6, 1, 3, 3), 0)
    z = net.g.op("Conv", y, w, net.bias(6, np.float32(0.06) * scale), kernel_shape=[3, 3],
                 pads=[1, 1, 1, 1], group=6)
    z = net.quantized(z, 0.05, 4)
    y = net.quantized(net.g.op("Add", y, z), 0.08, -5)
    y = net.quantized(net.g.op("Concat", y, z, axis=1), 0.08, -5)
    y = net.quantized(net.g.op("Reshape", y, net.g.ints(1, 192)), 0.08, -5)
    w, scale = net.weight((192, 5), 1)
    net.quantized(net.g.op("MatMul", y, w), 0.4, 3)
    return net.finish()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_codes_go_in_and_come_out_as_they_were(dtype, tmp_path):
    model = codes_net(dtype)
    info = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(info.min, info.max + 1, (COUNT, 4, 9, 9)).astype(dtype)
    export(model, tmp_path / "n.tflite")
    back = load_tflite(tmp_path / "n.tflite")
    assert [v.dtype for v in back.graph.inputs] == [v.dtype for v in model.graph.inputs]
    want, got = answers(model, [x]), answers(back, [x])
    assert got[0]["y"].dtype == dtype
    assert largest(want, got) == 0


MARGINS = {
    "uneven Conv": ("Conv", {"kernel_shape": [3, 3], "pads": [0, 1, 2, 0]}),
    "strided Conv": ("Conv", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "MaxPool": ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 0, 0]}),
    "counted AveragePool": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1],
                                            "count_include_pad": 1}),
    "AveragePool": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "ceiled MaxPool": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "ConvTranspose": ("ConvTranspose", {"kernel_shape": [3, 3], "strides": [2, 2],
                                        "pads": [1, 0, 1, 1], "output_padding": [1, 0]}),
}


@pytest.mark.parametrize("case", MARGINS)
def test_margins_are_kept_whatever_they_are(case, tmp_path):
    name, attrs = MARGINS[case]
    g, rng = GraphBuilder("net"), np.random.default_rng(0)
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 7, 7))
    weights = [] if "Pool" in name else [g.constant(rng.normal(size=(2, 2, 3, 3)).astype(
        np.float32), "w")]
    g.output("y", g.op(name, g.op("Neg", x), *weights, attrs=attrs))
    model = g.model()
    export(model, tmp_path / "n.tflite")
    xs = [rng.normal(size=(2, 2, 7, 7)).astype(np.float32)]
    assert largest(answers(model, xs), answers(load_tflite(tmp_path / "n.tflite"), xs)) < 1e-5


def test_what_cannot_be_written_is_named_and_leaves_no_file(tmp_path):
    g = GraphBuilder("net")
    g.output("y", g.op("Erf", g.input("x", ir.DataType.FLOAT, (1, 3))))
    with pytest.raises(UnsupportedOp, match=r"node '[^']*' \(Erf\)"):
        export(g.model(), tmp_path / "n.tflite")
    assert not list(tmp_path.iterdir())


def test_a_first_state_and_all_outputs_of_both_directions_are_written(tmp_path):
    model = started()
    export(model, tmp_path / "n.tflite")
    x = np.random.default_rng(1).normal(size=(4, 1, 3)).astype(np.float32)
    a, b = (evaluate(m, {"x": x}) for m in (model, load_tflite(tmp_path / "n.tflite")))
    assert sorted(a) == ["h", "y"]
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, atol=1e-6)


def test_margins_that_must_not_count_are_refused():
    g = GraphBuilder("net")
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 7, 7))
    g.output("y", g.op("AveragePool", x, kernel_shape=[3, 3], pads=[0, 0, 2, 2]))
    with pytest.raises(UnsupportedOp, match="count_include_pad"):
        network_of(g.model())


def test_every_rule_is_for_an_operator_of_the_table():
    assert [name for name in ROWS if find("", name) is None] == []


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(DataError, match="tflite"):
        gg.export(networks.linear(), tmp_path / "n.onnx")


def test_a_batch_is_written_as_it_is_asked_for(tmp_path):
    model = networks.cnn()
    export(model, tmp_path / "n.tflite", batch=3)
    back = load_tflite(tmp_path / "n.tflite")
    x = networks.drawn_inputs(model, 3, 1)[0]
    a, b = (next(iter(evaluate(m, {str(m.graph.inputs[0].name): x}).values()))
            for m in (model, back))
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.litert
@pytest.mark.parametrize("name", WRITTEN)
def test_litert_answers_alike(name, tmp_path):
    model = NETWORKS[name]()
    path = tmp_path / "n.tflite"
    export(model, path)
    xs = networks.drawn_inputs(model, COUNT, 1)
    assert largest(answers(model, xs), litert(path, model, rows(model, xs))) < 1e-5


@pytest.mark.litert
@pytest.mark.parametrize("name", sorted(networks.INTEGER))
def test_litert_answers_alike_on_codes(name, tmp_path):
    """The file on LiteRT is within two steps of its output's range of 255."""
    model = quantised(name)
    path = tmp_path / "n.tflite"
    export(model, path)
    xs = networks.drawn_inputs(model, COUNT, 1)
    network = network_of(model)
    step = max((max(t.quant.scale) for t in network.tensors
                if t.quant is not None and t.data is None), default=0.0)
    assert largest(answers(model, xs), litert(path, model, rows(model, xs))) <= 2.01 * step
