"""Whatever bytes a file holds, loader and passes give a Model or an error of this project."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ganglion.errors import GanglionError
from ganglion.formats.onnx.reader import load_onnx
from ganglion.passes.pipeline import prepare

CASES = 250


def seeds() -> Iterator[bytes]:
    """Real files: a small convolutional network and one with a function and computed shapes."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4),
               "d": rng.normal(size=(4, 2))}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
             helper.make_node("Relu", ["c"], ["r"], "relu"),
             helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
             helper.make_node("Flatten", ["p"], ["f"], "flat"),
             helper.make_node("MatMul", ["f", "d"], ["y"], "dense")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()])
    yield helper.make_model(graph, ir_version=10, opset_imports=[
        helper.make_opsetid("", 17)]).SerializeToString()
    function = helper.make_function(
        "mine", "Half", ["a"], ["b"],
        [helper.make_node("Constant", [], ["h"], value_float=0.5),
         helper.make_node("Mul", ["a", "h"], ["b"])], [helper.make_opsetid("", 21)])
    nodes = [helper.make_node("Shape", ["x"], ["s"], "shape"),
             helper.make_node("Half", ["x"], ["h"], "half", domain="mine"),
             helper.make_node("Reshape", ["h", "s"], ["y"], "reshape")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])])
    yield helper.make_model(graph, ir_version=10, functions=[function], opset_imports=[
        helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]).SerializeToString()


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    cut = rng.randrange(len(data))
    if kind == 0:
        return data[:cut]
    if kind == 1:
        return data[:cut] + other[rng.randrange(len(other)):]
    if kind == 2:
        return data[:cut] + data[cut + rng.randrange(1, 9):]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice((0, 0x7F, 0x80, 0xFF, changed[at] ^ 1 << rng.randrange(8)))
    return bytes(changed)


def accepts_or_explains(data: bytes, path: Path) -> bool:
    """Whether the file was accepted; anything but an error of this project passes through."""
    path.write_bytes(data)
    try:
        prepare(load_onnx(path))
    except GanglionError:
        return False
    return True


def test_mutated_file_is_read_or_explained(tmp_path: Path) -> None:
    rng = random.Random(20)
    files = list(seeds())
    accepted = 0
    for case in range(CASES):
        data = mutated(files[case % 2], files[1 - case % 2], rng)
        accepted += accepts_or_explains(data, tmp_path / "net.onnx")
    assert 0 < accepted < CASES // 2


def test_file_cut_at_any_field_is_explained(tmp_path: Path) -> None:
    for data in seeds():
        for cut in range(0, len(data) - 8, max(1, len(data) // 60)):
            accepts_or_explains(data[:cut], tmp_path / "net.onnx")


@settings(max_examples=60, deadline=None, database=None)
@given(st.binary(max_size=300))
def test_noise_is_explained(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.onnx"
    assert not accepts_or_explains(data, path)


INTEGERS = st.one_of(st.integers(-3, 5), st.sampled_from([2**31, 2**62, -2**63, 2**63 - 1]))
OPERATORS = ("Conv", "Reshape", "Gather", "Pad", "Slice", "Transpose", "Concat", "Split", "Tile",
             "Expand", "ConstantOfShape", "MaxPool", "LSTM", "Gemm", "MatMul", "Softmax", "Resize",
             "ReduceSum", "Squeeze", "Unsqueeze", "TopK", "OneHot", "Range", "DepthToSpace",
             "ConvTranspose", "Flatten", "Einsum", "GroupNormalization", "BatchNormalization")
ATTRIBUTES = ("axis", "axes", "perm", "pads", "kernel_shape", "strides", "group", "hidden_size",
              "num_outputs", "blocksize", "dilations", "keepdims", "num_groups", "to")


@settings(max_examples=150, deadline=None, database=None)
@given(op=st.sampled_from(OPERATORS), inputs=st.lists(st.sampled_from("xyzw"), max_size=4),
       attributes=st.dictionaries(st.sampled_from(ATTRIBUTES),
                                  st.one_of(INTEGERS, st.lists(INTEGERS, min_size=1, max_size=4)),
                                  max_size=2),
       values=st.lists(INTEGERS, max_size=5), shape=st.lists(st.integers(0, 4), max_size=4))
def test_node_with_hostile_attributes_is_read_or_explained(
        tmp_path_factory: pytest.TempPathFactory, op: str, inputs: list[str],
        attributes: dict[str, object], values: list[int], shape: list[int]) -> None:
    node = helper.make_node(op, inputs, ["out"], "odd", **attributes)
    graph = helper.make_graph(
        [node], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
                        helper.make_tensor_value_info("y", TensorProto.INT64, ["N"])],
        [onnx.ValueInfoProto(name="out", type=helper.make_tensor_type_proto(1, None))],
        [numpy_helper.from_array(np.asarray(values, np.int64), "z"),
         numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    accepts_or_explains(model.SerializeToString(),
                        tmp_path_factory.getbasetemp() / "hostile.onnx")
