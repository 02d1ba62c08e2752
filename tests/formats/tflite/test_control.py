"""Laws: a WHILE whose iterations can be counted gives what its body gives so many times."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_files import TfliteFile

import ganglion as gg
from ganglion.errors import GanglionError
from ganglion.ops.evaluate import evaluate

RNG = np.random.default_rng(3)
STEPS, SIZE = 4, 3
W = RNG.normal(size=(SIZE, SIZE)).astype(np.float32)


def condition(steps: int) -> TfliteFile:
    """k < steps, of (k, state, x)."""
    file = TfliteFile()
    k, state, x = file.tensor([], "int32"), file.tensor([1, SIZE]), file.tensor([STEPS, SIZE])
    less = file.tensor([], "bool")
    file.op("LESS", [k, file.constant(np.int32(steps))], [less])
    file.ports = ([k, state, x], [less])
    return file


def decided_by_data(steps: int) -> TfliteFile:
    file = condition(steps)
    most, less = file.tensor([]), file.tensor([], "bool")
    file.op("REDUCE_MAX", [1, file.constant(np.int32([0, 1]))], [most], ("ReducerOptions", {}))
    file.op("LESS", [most, file.constant(np.float32(5))], [less])
    file.ports = (file.ports[0], [less])
    return file


def body() -> TfliteFile:
    """(k + 1, tanh(W · state + x[k]), x): a recurrent layer."""
    file = TfliteFile()
    k, state, x = file.tensor([], "int32"), file.tensor([1, SIZE]), file.tensor([STEPS, SIZE])
    product, row, line, total, after = (file.tensor(s) for s in (
        [1, SIZE], [SIZE], [1, SIZE], [1, SIZE], [1, SIZE]))
    following = file.tensor([], "int32")
    file.op("FULLY_CONNECTED", [state, file.constant(W), -1], [product],
            ("FullyConnectedOptions", {}))
    file.op("GATHER", [x, k], [row], ("GatherOptions", {"axis": 0}))
    file.op("EXPAND_DIMS", [row, file.constant(np.int32(0))], [line])
    file.op("ADD", [product, line], [total], ("AddOptions", {}))
    file.op("TANH", [total], [after])
    file.op("ADD", [k, file.constant(np.int32(1))], [following], ("AddOptions", {}))
    file.ports = ([k, state, x], [following, after, x])
    return file


def loop(inner: list[TfliteFile], numbers: tuple[int, int] = (1, 2)) -> bytes:
    file = TfliteFile()
    x = file.tensor([STEPS, SIZE], name="x")
    count, y, same = file.tensor([], "int32"), file.tensor([1, SIZE]), file.tensor([STEPS, SIZE])
    file.op("WHILE", [file.constant(np.int32(0)), file.constant(np.zeros((1, SIZE), np.float32)),
                      x], [count, y, same],
            ("WhileOptions", {"cond_subgraph_index": numbers[0],
                              "body_subgraph_index": numbers[1]}))
    file.inner = inner
    return file.build([x], [count, y])


def read(data: bytes, folder: Path) -> ir.Model:
    (folder / "net.tflite").write_bytes(data)
    return gg.load(folder / "net.tflite")


@pytest.mark.parametrize("steps", [0, 1, STEPS])
def test_the_body_is_run_while_the_condition_holds(steps: int, tmp_path: Path) -> None:
    model = read(loop([condition(steps), body()]), tmp_path)
    x = RNG.normal(size=(STEPS, SIZE)).astype(np.float32)
    state = np.zeros((1, SIZE), np.float32)
    for row in x[:steps]:
        state = np.tanh(state @ W.T + row)
    count, found = evaluate(model, {"x": x}).values()
    assert count == steps
    np.testing.assert_allclose(found, state, rtol=1e-5, atol=1e-6)


@pytest.mark.litert
def test_litert_runs_it_alike(tmp_path: Path) -> None:
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    data = loop([condition(STEPS), body()])
    runner = lite.Interpreter(model_content=data)
    runner.allocate_tensors()
    x = RNG.normal(size=(STEPS, SIZE)).astype(np.float32)
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    wanted = [runner.get_tensor(d["index"]) for d in runner.get_output_details()]
    for y, expected in zip(evaluate(read(data, tmp_path), {"x": x}).values(), wanted, strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def unread() -> TfliteFile:
    file = body()
    file.op("BUCKETIZE", [0], [file.tensor([], "int32")])
    return file


def one_less() -> TfliteFile:
    file = body()
    file.ports = (file.ports[0], file.ports[1][:2])
    return file


def itself() -> TfliteFile:
    file = body()
    made = [file.tensor([], "int32"), file.tensor([1, SIZE]), file.tensor([STEPS, SIZE])]
    file.op("WHILE", [0, 1, 2], made, ("WhileOptions", {"cond_subgraph_index": 1,
                                                        "body_subgraph_index": 2}))
    return file


def one_more() -> TfliteFile:
    """(k + 1, state, x)"""
    file = TfliteFile()
    k, state, x = file.tensor([], "int32"), file.tensor([1, SIZE]), file.tensor([STEPS, SIZE])
    following = file.tensor([], "int32")
    file.op("ADD", [k, file.constant(np.int32(1))], [following], ("AddOptions", {}))
    file.ports = ([k, state, x], [following, state, x])
    return file


def nested() -> bytes:
    """A loop of 900 counts in each of 900, which leaves no node behind."""
    outer = one_more()
    count, state, x = (outer.tensor([], "int32"), outer.tensor([1, SIZE]),
                       outer.tensor([STEPS, SIZE]))
    outer.op("WHILE", [outer.constant(np.int32(0)), 1, 2], [count, state, x],
             ("WhileOptions", {"cond_subgraph_index": 1, "body_subgraph_index": 3}))
    return loop([condition(900), outer, one_more()])


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "data decide": (lambda: loop([decided_by_data(3), body()]), "when its data say so"),
    "without end": (lambda: loop([condition(10 ** 6), one_more()]), "more than 1000 times"),
    "loops in loops": (nested, "nodes, expected at most 4500"),
    "no such subgraph": (lambda: loop([condition(1), body()], (1, 7)), "names subgraph 7"),
    "the first subgraph": (lambda: loop([condition(1), body()], (1, 0)), "names subgraph 0"),
    "not read": (lambda: loop([condition(1), unread()]), "BUCKETIZE.*is not read"),
    "loses a value": (lambda: loop([condition(1), one_less()]), "its body gives 2"),
    "runs itself": (lambda: loop([condition(1), itself()]), "runs itself")}


@pytest.mark.parametrize("name", CASES)
def test_loops_that_cannot_be_counted_are_refused(name: str, tmp_path: Path) -> None:
    data, text = CASES[name]
    (tmp_path / "net.tflite").write_bytes(data())
    with pytest.raises(GanglionError, match=text):
        gg.load(tmp_path / "net.tflite", max_nodes=4500)
