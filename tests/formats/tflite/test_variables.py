"""Laws: variables of a file are state, begin as the file says, and follow what is assigned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_files import TfliteFile

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import GanglionError
from ganglion.formats.tflite.write.network import export
from ganglion.ops.bindings import bindings
from ganglion.ops.evaluate import evaluate


def handle(file: TfliteFile, name: str) -> int:
    place = file.tensor([], "RESOURCE")
    file.op("VAR_HANDLE", [], [place], ("VarHandleOptions", {"shared_name": name}))
    return place


def running_sum(first: float | None, twice: bool = False) -> TfliteFile:
    """y = total + x; total = y. With `twice` the sum is read again and doubled."""
    file = TfliteFile()
    x, old, y, doubled = (file.tensor([1, 3]) for _ in range(4))
    if first is not None:
        file.op("CALL_ONCE", [], [], ("CallOnceOptions", {"init_subgraph_index": 1}))
        start = TfliteFile()
        start.op("ASSIGN_VARIABLE", [handle(start, "total"),
                                     start.constant(np.full((1, 3), first, np.float32))], [])
        file.inner.append(start)
    total = handle(file, "total")
    file.op("READ_VARIABLE", [total], [old])
    file.op("ADD", [old, x], [y], ("AddOptions", {}))
    file.op("ASSIGN_VARIABLE", [total, y], [])
    if twice:
        again = file.tensor([1, 3])
        file.op("READ_VARIABLE", [handle(file, "total")], [again])
        file.op("ADD", [again, again], [doubled], ("AddOptions", {}))
    return file


def read(data: bytes, folder: Path) -> ir.Model:
    (folder / "net.tflite").write_bytes(data)
    return gg.load(folder / "net.tflite")


@pytest.mark.parametrize(("first", "twice"), [(None, False), (5.0, False), (2.0, True)])
def test_a_variable_goes_on_from_call_to_call(first: float | None, twice: bool, tmp_path: Path
                                              ) -> None:
    model = read(running_sum(first, twice).build([0], [3 if twice else 2]), tmp_path)
    assert len(bindings(model)) == 1
    stream = gg.compile(model, isas=("scalar",)).session().stream()
    total = np.full((1, 3), first or 0.0, np.float32)
    for k in range(4):
        x = np.float32([[k, 2 * k, -1]])
        total = total + x
        np.testing.assert_array_equal(stream.run(x), total * (2 if twice else 1))


@pytest.mark.litert
def test_litert_goes_on_alike(tmp_path: Path) -> None:
    data = running_sum(5.0).build([0], [2])
    stream = gg.compile(read(data, tmp_path), isas=("scalar",)).session().stream()
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    runner = lite.Interpreter(model_content=data)
    runner.allocate_tensors()
    for k in range(3):
        x = np.float32([[k, 1, -k]])
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        runner.invoke()
        np.testing.assert_array_equal(
            stream.run(x), runner.get_tensor(runner.get_output_details()[0]["index"]))


def cells(steps: int) -> ir.Model:
    return L.Sequential([L.Input((steps, 3)), L.LSTM(5, return_sequences=True),
                         L.SimpleRNN(4, return_sequences=True), L.Dense(2)])


def written(steps: int, folder: Path) -> Path:
    export(cells(steps), folder / "cells.tflite")
    return folder / "cells.tflite"


STEPS = 200


def test_a_cell_that_takes_one_step_a_call_goes_on(tmp_path: Path) -> None:
    model = gg.load(written(1, tmp_path))
    assert len(bindings(model)) == 3
    stream = gg.compile(model).session().stream()
    x = np.random.default_rng(3).normal(size=(1, STEPS, 3)).astype(np.float32)
    made = np.concatenate([stream.run(x[:, k:k + 1]) for k in range(STEPS)], axis=1)
    whole = cells(STEPS)
    wanted, = evaluate(whole, {str(whole.graph.inputs[0].name): x}).values()
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=2e-6)


def test_a_cell_over_several_steps_begins_anew(tmp_path: Path) -> None:
    assert not bindings(gg.load(written(4, tmp_path)))


@pytest.mark.litert
def test_litert_keeps_the_state_of_single_steps_alike(tmp_path: Path) -> None:
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    path = written(1, tmp_path)
    stream = gg.compile(gg.load(path)).session().stream()
    runner = lite.Interpreter(str(path))
    runner.allocate_tensors()
    rng = np.random.default_rng(4)
    for _ in range(STEPS):
        x = rng.normal(size=(1, 1, 3)).astype(np.float32)
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        runner.invoke()
        wanted = runner.get_tensor(runner.get_output_details()[0]["index"])
        np.testing.assert_allclose(stream.run(x), wanted, rtol=1e-4, atol=2e-6)


def no_handle(file: TfliteFile) -> None:
    file.op("READ_VARIABLE", [0], [1])


def nothing_named(file: TfliteFile) -> None:
    file.op("READ_VARIABLE", [], [1])


def no_subgraph(file: TfliteFile) -> None:
    file.op("CALL_ONCE", [], [], ("CallOnceOptions", {"init_subgraph_index": 7}))


def itself(file: TfliteFile) -> None:
    file.op("CALL_ONCE", [], [], ("CallOnceOptions", {"init_subgraph_index": 0}))


def more_than_constants(file: TfliteFile) -> None:
    start = TfliteFile()
    start.op("EXP", [start.tensor([1])], [start.tensor([1])])
    file.inner.append(start)
    file.op("CALL_ONCE", [], [], ("CallOnceOptions", {"init_subgraph_index": 1}))


def another_shape(file: TfliteFile) -> None:
    place = handle(file, "v")
    file.op("READ_VARIABLE", [place], [1])
    file.op("ASSIGN_VARIABLE", [place, file.constant(np.zeros(7, np.float32))], [])


@pytest.mark.parametrize("spoil", [no_handle, nothing_named, no_subgraph, itself,
                                   more_than_constants, another_shape])
def test_variables_that_make_no_sense_are_refused(spoil: Callable[[TfliteFile], None],
                                                  tmp_path: Path) -> None:
    file = TfliteFile()
    x, y = file.tensor([1, 3]), file.tensor([1, 3])
    spoil(file)
    if spoil not in (no_handle, nothing_named, another_shape):
        file.op("EXP", [x], [y])
    with pytest.raises(GanglionError):
        read(file.build([x], [y]), tmp_path)
