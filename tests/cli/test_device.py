"""`ganglion compile-training`, and `--trainable` of `ganglion train`."""

import json

import numpy as np
import pytest

import ganglion as gg
from ganglion.cli.device import selection
from ganglion.errors import DataError
from ganglion.runtime import Trainer
from ganglion.training import last


def test_a_device_learns_what_the_command_line_built(ganglion, files):
    answer = ganglion("compile-training", files.net, "-o", "device", "--optimizer", "sgd",
                      "--learning-rate", 0.1, "--batch-size", 10, "--data", files.npz, "--json")
    assert answer.code == 0, answer.err
    report = json.loads(answer.out)
    assert report["check"]["status"] == "passed"
    assert report["loss"] == "sparse_categorical_crossentropy"
    taken = report["footprint"]
    assert taken["ram_bytes"] == taken["arena_bytes"] + taken["state_bytes"] + taken["stack_bytes"]
    trainer = Trainer("device")
    assert trainer.learning_rate == pytest.approx(0.1)
    with np.load(files.npz) as data:
        x, y = data["x"][:10], data["y"][:10]
    losses = [trainer.step(x, y) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_a_microcontrollers_memory_is_told_before_anything_runs(ganglion, files):
    words = ("compile-training", files.line, "-o", "m4", "--target", "cortex-m4", "--optimizer",
             "sgd", "--batch-size", 1)
    answer = ganglion(*words)
    assert answer.code == 0, answer.err
    for line in ("RAM: arena", "RAM: state", "RAM: stack", "RAM: together", "flash: code"):
        assert line in answer.out
    report = json.loads(ganglion(*words, "--json").out)
    assert 0 < report["footprint"]["ram_bytes"] < 1024
    assert 0 < report["footprint"]["flash_bytes"] < 16 * 1024
    assert report["footprint"]["stack_bytes"] > 0


def test_a_budget_that_cannot_be_met_ends_with_what_can(ganglion, files):
    answer = ganglion("compile-training", files.net, "-o", "no", "--memory", 64)
    assert answer.code == 2
    assert "give memory_bytes=" in answer.err.replace("\n", " ")


def test_only_what_is_named_is_trained(ganglion, files):
    answer = ganglion("train", files.net, "--data", files.npz, "-o", "out.onnx", "--trainable",
                      "last:1", "--json")
    assert answer.code == 0, answer.err
    before, after = gg.load(files.net), gg.load("out.onnx")
    moved = {name for name, value in after.graph.initializers.items() if not np.array_equal(
        value.const_value.numpy(), before.graph.initializers[name].const_value.numpy())}
    assert moved == {"dense/kernel", "dense/bias"}
    wrong = ganglion("train", files.net, "--data", files.npz, "-o", "no.onnx", "--trainable",
                     "dens")
    assert wrong.code == 2
    assert "'dense'" in wrong.err


def test_trainable_is_read_as_in_python():
    assert selection(["conv*", "biases", "last:2"]) == ["conv*", "biases", last(2)]
    assert selection(None) is None
    for wrong in ("last:", "last:x", "last:0"):
        with pytest.raises(DataError, match="blocks"):
            selection([wrong])
