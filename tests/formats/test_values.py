"""Laws: an input whose value is fixed is the constant that a file could have held in its place."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import ArrayLike
from onnx import TensorProto, helper
from typer.testing import CliRunner

import ganglion as gg
from ganglion.cli.app import app
from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.fixed import with_values

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)


def reduced(folder: Path) -> Path:
    """ReduceSum whose axes are an input."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape),
         helper.make_tensor_value_info("axes", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
              folder / "sum.onnx")
    return folder / "sum.onnx"


@pytest.mark.parametrize("axes", [[1], 1, np.int32([1]), [1.0]])
def test_a_fixed_input_is_a_constant(axes: ArrayLike, tmp_path: Path) -> None:
    model = gg.load(reduced(tmp_path), values={"axes": axes})
    assert [v.name for v in model.graph.inputs] == ["x"]
    np.testing.assert_allclose(evaluate(model, {"x": X})["y"], X.sum(1), rtol=1e-5, atol=1e-6)
    assert gg.compile(model).manifest["check"]["status"] == "passed"


def test_values_of_a_loaded_model_are_those_of_its_file(tmp_path: Path) -> None:
    path = reduced(tmp_path)
    early, late = gg.load(path, values={"axes": [2]}), with_values(gg.load(path), {"axes": [2]})
    assert [v.shape for v in late.graph.outputs] == [v.shape for v in early.graph.outputs]
    np.testing.assert_array_equal(evaluate(late, {"x": X})["y"], evaluate(early, {"x": X})["y"])


def test_a_fixed_input_takes_the_place_of_its_default(tmp_path: Path) -> None:
    model = onnx.load(reduced(tmp_path))
    model.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [1], [0]))
    onnx.save(model, tmp_path / "sum.onnx")
    found = evaluate(gg.load(tmp_path / "sum.onnx", values={"axes": [2]}), {"x": X})["y"]
    np.testing.assert_allclose(found, X.sum(2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("values", "words"), [
    ({"axis": [1]}, "no input is called 'axis'"), ({"axes": [1.5]}, "cannot hold"),
    ({"axes": "one"}, "cannot hold"), ({"axes": [0, 1]}, r"shape \[2\], expected \[1\]"),
    ({"axes": [1e30]}, "cannot hold"), ({"axes": [1 + 2j]}, "cannot hold")])
def test_a_value_that_does_not_fit_is_refused(values: dict[str, ArrayLike], words: str,
                                              tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        gg.load(reduced(tmp_path), values=values)
    with pytest.raises(ModelError, match=words):
        with_values(gg.load(reduced(tmp_path)), values)


@pytest.mark.parametrize(("given", "code"), [("axes=1", 0), ("axes=x", 2), ("axes", 2)])
def test_the_command_line_fixes_a_value(given: str, code: int, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["inspect", str(reduced(tmp_path)), "--value", given])
    assert (ran.exit_code == 0) == (code == 0), ran.output
    if code:
        assert "--value" in str(ran.exception) + ran.output


def test_the_given_model_is_left_alone(tmp_path: Path) -> None:
    model = gg.load(reduced(tmp_path))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    with_values(model, {"axes": [1]})
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
