"""Law: a node of opset 7 to 12 answers as ONNX Runtime answers for the file as it is."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ganglion as gg
from ganglion.errors import GanglionError
from ganglion.ops.evaluate import evaluate

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 6)).astype(np.float32)
SCALES = np.array([1, 1, 2, 1.5], np.float32)
ROW = RNG.uniform(0.5, 1.5, 3).astype(np.float32)

CASES: dict[str, tuple[tuple[int, ...], str, dict[str, object], dict[str, np.ndarray], int]] = {
    "squeeze": ((7, 9, 11, 12), "Squeeze", {"axes": [1]}, {}, 1),
    "unsqueeze": ((7, 11), "Unsqueeze", {"axes": [0, 2]}, {}, 1),
    "sum": ((7, 11, 12), "ReduceSum", {"axes": [1, 2], "keepdims": 0}, {}, 1),
    "sum of all": ((7, 12), "ReduceSum", {}, {}, 1),
    "mean": ((7, 12), "ReduceMean", {"axes": [3]}, {}, 1),
    "split": ((7, 12), "Split", {"axis": 3, "split": [1, 5]}, {}, 2),
    "equal split": ((7, 12), "Split", {"axis": 3}, {}, 2),
    "slice": ((7, 9), "Slice", {"starts": [1, 0], "ends": [9, 3], "axes": [2, 3]}, {}, 1),
    "slice of the first axes": ((7,), "Slice", {"starts": [0, 1], "ends": [1, 3]}, {}, 1),
    "slice by inputs": ((10, 11), "Slice", {}, {"s": np.int64([1]), "e": np.int64([3])}, 1),
    "pad": ((7, 10), "Pad", {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}, {}, 1),
    "reflection": ((7, 10), "Pad", {"pads": [0, 0, 1, 2, 0, 0, 1, 0], "mode": "reflect"}, {}, 1),
    "clip": ((7, 10), "Clip", {"min": -0.5, "max": 0.7}, {}, 1),
    "half a clip": ((7,), "Clip", {"max": 0.1}, {}, 1),
    "dropout": ((7, 10, 11), "Dropout", {"ratio": 0.7}, {}, 1),
    "normalisation": ((7, 8, 9, 12), "BatchNormalization", {},
                      {"a": ROW, "b": ROW - 1, "c": ROW * 2, "d": ROW}, 1),
    "upsampling by an attribute": ((7, 8), "Upsample", {"scales": SCALES.tolist()}, {}, 1),
    "upsampling": ((9,), "Upsample", {}, {"s": SCALES}, 1),
    "resizing": ((10,), "Resize", {}, {"s": SCALES}, 1),
    "resizing in lines": ((10,), "Resize", {"mode": "linear"}, {"s": np.float32([1, 1, 2, 2])}, 1),
    **{f"{name} from axis {axis}": ((7, 11, 12), name, {"axis": axis} if axis else {}, {}, 1)
       for name in ("Softmax", "LogSoftmax", "Hardmax") for axis in (None, 2, 3)},
    "softmax of all": ((7, 12), "Softmax", {"axis": 0}, {}, 1),
    "softmax from behind": ((11, 12), "Softmax", {"axis": -2}, {}, 1),
    "gemm": ((7, 9, 11), "Flatten", {"axis": 2}, {}, 1),
    "pooling": ((7, 10, 11), "AveragePool", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]}, {}, 1),
    "largest": ((7, 11, 12), "ArgMax", {"axis": 2}, {}, 1),
}


@pytest.mark.parametrize(("name", "version"), [(n, v) for n, c in CASES.items() for v in c[0]])
def test_an_old_node_answers_as_onnx_runtime_says(name: str, version: int, tmp_path: Path) -> None:
    _, op, attrs, constants, outputs = CASES[name]
    x = X[:, :1] if name == "squeeze" else X
    names = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(op, ["x", *constants], names, "n", **attrs)
    kind = TensorProto.INT64 if op == "ArgMax" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(n, kind, None) for n in names],
        [onnx.numpy_helper.from_array(a, n) for n, a in constants.items()])
    model = helper.make_model(graph, ir_version=4,
                              opset_imports=[helper.make_opsetid("", version)])
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    for port, wanted in zip(model.graph.output, expected):
        port.CopyFrom(helper.make_tensor_value_info(port.name, kind, wanted.shape))
    (tmp_path / "old.onnx").write_bytes(model.SerializeToString())
    read = gg.load(tmp_path / "old.onnx")
    for found, wanted in zip(evaluate(read, {"x": x}).values(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    if name != "equal split":
        built = gg.compile(read, isas=("scalar",), check=False, batch=2).session().run(x)
        first = built[0] if isinstance(built, tuple) else built
        np.testing.assert_allclose(first, expected[0], rtol=1e-4, atol=1e-5)


def test_an_unknown_opset_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    port = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", port[:1], port[1:]), ir_version=4,
                              opset_imports=[helper.make_opsetid("", 29)])
    (tmp_path / "old.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GanglionError, match="1 to 28"):
        gg.load(tmp_path / "old.onnx")


@pytest.mark.parametrize("size", [-1, "?"])
def test_what_exporters_write_for_any_size_is_open(size: int | str, tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size, 3, size]) for n in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:]), ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "open.onnx").write_bytes(model.SerializeToString())
    read = gg.load(tmp_path / "open.onnx", shapes={"x": [None, 3, 5]})
    built = gg.compile(read, isas=("scalar",), batch=4)
    assert built.session().inputs[0].shape == (4, 3, 5)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_nodes_may_stand_in_any_order(order: tuple[int, ...], tmp_path: Path) -> None:
    nodes = [helper.make_node(op, [a], [b], op) for op, a, b in (
        ("Exp", "x", "u"), ("Neg", "u", "v"), ("Abs", "v", "y"))]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
    graph = helper.make_graph([nodes[k] for k in order], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    read = gg.load(tmp_path / "net.onnx")
    assert [n.op_type for n in read.graph] == ["Exp", "Neg", "Abs"]


def test_a_node_that_gives_nothing_is_left_out(tmp_path: Path) -> None:
    nodes = [helper.make_node("RNN", ["x", "w", "w"], [], "none", hidden_size=2),
             helper.make_node("Neg", ["x"], ["y"])]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 2]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:],
                              [numpy_helper.from_array(np.ones((1, 2, 2), np.float32), "w")])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    built = gg.compile(gg.load(tmp_path / "net.onnx"), isas=("scalar",)).session()
    assert built.run(np.float32([[[1, 2]]])).tolist() == [[[-1, -2]]]


def test_nodes_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xb"]
    model = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:]), ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GanglionError):
        gg.load(tmp_path / "net.onnx")
