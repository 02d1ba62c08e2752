"""Files that ask for more than they bring are refused in seconds; an argument lets them pass."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ganglion as gg
from ganglion.data.arrays import read_npy
from ganglion.errors import DataError, GanglionError, ModelError


def nested(levels: int) -> bytes:
    """Functions that call the one below ten times each."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    functions = []
    for level in range(levels):
        op, domain = (("Relu", "") if level == 0 else (f"F{level - 1}", "mine"))
        nodes = [helper.make_node(op, [f"t{k}"], [f"t{k + 1}"], domain=domain) for k in range(10)]
        functions.append(helper.make_function("mine", f"F{level}", ["t0"], ["t10"], nodes, opsets))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(f"F{levels - 1}", ["x"], ["y"], domain="mine")], "net",
        [info("x", TensorProto.FLOAT, [1, 3])], [info("y", TensorProto.FLOAT, [1, 3])])
    return helper.make_model(graph, ir_version=10, functions=functions,
                             opset_imports=opsets).SerializeToString()


@pytest.mark.parametrize("levels", [5, 15])
def test_functions_that_unfold_beyond_the_limit_are_refused(tmp_path: Path, levels: int) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(nested(levels))
    with pytest.raises(GanglionError, match="max_nodes"):
        gg.load(path)


def test_an_argument_raises_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(nested(2))
    with pytest.raises(GanglionError, match="max_nodes=100"):
        gg.load(path, max_nodes=50)
    assert len(list(gg.load(path, max_nodes=100).graph)) == 100


@pytest.mark.parametrize("shape", ["(99999999999999999999,)", "(1000000000000,)", "(True,)"])
def test_headers_that_lie_are_data_errors(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "x.npy"
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
                     + np.zeros(4, np.float32).tobytes())
    with pytest.raises(DataError):
        read_npy(path)


def test_a_pipe_in_the_place_of_a_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    os.mkfifo(path)
    with pytest.raises(GanglionError):
        gg.load(path)


def test_sizes_left_open_are_given_by_name(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net",
                              [info("x", TensorProto.FLOAT, ["N", "T", 3])],
                              [info("y", TensorProto.FLOAT, ["N", "T", 3])])
    onnx.save(helper.make_model(graph, ir_version=10,
                                opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "net.onnx")
    model = gg.load(tmp_path / "net.onnx", shapes={"x": [None, 5, 3]})
    assert gg.compile(model, isas=("scalar",)).session().inputs[0].shape == (1, 5, 3)
    with pytest.raises(ModelError, match="no input is called 'z'"):
        gg.load(tmp_path / "net.onnx", shapes={"z": [1]})
