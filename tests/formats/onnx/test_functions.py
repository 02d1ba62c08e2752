"""Laws: an operator that ONNX defines by others gives what ONNX's own reference gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import ganglion as gg
from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.passes.pipeline import prepare

DRAW = np.random.default_rng(3)
HEADS = {f: DRAW.normal(size=(2, 3, n, 8)).astype(np.float32)
         for f, n in (("Q", 4), ("K", 6), ("V", 6))}
ROWS = {"X": DRAW.normal(size=(2, 3, 8)).astype(np.float32),
        "scale": DRAW.normal(size=8).astype(np.float32)}
SCORES = {"scores": DRAW.normal(size=(3, 5)).astype(np.float32),
          "labels": np.asarray([0, 4, 2], np.int64)}


def model(name: str, inputs: dict[str, np.ndarray], opset: int, **attrs: object) -> onnx.ModelProto:
    """One node that reads all inputs; an empty name among them is an absent one."""
    rank = 0 if "scores" in inputs else next(iter(inputs.values())).ndim
    node = helper.make_node(name, list(inputs), ["y"], **attrs)  # type: ignore[arg-type]
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info(
            k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items() if k],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd")[:rank])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize(("name", "inputs", "opset", "attrs"), [
    ("Attention", HEADS, 23, {}),
    ("Attention", HEADS, 24, {"is_causal": 1, "softcap": 2.0}),
    ("Attention", HEADS | {"": ROWS["X"], "past": HEADS["K"], "old": HEADS["V"]}, 23, {}),
    ("RMSNormalization", ROWS, 23, {"axis": -1}),
    ("SoftmaxCrossEntropyLoss", SCORES, 13, {"reduction": "sum"}),
    ("Swish", {"X": ROWS["X"]}, 24, {"alpha": 1.5})])
def test_what_onnx_defines_by_others_answers_as_its_reference(
        name: str, inputs: dict[str, np.ndarray], opset: int, attrs: dict[str, object],
        tmp_path: Path) -> None:
    proto = model(name, inputs, opset, **attrs)
    if "past" in inputs:
        proto.graph.node[0].output.extend(["new_k", "new_v"])
    onnx.save(proto, tmp_path / "one.onnx")
    given = {k: v for k, v in inputs.items() if k}
    wanted = ReferenceEvaluator(proto).run(["y"], given)[0]
    np.testing.assert_allclose(evaluate(prepare(gg.load(tmp_path / "one.onnx")), given)["y"],
                               wanted, rtol=1e-5, atol=1e-6)


def test_what_is_written_out_compiles(tmp_path: Path) -> None:
    onnx.save(model("Attention", HEADS, 23, is_causal=1), tmp_path / "one.onnx")
    assert gg.compile(gg.load(tmp_path / "one.onnx")).manifest["check"]["status"] == "passed"


def test_what_is_written_out_counts_against_the_limit(tmp_path: Path) -> None:
    onnx.save(model("Attention", HEADS, 23), tmp_path / "one.onnx")
    with pytest.raises(ModelError, match="Attention written out, has"):
        gg.load(tmp_path / "one.onnx", max_nodes=5)


def test_a_definition_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    onnx.save(model("RMSNormalization", {"X": ROWS["X"]}, 23), tmp_path / "one.onnx")
    with pytest.raises((ModelError, UnsupportedOp), match="RMSNormalization"):
        gg.load(tmp_path / "one.onnx")
