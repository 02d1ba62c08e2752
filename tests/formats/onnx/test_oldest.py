"""Laws: what opset 1 to 6 said otherwise computes what it was defined as."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ganglion as gg
from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
B = np.float32([1, -2, 0.5])
HALF = np.where(X < 0, X * B[:, None, None], X)


def load(name: str, opset: int, folder: Path, b: np.ndarray | None = None, **attrs: object
         ) -> np.ndarray:
    given = ["x"] if b is None else ["x", "b"]
    graph = helper.make_graph(
        [helper.make_node(name, given, ["y"], **attrs)], "old",  # type: ignore[arg-type]
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [] if b is None else [onnx.numpy_helper.from_array(b, "b")])
    if b is not None:
        graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, b.shape))
    graph.output[0].type.tensor_type.shape.SetInParent()
    for size in (2, 12, 5) if name == "Reshape" else X.shape:
        graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                                ir_version=3), folder / "old.onnx")
    return evaluate(gg.load(folder / "old.onnx"), {"x": X})["y"]


@pytest.mark.parametrize(("name", "opset", "b", "attrs", "wanted"), [
    ("Add", 6, B, {"broadcast": 1, "axis": 1}, X + B[:, None, None]),
    ("Mul", 1, B, {"broadcast": 1, "axis": -3, "consumed_inputs": [0, 0]}, X * B[:, None, None]),
    ("Sub", 6, X[0, 0, 0], {"broadcast": 1}, X - X[0, 0, 0]),
    ("PRelu", 6, B, {}, HALF),
    ("Relu", 1, None, {"consumed_inputs": [0]}, np.maximum(X, 0)),
    ("Cast", 1, None, {"to": "FLOAT"}, X),
    ("Reshape", 1, None, {"shape": [2, 12, 5]}, X.reshape(2, 12, 5)),
    ("Dropout", 6, None, {"is_test": 1, "ratio": 0.5}, X)])
def test_what_old_opsets_said_is_computed(name: str, opset: int, b: np.ndarray | None,
                                          attrs: dict[str, object], wanted: np.ndarray,
                                          tmp_path: Path) -> None:
    np.testing.assert_allclose(load(name, opset, tmp_path, b, **attrs), wanted, rtol=1e-6)


@pytest.mark.parametrize(("name", "attrs", "error", "words"), [
    ("Dropout", {}, UnsupportedOp, "training mode"),
    ("Cast", {"to": "FLOTE"}, ModelError, "FLOTE")])
def test_what_cannot_be_said_today_is_refused(
        name: str, attrs: dict[str, object], error: type[Exception], words: str,
        tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        load(name, 1, tmp_path, **attrs)
