"""Laws: operators that ONNX dropped before opset 1 was final compute what they were defined as."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ganglion as gg
from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate

X = np.random.default_rng(0).normal(size=(1, 3, 5, 6)).astype(np.float32)
BIAS = np.float32([1, -2, 0.5])


def load(name: str, folder: Path, **attrs: object) -> object:
    graph = helper.make_graph(
        [helper.make_node(name, ["x"], ["y"], **attrs)], "old",  # type: ignore[arg-type]
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd"))])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=3),
              folder / "old.onnx")
    return evaluate(gg.load(folder / "old.onnx"), {"x": X})["y"]


@pytest.mark.parametrize(("name", "attrs", "wanted"), [
    ("ImageScaler", {"scale": 2.0, "bias": BIAS.tolist()}, X * 2 + BIAS[:, None, None]),
    ("ImageScaler", {}, X),
    ("Affine", {"alpha": 3.0, "beta": -1.0}, X * 3 - 1),
    ("Crop", {"border": [1, 2, 3, 0]}, X[:, :, 2:, 1:3]),
    ("Crop", {"border": [1, 2, 0, 0], "scale": [2, 3]}, X[:, :, 2:4, 1:4])])
def test_what_was_dropped_is_still_computed(name: str, attrs: dict[str, object], wanted: np.ndarray,
                                            tmp_path: Path) -> None:
    np.testing.assert_allclose(load(name, tmp_path, **attrs), wanted, rtol=1e-6)


@pytest.mark.parametrize("border", [[1, 2], [1, 2, -1, 0]])
def test_a_border_that_makes_no_sense_is_refused(border: list[int], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="left, top"):
        load("Crop", tmp_path, border=border)
