"""Laws: If and Loop are written out where their way is known, and answer as ONNX defines them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ganglion as gg
from ganglion.errors import GanglionError, ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = np.float32([[1, -2, 3]])


def info(name: str, kind: int = FLOAT, shape: Sequence[int | str] = ("p", "q")
         ) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def branch(kind: str, name: str, more: Sequence[str] = ("x",)) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node(kind, list(more), [name])], name, [], [info(name)])


def network(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, np.ndarray], folder: Path,
            shape: Sequence[int | str] = (1, 3)) -> Path:
    graph = helper.make_graph(list(nodes), "flow", [info("x", FLOAT, shape)], [info("y")],
                              [numpy_helper.from_array(a, n) for n, a in constants.items()])
    path = folder / "flow.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                                ir_version=8), path)
    return path


def by_shape(folder: Path, shape: Sequence[int | str]) -> Path:
    """−x where the second axis has three places, else exp x; a branch within a branch."""
    inner = helper.make_node("If", ["yes"], ["a"], then_branch=branch("Neg", "b"),
                             else_branch=branch("Tanh", "c"))
    outer = helper.make_graph([inner], "outer", [], [info("a")])
    nodes = [helper.make_node("Shape", ["x"], ["s"], start=1),
             helper.make_node("Equal", ["s", "three"], ["is"]),
             helper.make_node("If", ["is"], ["y"], then_branch=outer,
                              else_branch=branch("Exp", "d"))]
    return network(nodes, {"three": np.int64([3]), "yes": np.asarray(True)}, folder, shape)


@pytest.mark.parametrize("width", [3, 4])
def test_the_branch_of_a_shape_is_taken(width: int, tmp_path: Path) -> None:
    model = gg.load(by_shape(tmp_path, (1, width)))
    assert [n.op_type for n in model.graph if n.op_type in ("Neg", "Exp", "Tanh")] == [
        "Neg" if width == 3 else "Exp"]


def test_an_open_shape_is_asked_for(tmp_path: Path) -> None:
    path = by_shape(tmp_path, (1, "n"))
    made = {n.op_type for n in gg.load(path, shapes={"x": (1, 4)}).graph}
    assert made & {"Exp", "Neg", "Tanh", "If"} == {"Exp"}
    with pytest.raises(UnsupportedOp, match="shapes="):
        gg.load(path)


def by_data(folder: Path, first: str = "Neg") -> Path:
    nodes = [helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
             helper.make_node("Greater", ["most", "two"], ["is"]),
             helper.make_node("If", ["is"], ["y"], then_branch=branch(first, "a"),
                              else_branch=branch("Exp", "b"))]
    return network(nodes, {"two": np.float32(2)}, folder)


def test_data_choose_between_branches_of_one_shape(tmp_path: Path) -> None:
    session = gg.compile(gg.load(by_data(tmp_path)), isas=("scalar",)).session()
    np.testing.assert_array_equal(session.run(X), -X)
    np.testing.assert_allclose(session.run(X / 2), np.exp(X / 2), rtol=1e-6)


def test_data_cannot_choose_between_shapes(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOp, match="one known shape"):
        gg.load(by_data(tmp_path, "Transpose"))


def loop(folder: Path, trips: int, stop: int, by_sum: bool = False) -> Path:
    """total = total + k·x, the totals gathered, while k + 1 < stop."""
    body = helper.make_graph([
        helper.make_node("Cast", ["k"], ["real"], to=FLOAT),
        helper.make_node("Mul", ["real", "x"], ["part"]),
        helper.make_node("Add", ["total", "part"], ["more"]),
        helper.make_node("Add", ["counter", "one"], ["next"]),
        helper.make_node("ReduceSum", ["more"], ["sum"], keepdims=0),
        helper.make_node("Less", ["sum", "limit"] if by_sum else ["next", "stop"], ["on"]),
        helper.make_node("Identity", ["more"], ["row"])], "body",
        [info("k", INT, []), info("on_in", BOOL, []), info("total"), info("counter", INT, [])],
        [info("on", BOOL, []), info("more"), info("next", INT, []), info("row")],
        [numpy_helper.from_array(np.int64(stop), "stop")])
    nodes = [helper.make_node("Loop", ["trips", "go", "zero", "start"], ["", "", "rows"],
                              body=body),
             helper.make_node("ReduceSum", ["rows", "first"], ["y"], keepdims=0)]
    return network(nodes, {
        "trips": np.int64(trips), "go": np.asarray(True), "zero": np.zeros((1, 3), np.float32),
        "start": np.int64(0), "one": np.int64(1), "limit": np.float32(1), "first": np.int64([0])},
        folder)


@pytest.mark.parametrize(("trips", "stop"), [(4, 99), (99, 3), (1, 1)])
def test_a_counted_loop_is_written_out(trips: int, stop: int, tmp_path: Path) -> None:
    session = gg.compile(gg.load(loop(tmp_path, trips, stop)), isas=("scalar",)).session()
    times = min(trips, stop)
    totals = np.cumsum(np.arange(times))
    np.testing.assert_allclose(session.run(X), totals.sum() * X, rtol=1e-6)


def test_a_loop_that_ends_by_its_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOp, match="ends when its data say so"):
        gg.load(loop(tmp_path, 5, 5, by_sum=True))


@pytest.mark.parametrize("trips", [0, 10**12])
def test_loops_without_or_with_endless_iterations_are_refused(trips: int, tmp_path: Path) -> None:
    with pytest.raises(GanglionError):
        gg.load(loop(tmp_path, trips, 10**12), max_nodes=200)


def test_a_loop_grows_to_the_limit_alone(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="max_nodes"):
        gg.load(loop(tmp_path, 50, 99), max_nodes=200)


def test_a_loop_of_very_many_iterations_is_refused_in_time(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOp, match=r"\(Loop\) runs more than 1000 times"):
        gg.load(endless(tmp_path))


def endless(folder: Path) -> Path:
    body = helper.make_graph([helper.make_node("Neg", ["v"], ["w"]),
                              helper.make_node("Identity", ["go_in"], ["on"])], "body",
                             [info("k", INT, []), info("go_in", BOOL, []), info("v")],
                             [info("on", BOOL, []), info("w")])
    return network([helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
                   {"trips": np.int64(2**62)}, folder)


def running(folder: Path, shape: Sequence[int | str] = (4, 3), **attrs: Sequence[int]) -> Path:
    """The sum of the rows of x so far, with the order in which rows come and go by `attrs`."""
    body = helper.make_graph(
        [helper.make_node("Add", ["sum", "row"], ["next"]),
         helper.make_node("Identity", ["next"], ["seen"])], "step",
        [info("sum", shape=(3,)), info("row", shape=(3,))],
        [info("next", shape=(3,)), info("seen", shape=(3,))])
    scan = helper.make_node("Scan", ["start", "x"], ["last", "y"], body=body, num_scan_inputs=1,
                            **attrs)
    return network([scan], {"start": np.float32([1, 2, 3])}, folder, shape)


@pytest.mark.parametrize(("attrs", "expected"), [
    ({}, lambda x: np.cumsum(x, 0)),
    ({"scan_input_directions": [1]}, lambda x: np.cumsum(x[::-1], 0)),
    ({"scan_output_directions": [1]}, lambda x: np.cumsum(x, 0)[::-1]),
    ({"scan_output_axes": [1]}, lambda x: np.cumsum(x, 0).T)])
def test_a_scan_of_a_known_size_is_written_out(
        attrs: dict[str, Sequence[int]], expected: Callable[[np.ndarray], np.ndarray],
        tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = evaluate(gg.load(running(tmp_path, **attrs)), {"x": x})["y"]
    start = np.float32([1, 2, 3])
    shift = start[:, None] if "scan_output_axes" in attrs else start
    np.testing.assert_array_equal(found, expected(x) + shift)


def test_a_scan_along_another_axis_reads_its_columns(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = evaluate(gg.load(running(tmp_path, (3, 4), scan_input_axes=[1])), {"x": x})["y"]
    np.testing.assert_array_equal(found, np.cumsum(x.T, 0) + np.float32([1, 2, 3]))


def test_a_scan_of_an_open_size_says_what_to_give(tmp_path: Path) -> None:
    path = running(tmp_path, ("n", 3))
    with pytest.raises(UnsupportedOp, match=r"one known size.*shapes="):
        gg.load(path)
    assert len(list(gg.load(path, shapes={"x": (2, 3)}).graph)) > 0


def test_a_scan_whose_body_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = running(tmp_path)
    proto = onnx.load(path)
    next(a for a in proto.graph.node[0].attribute if a.name == "num_scan_inputs").i = 3
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="Scan"):
        gg.load(path)


@pytest.mark.parametrize("name", ["scan_input_axes", "scan_input_directions", "scan_output_axes",
                                  "scan_output_directions"])
def test_a_scan_wants_a_number_for_each_of_its_values(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{name} has 2 numbers, expected 1"):
        gg.load(running(tmp_path, **{name: [0, 0]}))
