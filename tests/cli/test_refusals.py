"""What the user gave wrong ends with 2, what failed with 1; the message names the file."""

import errno
import shutil

import numpy as np
import pytest

from ganglion.cli import inspect
from ganglion.errors import CheckError


def refused(answer, code, *words):
    assert answer.code == code, answer.err
    assert answer.out == ""
    for word in words:
        assert str(word) in answer.err.replace("\n", " "), answer.err
    assert "defect" not in answer.err


@pytest.mark.parametrize("words", [
    ["frobnicate"], ["inspect"], ["inspect", "a.onnx", "--frobnicate"],
    ["train", "a.onnx", "--data", "d.npz", "-o", "b.onnx", "--epochs", "many"],
    ["train", "a.onnx", "--data", "d.npz", "-o", "b.onnx", "--epochs", "0"],
    ["bench", "build", "--seconds", "0"]], ids=" ".join)
def test_a_command_line_that_cannot_be_read_ends_with_2(ganglion, words):
    answer = ganglion(*words)
    assert answer.code == 2
    assert answer.out == ""
    assert "Error" in answer.err


def test_no_command_shows_the_help(ganglion):
    answer = ganglion()
    assert answer.code == 2
    assert "inspect" in answer.out + answer.err


def test_quantising_activations_without_inputs_is_refused(ganglion, files):
    refused(ganglion("quantize", files.net, "-o", "q.onnx"), 2, "--calibrate", "--weights-only")


def test_inputs_for_weights_alone_are_refused(ganglion, files):
    refused(ganglion("quantize", files.net, "--weights-only", "--calibrate", files.npz, "-o",
                     "s.onnx"), 2, "--weights-only", "--calibrate")


def test_a_missing_file_is_named(ganglion, files):
    refused(ganglion("inspect", "none.onnx"), 2, "none.onnx", "no such file")
    refused(ganglion("evaluate", files.net, "--data", "none.npz"), 2, "none.npz")
    refused(ganglion("run", files.build, "none.npy"), 2, "none.npy")
    refused(ganglion("run", "none", "none.npy"), 2, "none")


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.99])
def test_a_truncated_network_is_named(ganglion, files, tmp_path, kept):
    data = files.net.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[:int(kept * len(data)) if kept != 1 else 1])
    refused(ganglion("inspect", "cut.onnx"), 2, "cut.onnx")


def test_an_unknown_kind_of_network_is_named(ganglion, tmp_path):
    (tmp_path / "net.pickle").write_bytes(b"x")
    refused(ganglion("inspect", "net.pickle"), 2, "net.pickle", ".onnx, .keras")


def test_damaged_data_is_named(ganglion, files, tmp_path):
    (tmp_path / "cut.npz").write_bytes(files.npz.read_bytes()[:200])
    refused(ganglion("evaluate", files.net, "--data", "cut.npz"), 2, "cut.npz")
    (tmp_path / "words.csv").write_text("a,b\n1,2\nthree,4\n")
    refused(ganglion("evaluate", files.line, "--data", "words.csv"), 2, "words.csv")
    (tmp_path / "not.png").write_bytes(b"no image")
    refused(ganglion("run", files.build, "not.png"), 2, "not.png")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    refused(ganglion("evaluate", files.net, "--data", "other.npz"), 2, "other.npz", "['a']")


def test_pickled_data_is_refused(ganglion, files, tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    refused(ganglion("run", files.build, "evil.npy"), 2, "TrustError", "evil.npy")


def test_wrong_shapes_are_named(ganglion, files):
    np.save("wide.npy", np.zeros((2, 7, 7, 1), np.float32))
    refused(ganglion("run", files.build, "wide.npy"), 2, "wide.npy", "[2, 7, 7, 1]",
            "[1, 6, 6, 1]")
    refused(ganglion("quantize", files.net, "--calibrate", "wide.npy", "-o", "s.onnx"), 2, "7")
    refused(ganglion("run", files.build, "wide.npy", "wide.npy"), 2, "2 files for 1 inputs")


def test_an_output_that_could_not_be_written_is_refused_before_the_work(ganglion, files):
    words = ("train", files.net, "--data", files.npz, "-o")
    refused(ganglion(*words, "out.bin"), 2, "out.bin", ".onnx")
    refused(ganglion(*words, "no/such/out.onnx"), 2, "out.onnx", "no folder")
    refused(ganglion("quantize", files.net, "--calibrate", files.npz, "-o", "out.npy"), 2,
            "out.npy")
    refused(ganglion("run", files.build, files.npz, "-o", "out.txt"), 2, "out.txt", ".npy")


def test_a_folder_of_other_files_is_not_replaced(ganglion, files, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    refused(ganglion("compile", files.line, "-o", "mine", "--target", "generic"), 2, "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "irreplaceable"


def test_an_unknown_name_is_answered_with_the_known_ones(ganglion, files):
    refused(ganglion("compile", files.net, "-o", "out", "--target", "raspberypi4"), 2,
            "raspberrypi4")
    refused(ganglion("compile", files.net, "-o", "out", "--isa", "altivec"), 2, "altivec")
    train = ("train", files.net, "--data", files.npz, "-o", "out.onnx")
    assert "sparse_categorical_crossentropy" in ganglion(*train, "--loss", "hinge").err
    refused(ganglion(*train, "--optimizer", "adadelta"), 2, "adadelta", "adagrad")
    refused(ganglion(*train, "--schedule", "zigzag"), 2, "zigzag", "cosine")
    refused(ganglion(*train, "--schedule", "linear", "--warmup", 1), 2, "--warmup 1", "cosine")
    refused(ganglion(*train, "--class-weight", "0:1"), 2, "0:1", "0=1,1=2.5")
    refused(ganglion(*train, "--clip-norm", -1), 2, "clipnorm=-1")
    refused(ganglion(*train, "--clip-norm", 1, "--clip-value", 1), 2, "set one of them")
    refused(ganglion(*train, "--checkpoint-steps", 5), 2, "checkpoint_steps=5", "a file to write")
    refused(ganglion("quantize", files.net, "--calibrate", files.npz, "-o", "s.onnx", "--method",
                     "guess"), 2, "guess", "minmax")


def test_a_failing_compiler_is_shown_with_its_command_and_ends_with_1(ganglion, files, tmp_path):
    if shutil.which("false") is None:
        pytest.skip("there is no command `false` here")
    refused(ganglion("compile", files.line, "-o", "out", "--cc", "false"), 1, "ToolchainError",
            "false -std=c11", "line.c")
    assert not (tmp_path / "out").exists()
    refused(ganglion("compile", files.line, "-o", "out", "--cc", "no-such-cc"), 1, "no-such-cc")
    refused(ganglion("compile", files.line, "-o", "out", "--cc", "gcc 'x"), 1, "gcc 'x")


def test_a_build_for_another_machine_is_not_run(ganglion, files):
    np.save("x.npy", np.zeros((1, 2), np.float32))
    assert ganglion("compile", files.line, "-o", "out", "--target", "cortex-m4").code == 0
    refused(ganglion("run", "out", "x.npy"), 2, "out", "cortex-m4", "host")
    refused(ganglion("bench", "out"), 2, "out", "cortex-m4")


def test_a_network_with_state_is_not_benchmarked(ganglion, files):
    refused(ganglion("bench", files.counter), 2, "counter", "state")


def test_what_the_system_refuses_ends_with_1(ganglion, files, monkeypatch):
    def full(path, as_json):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(inspect, "run", full)
    refused(ganglion("inspect", files.net), 1, "No space left", "net.onnx")


def test_a_failed_check_ends_with_1(ganglion, files, monkeypatch):
    def wrong(path, as_json):
        raise CheckError("output 'y' of the build differs")

    monkeypatch.setattr(inspect, "run", wrong)
    refused(ganglion("inspect", files.net), 1, "CheckError", "output 'y'")


def test_a_defect_is_called_one_and_ends_with_1(ganglion, files, monkeypatch):
    def broken(path, as_json):
        raise ZeroDivisionError

    monkeypatch.setattr(inspect, "run", broken)
    answer = ganglion("inspect", files.net)
    assert (answer.code, answer.out) == (1, "")
    assert "a defect of ganglion: ZeroDivisionError" in answer.err
