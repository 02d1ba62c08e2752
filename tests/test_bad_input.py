"""What a user gives wrong, through the public names: an error of the right class that teaches.

Hostile files have their own tests in `formats`, saving in `test_files`, training data in
`training`, arrays at run time in `runtime`.
"""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import DataError, GanglionError, ModelError, TargetError, UnsupportedOp
from ganglion.ops.graph import GraphBuilder

ROWS = np.zeros((8, 4), np.float32)
LABELS = np.zeros(8, np.int64)
NOT_A_MODEL = r"takes a Model \(an onnx_ir\.Model\), not (str|NoneType); open files with"


def net() -> ir.Model:
    return gg.Sequential([gg.Input((4,)), L.Dense(3, activation="softmax")])


def with_nan() -> ir.Model:
    model = net()
    kernel = model.graph.initializers["dense/kernel"]
    array = np.array(kernel.const_value.numpy())
    array[1, 2] = np.nan
    kernel.const_value = ir.tensor(array, name=kernel.name)
    return model


def sequences_of_any_length() -> ir.Model:
    return gg.Sequential([gg.Input((None, 3)), L.LSTM(2)])


def with_unknown_operator() -> ir.Model:
    g = GraphBuilder("odd")
    x = g.input("x", ir.DataType.FLOAT, (3, 3))
    g.output("y", g.op("Det", x, hint="the_odd_one"))
    return g.model()


def fit(**changes: object) -> object:
    arguments: dict[str, object] = {"x": ROWS, "y": LABELS, "epochs": 1,
                                    "loss": "sparse_categorical_crossentropy"}
    arguments |= changes
    return gg.fit(net(), arguments.pop("x"), arguments.pop("y"), **arguments)


CASES: dict[str, tuple[Callable[[], object], type[GanglionError], str]] = {
    "compile a path": (lambda: gg.compile("net.onnx"), ModelError, NOT_A_MODEL),
    "quantise nothing": (lambda: gg.quantize(None), ModelError, NOT_A_MODEL),
    "fit nothing": (lambda: gg.fit(None, ROWS, LABELS, loss="mse"), ModelError, NOT_A_MODEL),
    "evaluate nothing": (lambda: gg.evaluate(None, ROWS, LABELS), ModelError, NOT_A_MODEL),
    "prune nothing": (lambda: gg.prune(None, ROWS, LABELS, loss="mse"), ModelError, NOT_A_MODEL),
    "prune channels of nothing": (lambda: gg.prune_channels(None), ModelError, NOT_A_MODEL),
    "save nothing": (lambda: gg.save(None, "net.onnx"), ModelError, NOT_A_MODEL),
    "an unknown target": (lambda: gg.compile(net(), "raspberrypi"), TargetError,
                          "unknown target 'raspberrypi'; did you mean 'raspberrypi5'"),
    "no target": (lambda: gg.compile(net(), None), TargetError, "known: host"),
    "an instruction set that the target lacks": (
        lambda: gg.compile(net(), isas=("sse",)), TargetError, "no instruction set sse; it has"),
    "a batch of none": (lambda: gg.compile(net(), batch=0), DataError, "batch=0.*from 1 up"),
    "a batch in words": (lambda: gg.compile(net(), batch="4"), DataError, "batch='4'.*from 1 up"),
    "a check on nothing": (lambda: gg.compile(net(), samples=0), DataError, "samples=0"),
    "NaN in a weight, compiled": (lambda: gg.compile(with_nan()), ModelError,
                                  r"'dense/kernel' of shape \[4, 3\] holds NaN at \[1, 2\]"),
    "NaN in a weight, quantised": (lambda: gg.quantize(with_nan(), calibration=ROWS), ModelError,
                                   "NaN or infinity for the calibration data; check its weights"),
    "a dynamic shape that was not fixed": (
        lambda: gg.compile(sequences_of_any_length()), ModelError,
        r"dynamic shape \[1,.*\].*shapes=.*--shape"),
    "an operator without a row": (
        lambda: gg.compile(with_unknown_operator()), UnsupportedOp,
        "'the_odd_one' uses the operator ai.onnx.Det.*not supported"),
    "NaN among the calibration rows of a check": (
        lambda: gg.compile(net(), calibration=ROWS * np.nan), DataError,
        "'input_layer' holds 32 NaN or infinite elements; remove those rows"),
    "calibration of another shape": (
        lambda: gg.compile(net(), calibration=np.zeros((3, 5), np.float32)), DataError,
        r"rows of \[5\]; expected \[4\]"),
    "calibration of another name": (
        lambda: gg.compile(net(), calibration={"picture": ROWS}), DataError,
        r"\['picture'\]; the inputs are \['input_layer'\]"),
    "calibration that is a number": (
        lambda: gg.compile(net(), calibration=3.0), DataError, r"is float; expected an array"),
    "calibration that is words": (
        lambda: gg.compile(net(), calibration=np.array(["a"])), DataError, "array of numbers"),
    "no calibration rows": (
        lambda: gg.quantize(net(), calibration=ROWS[:0]), DataError, "give at least one row"),
    "calibration of weights": (lambda: gg.quantize(net(), ROWS, weights_only=True), DataError,
                               "leave calibration"),
    "no calibration": (lambda: gg.quantize(net()), DataError, "weights_only=True"),
    "NaN in the calibration rows": (
        lambda: gg.quantize(net(), calibration=ROWS * np.nan), DataError, "remove those rows"),
    "too many calibration arrays": (
        lambda: gg.quantize(net(), calibration=(ROWS, ROWS)), DataError,
        r"2 arrays, the model 1 inputs \['input_layer'\]"),
    "NaN in weights that are saved": (
        lambda: gg.save(with_nan(), "never.onnx"), ModelError, r"weight .* holds NaN at \["),
    "NaN in weights that are exported": (
        lambda: gg.export(with_nan(), "never.tflite"), ModelError, r"holds NaN at \["),
    "quantising twice": (
        lambda: gg.quantize(gg.quantize(net(), calibration=ROWS + 1), calibration=ROWS),
        ModelError, "is quantised already; give the float model"),
    "training what is quantised": (
        lambda: gg.compile_training(gg.quantize(net(), calibration=ROWS + 1),
                                    loss="sparse_categorical_crossentropy"), ModelError,
        "is quantised.*train the float network"),
    "labels out of range": (lambda: fit(y=LABELS + 3), DataError,
                            "labels from 3 to 3.*3 classes: expected 0 to 2"),
    "fewer labels than rows": (lambda: fit(y=LABELS[:5]), DataError, "8 rows but y has 5"),
    "NaN in the data": (lambda: fit(x=ROWS * np.nan), DataError, "NaN or infinite, the first at"),
    "data of another shape": (lambda: fit(x=ROWS[:, :2]), DataError,
                              r"\[8, 2\], but input 'input_layer' takes"),
    "an unknown loss": (lambda: fit(loss="cross"), DataError, "unknown loss 'cross'.*expected one"),
    "one-hot labels for a sparse loss": (
        lambda: fit(y=np.eye(3)[LABELS]), DataError, "use categorical_crossentropy"),
    "a share of channels beyond all": (
        lambda: gg.prune_channels(net(), 1.5), DataError, r"fraction 1\.5"),
    "a network that does not start with Input": (
        lambda: gg.Sequential([L.Dense(3)]), ModelError, r"first entry must be Input"),
    "a layer in place of a list": (
        lambda: gg.Sequential(L.Dense(3)), ModelError, "expected a list of layers, found Dense"),
    "a class in place of a layer": (
        lambda: gg.Sequential([gg.Input((2,)), L.Dense]), ModelError, "entry 1 is type"),
    "a network of nothing": (
        lambda: gg.Functional(None, None), ModelError, "inputs are NoneType; expected"),
    "a branch that starts elsewhere": (
        lambda: gg.Functional(gg.Input((2,)), L.Dense(2)(gg.Input((2,)))), ModelError,
        "not among the given inputs"),
    "a shape in place of a tuple": (lambda: gg.Input(3), ModelError, r"write Input\(\(3,\)\)"),
    "an image layer on rows": (
        lambda: gg.Sequential([gg.Input((2,)), L.Conv2D(3, 3)]), ModelError,
        r"'conv2d': expects an input of 4 axes.*found shape \['N', 2\]"),
    "a kernel larger than the image": (
        lambda: gg.Sequential([gg.Input((2, 2, 1)), L.Conv2D(3, 3)]), ModelError,
        "larger than its input.*padding='same'"),
    "a file that is not there": (
        lambda: gg.load("/nowhere/net.onnx"), ModelError, "no such file"),
    "a file of another kind": (
        lambda: gg.load(__file__), ModelError, r"'\.py'; known: \.onnx, \.keras"),
    "a suffix that says something else": (
        lambda: gg.save(net(), "net.txt"), ModelError, r"saved as \.onnx files"),
    "a folder that is not there": (
        lambda: gg.save(net(), "/nowhere/net.onnx"), DataError, "no folder /nowhere; create"),
    "an artefact that is not there": (
        lambda: gg.Session("/nowhere/build"), ModelError, "neither an artefact's folder"),
    "what is no Keras model": (lambda: gg.from_keras(3), ModelError, "expected a Keras model"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_given_wrong_is_refused_with_advice(name: str) -> None:
    call, error, words = CASES[name]
    with pytest.raises(error, match=re.compile(words, re.DOTALL)):
        call()


def test_an_operator_of_a_file_is_refused_by_node_and_name(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Det", ["x"], ["y"], name="the_odd_one")
    ports = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape)
             for n, shape in (("x", [4, 4]), ("y", []))]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 21)]), tmp_path / "odd.onnx")
    with pytest.raises(UnsupportedOp, match=r"'the_odd_one'.*Det"):
        gg.compile(gg.load(tmp_path / "odd.onnx"))


@pytest.fixture(scope="module")
def session() -> gg.Session:
    return gg.compile(net(), isas=("scalar",)).session()


@pytest.mark.parametrize("argument", [
    None, "abc", object(), 3, [[1, 2], [3]], np.zeros((1, 5)), np.zeros(4), np.array([None] * 4)])
def test_a_session_refuses_what_is_no_batch_of_its_rows(
        session: gg.Session, argument: object) -> None:
    with pytest.raises(DataError, match="input 'input_layer'"):
        session.run(argument)


@pytest.mark.parametrize("rows", [0, 1, 7, 3000])
@pytest.mark.parametrize("change", [
    lambda x: x, lambda x: x.astype(np.float64), lambda x: x.astype(np.uint8).tolist(),
    lambda x: x.astype(np.uint8), lambda x: x.astype(">f4"), np.asfortranarray,
    lambda x: np.repeat(x, 2, 0)[::2]],
    ids=["float32", "float64", "list", "uint8", "big endian", "column-major", "strided"])
def test_a_session_takes_arrays_of_any_kind_and_number(
        session: gg.Session, rows: int, change: Callable[[np.ndarray], object]) -> None:
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) % 7
    given = change(x)
    if isinstance(given, list) and not given:
        given = x  # an empty list says nothing about the shape of its rows
    np.testing.assert_array_equal(session.run(given), session.run(x))


def test_a_full_disk_in_the_middle_of_a_save_leaves_the_old_artefact(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = gg.compile(net(), isas=("scalar",)).save(tmp_path / "build")
    before = gg.Session(folder).run(ROWS)
    other = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(7)]), isas=("scalar",))

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DataError, match=r"No space left.*what was there is kept"):
            other.save(folder)
    np.testing.assert_array_equal(gg.Session(folder).run(ROWS), before)
    assert [p.name for p in tmp_path.iterdir()] == ["build"]


BEFORE_THE_EXCHANGE = "files._exchange = lambda *folders: os._exit(9)"
BEHIND_THE_EXCHANGE = "files._discard = lambda folder: os._exit(9)"
RENAMES = """
left, rename = {left}, pathlib.Path.rename
def counted(self, target):
    global left
    if left == 0:
        os._exit(9)
    left -= 1
    return rename(self, target)
pathlib.Path.rename = counted
files._exchange = lambda *folders: False
"""
"""Where folders can't change places a save renames three times: old away, new in, old to bin."""


@pytest.mark.parametrize(("kill", "columns"), [
    (BEFORE_THE_EXCHANGE, 3), (BEHIND_THE_EXCHANGE, 7),
    *((RENAMES.format(left=left), 7 if left == 2 else 3) for left in range(3))],
    ids=["before", "behind", "renames-0", "renames-1", "renames-2"])
def test_a_kill_in_the_middle_of_a_save_leaves_the_old_or_the_new_artefact(
        tmp_path: Path, kill: str, columns: int) -> None:
    folder = gg.compile(net(), isas=("scalar",)).save(tmp_path / "build")
    script = f"""
import os, pathlib
import ganglion as gg
from ganglion import files, layers as L
built = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(7)]), isas=("scalar",), check=False)
{kill}
built.save({str(folder)!r})
"""
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path},
                          check=False, timeout=120)
    assert done.returncode == 9
    assert gg.Session(folder).run(ROWS).shape == (8, columns)
