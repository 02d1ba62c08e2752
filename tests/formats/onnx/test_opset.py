"""Laws of changing opsets: the network means what it meant in its own opset."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ganglion.errors import UnsupportedOp
from ganglion.formats.onnx.reader import load_onnx
from ganglion.ops.evaluate import evaluate

RNG = np.random.default_rng(4)


def net(opset: int, node: onnx.NodeProto, shape: list[int], out: list[int],
        weights: dict[str, np.ndarray] | None = None, kind: int = TensorProto.FLOAT,
        ) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node], "net", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(n, kind, out) for n in node.output],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def load(model: onnx.ModelProto, tmp_path: Path) -> ir.Model:
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load_onnx(path)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


OLD = {
    "reduce": net(13, helper.make_node("ReduceMean", ["x"], ["y"], "n", axes=[1, -1], keepdims=0),
                  [2, 3, 4], [2]),
    "reduce all": net(13, helper.make_node("ReduceMax", ["x"], ["y"], "n"), [2, 3], [1, 1]),
    "split": net(13, helper.make_node("Split", ["x"], ["y", "z"], "n", axis=1), [2, 6], [2, 3]),
    "pad": net(13, helper.make_node("Pad", ["x", "p"], ["y"], "n"), [2, 3], [2, 5],
               {"p": np.array([0, 1, 0, 1])}),
    "softmax": net(13, helper.make_node("Softmax", ["x"], ["y"], "n"), [2, 3], [2, 3]),
    "lstm": net(13, helper.make_node("LSTM", ["x", "w", "r"], ["y"], "n", hidden_size=2),
                [4, 1, 3], [4, 1, 1, 2], {"w": f32(1, 8, 3), "r": f32(1, 8, 2)}),
    "resize": net(13, helper.make_node("Resize", ["x", "", "s"], ["y"], "n", mode="nearest",
                                       coordinate_transformation_mode="asymmetric",
                                       nearest_mode="floor"), [1, 1, 2, 2], [1, 1, 4, 4],
                  {"s": np.array([1, 1, 2, 2], np.float32)}),
    "new gelu": net(22, helper.make_node("Gelu", ["x"], ["y"], "n"), [2, 3], [2, 3]),
    "new conv": net(22, helper.make_node("Conv", ["x", "w"], ["y"], "n"), [1, 2, 4], [1, 3, 2],
                    {"w": f32(3, 2, 3)}),
    "new cast": net(24, helper.make_node("Cast", ["x"], ["y"], "n", to=TensorProto.FLOAT,
                                         saturate=1, round_mode="up"), [2, 3], [2, 3]),
}


@pytest.mark.parametrize("name", OLD)
def test_converted_network_means_the_same(name: str, tmp_path: Path) -> None:
    original = OLD[name]
    shape = [d.dim_value for d in original.graph.input[0].type.tensor_type.shape.dim]
    x = f32(*shape)
    loaded = load(original, tmp_path)
    assert dict(loaded.graph.opset_imports) == {"": 21, "ai.ganglion": 1}
    onnx.checker.check_model(ir.to_proto(loaded), full_check=True)
    expected = ReferenceEvaluator(original).run(None, {"x": x})
    found = ReferenceEvaluator(ir.to_proto(loaded)).run(None, {"x": x})
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_old_batch_norm_normalises_by_its_running_statistics(tmp_path: Path) -> None:
    stats = {"a": f32(3), "b": f32(3), "c": f32(3), "d": np.abs(f32(3)) + 1}
    node = helper.make_node("BatchNormalization", ["x", *"abcd"], ["y"], "n")
    loaded = load(net(13, node, [2, 3, 4], [2, 3, 4], stats), tmp_path)
    x = f32(2, 3, 4)
    a, b, c, d = (v[:, None] for v in stats.values())
    found = ReferenceEvaluator(ir.to_proto(loaded)).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, (x - c) / np.sqrt(d + 1e-5) * a + b, rtol=1e-5, atol=1e-5)


def test_old_grid_sample_is_the_new_one_under_its_new_name(tmp_path: Path) -> None:
    grid, x = f32(1, 2, 2, 2) / 3, f32(1, 1, 3, 3)
    found = [ReferenceEvaluator(ir.to_proto(load(net(
        opset, helper.make_node("GridSample", ["x", "g"], ["y"], "n", mode=mode), [1, 1, 3, 3],
        [1, 1, 2, 2], {"g": grid}), tmp_path))).run(None, {"x": x})[0]
        for opset, mode in ((16, "bilinear"), (20, "linear"))]
    np.testing.assert_array_equal(*found)


NEW = {
    "operator": (net(26, helper.make_node("CumProd", ["x", "s"], ["y"], "odd"), [2, 3], [2, 3],
                     {"s": np.asarray(1)}), "CumProd"),
    "attribute": (net(28, helper.make_node("SpaceToDepth", ["x"], ["y"], "odd", blocksize=2,
                                           mode="CRD"), [1, 1, 4, 4], [1, 4, 2, 2]), "mode='CRD'"),
    "float modulo": (net(28, helper.make_node("Mod", ["x", "s"], ["y"], "odd"), [2, 3], [2, 3],
                         {"s": f32(3)}), "Mod"),
    "training": (net(13, helper.make_node("BatchNormalization", ["x", *"abcd"],
                                          [*"yefgh"], "odd"), [2, 3], [2, 3],
                     {n: np.abs(f32(3)) for n in "abcd"}), "training mode"),
}


@pytest.mark.parametrize("name", NEW)
def test_what_opset_21_cannot_say_is_refused_by_node(name: str, tmp_path: Path) -> None:
    model, words = NEW[name]
    with pytest.raises(UnsupportedOp, match=words) as caught:
        load(model, tmp_path)
    assert "'odd'" in str(caught.value)


@pytest.mark.parametrize("axis", [0, 1, -2, 2])
@pytest.mark.parametrize("opset", [9, 12])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_before_opset_13_all_axes_from_the_given_one_on_were_one(
        op: str, opset: int, axis: int, tmp_path: Path) -> None:
    x = f32(2, 3, 4)
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1).astype(np.float64)
    powers = np.exp(flat)
    shares = powers / powers.sum(1, keepdims=True)
    wanted = {"Softmax": shares, "LogSoftmax": np.log(shares),
              "Hardmax": flat == flat.max(1, keepdims=True)}[op].reshape(x.shape)
    model = load(net(opset, helper.make_node(op, ["x"], ["y"], "n", axis=axis), [2, 3, 4],
                     [2, 3, 4]), tmp_path)
    np.testing.assert_allclose(evaluate(model, {"x": x})["y"], wanted, rtol=1e-5)
