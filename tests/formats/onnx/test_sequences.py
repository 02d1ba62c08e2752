"""Law: a part taken out of a sequence that a split made is the part of the tensor."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import ganglion as gg
from ganglion.errors import UnsupportedOp


def _file(path: Path, split: np.ndarray | None, place: int, axis: int) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(np.array(place, np.int64), "place")]
    if split is not None:
        constants.append(numpy_helper.from_array(split, "split"))
    nodes = [helper.make_node("SplitToSequence", ["x"] + ["split"] * (split is not None), ["parts"],
                              axis=axis),
             helper.make_node("SequenceAt", ["parts", "place"], ["part"]),
             helper.make_node("Neg", ["part"], ["y"])]
    proto = helper.make_model(helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 7))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("a", "b"))], constants),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(proto, path)
    return proto


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize(("split", "places"), [(3, (0, 1, 2)), ([2, 0, 5], (0, 1, 2, -1, -3))],
                         ids=["equal", "listed"])
def test_a_part_is_the_one_that_onnx_means(tmp_path: Path, split, places, axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    for place in places:
        proto = _file(tmp_path / "net.onnx", np.array(split, np.int64), place, axis)
        wanted, = ReferenceEvaluator(proto).run(None, {"x": x})
        if wanted.size == 0:
            continue
        model = gg.load(tmp_path / "net.onnx")
        assert [n.op_type for n in model.graph] == ["Slice", "Neg"]
        found = gg.compile(model, isas=("scalar",)).session().run(x)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("split", "place"), [(3, -1), ([3, 4], 2), (None, 0)],
                         ids=["from the end", "beyond", "without sizes"])
def test_what_is_not_known_is_named(tmp_path: Path, split, place: int) -> None:
    sizes = None if split is None else np.array(split, np.int64)
    _file(tmp_path / "net.onnx", sizes, place, 1)
    with pytest.raises(UnsupportedOp, match="SplitToSequence"):
        gg.compile(gg.load(tmp_path / "net.onnx"))


def test_a_sequence_that_the_network_gives_is_refused_by_name(tmp_path: Path) -> None:
    split = helper.make_node("SplitToSequence", ["x"], ["parts"])
    given = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(
        [split], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 7))], [given]),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOp, match="parts"):
        gg.load(tmp_path / "net.onnx")
