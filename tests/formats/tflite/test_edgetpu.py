"""Laws of the Edge TPU's verdicts."""

import json

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import networks

import ganglion as gg
from ganglion.cli.app import call
from ganglion.formats.tflite.write import edgetpu
from ganglion.formats.tflite.write.flat import FlatNetwork, Quant
from ganglion.formats.tflite.write.network import network_of

Q = Quant((0.1,), (0,))
INT8 = np.dtype(np.int8)


def quantised(model: ir.Model) -> ir.Model:
    return gg.quantize(model, calibration=networks.drawn_inputs(model, 16))


def test_all_but_the_float_ends_of_an_integer_network_run():
    verdicts = edgetpu.check(network_of(quantised(networks.residual())))
    assert {v.operator for v in verdicts if not v.runs} == {"QUANTIZE", "DEQUANTIZE"}
    assert sum(v.runs for v in verdicts) >= 5


def test_nothing_of_a_float_network_runs():
    verdicts = edgetpu.check(network_of(networks.cnn()))
    assert not any(v.runs for v in verdicts)
    assert all(v.reason for v in verdicts)


def one(name, shapes, options=None, constants=()):
    """The verdict on one operator of int8 tensors; the last shape is its output."""
    network = FlatNetwork()
    tensors = [network.tensor(f"t{k}", INT8, s, Q) for k, s in enumerate(shapes)]
    reads = [*tensors[:-1], *(network.constant(np.asarray(c, np.int32), "c") for c in constants)]
    network.op(name, reads, tensors[-1:], options, "node")
    return edgetpu.check(network)[0]


@pytest.mark.parametrize(("verdict", "reason"), [
    (lambda: one("GELU", [(1, 4), (1, 4)]), "no operator"),
    (lambda: one("ADD", [(2, 1, 1, 4)] * 3), "last 3 axes"),
    (lambda: one("CONV_2D", [(1, 4, 4, 1), (1, 3, 3, 1), (1,), (1, 2, 2, 1)]), "must be constant"),
    (lambda: one("SOFTMAX", [(2, 8), (2, 8)]), "single row"),
    (lambda: one("SOFTMAX", [(1, 20_000), (1, 20_000)]), "at most"),
    (lambda: one("MEAN", [(1, 4, 4, 6), (1, 4, 4)], constants=[[3]]), "multiple of 4"),
    (lambda: one("MEAN", [(1, 4, 4, 6), (4, 4, 6)], constants=[[0]]), "batch"),
    (lambda: one("PACK", [(4, 6), (4, 6), (2, 4, 6)], ("PackOptions", {"axis": 0})), "batch"),
    (lambda: one("SQUEEZE", [(1, 5, 1, 10), (5, 10)]), "behind larger ones"),
    (lambda: one("STRIDED_SLICE", [(1, 8), (1, 1, 8)],
                 ("StridedSliceOptions", {"new_axis_mask": 1}),
                 [[0, 0], [1, 8], [1, 1]]), "new axis"),
    (lambda: one("STRIDED_SLICE", [(1, 8), (1, 4)], constants=[[0, 0], [1, 8], [1, 2]]), "steps"),
    (lambda: one("PAD", [(4, 4, 2), (5, 4, 2)], constants=[[[0, 1], [0, 0], [0, 0]]]),
     "pads the batch")])
def test_each_limit_is_told(verdict, reason):
    found = verdict()
    assert not found.runs
    assert reason in found.reason


@pytest.mark.parametrize("verdict", [
    lambda: one("MEAN", [(1, 4, 4, 8), (1, 4, 4)], constants=[[3]]),
    lambda: one("PACK", [(4, 6), (4, 6), (4, 2, 6)], ("PackOptions", {"axis": 1})),
    lambda: one("SQUEEZE", [(1, 1, 5, 10), (5, 10)]),
    lambda: one("PAD", [(1, 4, 4, 2), (1, 4, 4, 3)],
                constants=[[[0, 0], [0, 0], [0, 0], [0, 1]]])])
def test_what_the_table_allows_runs(verdict):
    assert verdict().runs


def test_what_reads_from_the_processor_behind_the_chip_stays_there():
    network = FlatNetwork()
    a, b, c, d = (network.tensor(n, INT8, (1, 4), Q) for n in "abcd")
    network.op("RELU", [a], [b], None, "first")
    network.op("ELU", [b], [c], None, "second")
    network.op("RELU", [c], [d], None, "third")
    assert [v.runs for v in edgetpu.check(network)] == [True, False, False]


def test_the_command_writes_the_file_and_tells(tmp_path, capsys):
    gg.save(quantised(networks.dense()), tmp_path / "n.onnx")
    out = tmp_path / "n.tflite"
    assert call(["export", str(tmp_path / "n.onnx"), "-o", str(out), "--check", "edgetpu",
                 "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["output_bytes"] == out.stat().st_size
    assert len(told["edgetpu"]["operators"]) == told["operators"]
    assert call(["export", str(tmp_path / "n.onnx"), "-o", str(out), "--check", "edgetpu"]) == 0
    assert "on an Edge TPU" in capsys.readouterr().out


def test_an_unknown_check_and_another_suffix_are_refused(tmp_path, capsys):
    gg.save(networks.dense(), tmp_path / "n.onnx")
    base = ["export", str(tmp_path / "n.onnx"), "-o"]
    assert call([*base, str(tmp_path / "n.tflite"), "--check", "moon"]) == 2
    assert call([*base, str(tmp_path / "n.bin")]) == 2
    assert "edgetpu" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["n.onnx"]


def test_the_compiler_is_asked_where_it_is_installed(tmp_path, monkeypatch):
    tool = tmp_path / edgetpu.COMPILER
    tool.write_text("#!/bin/sh\necho mapped $4\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert edgetpu.compiled(tmp_path / "n.tflite") == f"mapped {tmp_path / 'n.tflite'}\n"
    tool.unlink()
    assert edgetpu.compiled(tmp_path / "n.tflite") is None
