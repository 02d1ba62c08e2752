"""Every command on a tiny network: what it writes, what it prints, and that JSON is JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support import keras_archives

import ganglion as gg
from ganglion import layers as L
from ganglion.ops.registry import rows
from ganglion.toolchain.targets import targets


def answered(answer):
    """The JSON document that a command wrote: standard output holds nothing else."""
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_inspect_adds_up(ganglion, files):
    report = answered(ganglion("inspect", files.net, "--json"))
    layers = {layer["layer"]: layer for layer in report["layers"]}
    assert layers["conv2d"]["parameters"] == 3 * 3 * 4 + 4
    assert layers["dense"]["parameters"] == 64 * 3 + 3
    assert report["parameters"] == sum(layer["parameters"] for layer in report["layers"])
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    assert layers["dense"]["output"] == "[N,3]"
    assert report["inputs"] == [{"name": "input_layer", "dtype": "float32",
                                 "shape": ["N", 6, 6, 1]}]
    assert report["const_bytes"] == 4 * report["parameters"]
    assert report["arena_bytes"] > 0


def test_inspect_shows_a_quantised_network_layer_by_layer(ganglion, files):
    plain = answered(ganglion("inspect", files.net, "--json"))
    small = answered(ganglion("inspect", files.small, "--json"))
    assert {layer["layer"] for layer in small["layers"]} == {"conv2d", "flatten", "dense"}
    assert {layer["dtype"] for layer in small["layers"]} == {"int8"}
    for before, after in zip(plain["layers"], small["layers"]):
        assert (before["parameters"], before["layer"]) == (after["parameters"], after["layer"])


def test_inspect_prints_a_table(ganglion, files):
    answer = ganglion("inspect", files.net)
    assert answer.code == 0
    assert answer.err == ""
    for word in ("conv2d", "dense", "parameters", "MACs", "arena"):
        assert word in answer.out


def test_inspect_reads_keras_archives_without_keras(ganglion):
    path = keras_archives.archive(
        Path("net.keras"),
        keras_archives.sequential(keras_archives.layer("Dense", "dense", units=4)),
        keras_archives.hdf5(keras_archives.dense_weights()))
    assert answered(ganglion("inspect", path, "--json"))["parameters"] == 20


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inspect_counts_as_keras_counts(ganglion, monkeypatch):
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(3, 3),
                            keras.layers.BatchNormalization(), keras.layers.Flatten(),
                            keras.layers.Dense(5)])
    net.save("net.keras")
    assert answered(ganglion("inspect", "net.keras", "--json"))["parameters"] == net.count_params()


def test_train_writes_a_network_that_fits_the_data_better(ganglion, files):
    before = answered(ganglion("evaluate", files.line, "--data", files.csv, "--json"))
    report = answered(ganglion("train", files.line, "--data", files.csv, "--epochs", 30,
                               "--optimizer", "sgd", "--learning-rate", 0.1, "-o", "out.onnx",
                               "--json"))
    after = answered(ganglion("evaluate", "out.onnx", "--data", files.csv, "--json"))
    assert report["loss"] == "mean_squared_error"
    assert len(report["history"]["val_loss"]) == 30
    assert after["mse"] < 0.01 * before["mse"]
    assert after["rows"] == 30


def test_train_shows_its_progress_on_standard_error_and_its_history_as_a_table(ganglion, files):
    answer = ganglion("train", files.net, "--data", files.npz, "-o", "out.onnx")
    assert answer.code == 0
    assert "training" in answer.err
    assert "val_accuracy" in answer.out
    assert "sparse_categorical_crossentropy" in answer.out
    assert gg.load("out.onnx").graph.inputs[0].shape[1:] == (6, 6, 1)


def test_train_starts_where_its_checkpoint_ends(ganglion, files):
    words = ("train", files.line, "--data", files.csv, "-o")
    ganglion(*words, "whole.onnx", "--epochs", 4)
    ganglion(*words, "half.onnx", "--epochs", 2, "--checkpoint", "run.npz")
    assert ganglion(*words, "rest.onnx", "--epochs", 4, "--checkpoint", "run.npz").code == 0
    whole, rest = gg.load("whole.onnx"), gg.load("rest.onnx")
    for name, value in whole.graph.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(),
                                      rest.graph.initializers[name].const_value.numpy())


def test_train_takes_a_schedule_and_bounds_and_logs(ganglion, files):
    report = answered(ganglion(
        "train", files.line, "--data", files.csv, "-o", "out.onnx", "--epochs", 4, "--optimizer",
        "lion", "--learning-rate", 0.1, "--schedule", "cosine", "--warmup", 1, "--clip-norm", 1,
        "--weight-decay", 0.01, "--accumulate", 2, "--checkpoint", "run.npz", "--checkpoint-steps",
        1, "--log", "log.csv", "--json"))
    rates = report["history"]["learning_rate"]
    assert rates[1] > rates[2] > rates[3] > 0
    assert rates[0] < 0.1
    lines = Path("log.csv").read_text().splitlines()
    assert lines[0].split(",") == ["epoch", *report["history"]]
    assert len(lines) == 5


@pytest.mark.parametrize("words", [("--schedule", "linear"), ("--schedule", "exponential"),
                                   ("--schedule", "plateau"), ("--class-weight", "balanced"),
                                   ("--class-weight", "0=2,1=0.5")])
def test_train_takes_each_way_to_set_rates_and_weights(ganglion, files, words):
    report = answered(ganglion("train", files.net, "--data", files.npz, "-o", "out.onnx",
                               "--epochs", 2, *words, "--json"))
    rates = report["history"].get("learning_rate")
    if words[0] == "--class-weight":
        assert rates is None
    else:
        assert (rates[1] < rates[0]) == (words[1] != "plateau")


def test_evaluate_takes_the_held_out_part(ganglion, files):
    report = answered(ganglion("evaluate", files.small, "--data", files.npz, "--json"))
    assert report["rows"] == 10
    assert {"loss", "accuracy", "precision", "recall", "f1"} <= set(report)


def test_quantize_writes_an_int8_network(ganglion, files):
    report = answered(ganglion("quantize", files.net, "--calibrate", files.npz, "--rows", 20,
                               "--method", "percentile", "-o", "small.onnx", "--json"))
    assert report["rows"] == 20
    ops = {node.op_type for node in gg.load("small.onnx").graph}
    assert {"QuantizeLinear", "DequantizeLinear"} <= ops


def test_compile_checks_an_int8_build_bit_for_bit(ganglion, files):
    manifest = answered(ganglion("compile", files.small, "-o", "a/b/out", "--calibrate", files.npz,
                                 "--isa", "scalar", "--name", "digits", "--json"))
    assert manifest["check"]["status"] == "passed"
    assert manifest["check"]["exact"] is True
    assert manifest["isas"] == ["scalar"]
    assert gg.Session("a/b/out").name == "digits"


def test_a_network_of_int8_weights_is_built_and_exported_hybrid(ganglion, files):
    report = answered(ganglion("quantize", files.net, "--weights-only", "-o", "w.onnx", "--json"))
    assert report["output_bytes"] < report["input_bytes"]
    built = ganglion("compile", "w.onnx", "-o", "out", "--hybrid")
    assert built.code == 0, built.err
    assert "hybrid_" in Path("out/tiny.c").read_text(encoding="utf-8")
    for more in ([], ["--hybrid"]):
        assert ganglion("export", "w.onnx", "-o", f"n{len(more)}.tflite", *more).code == 0
    assert Path("n1.tflite").stat().st_size < Path("n0.tflite").stat().st_size


def test_compile_gives_sources_for_any_compiler(ganglion, files):
    answer = ganglion("compile", files.net, "-o", "out", "--target", "generic")
    assert answer.code == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["manifest.json", "tiny.c", "tiny.h"]
    assert "not run" in answer.out


def test_compile_for_several_rows_a_call(ganglion, files):
    assert ganglion("compile", files.line, "-o", "out", "--batch", 3).code == 0
    assert gg.Session("out").inputs[0].shape == (3, 2)


def test_compile_tunes_once_and_follows_the_cache(ganglion, files):
    answer = ganglion("compile", files.line, "-o", "out", "--tune", "--tune-cache", "kept.json")
    assert answer.code == 0, answer.err
    assert "kernels chosen by measurement" in answer.out
    kept = Path("kept.json").read_bytes()
    followed = answered(ganglion("compile", files.line, "-o", "again", "--tune-cache", "kept.json",
                                 "--json"))
    assert followed == json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert Path("kept.json").read_bytes() == kept
    assert "the cost model" in ganglion("compile", files.line, "-o", "plain").out


def test_targets_and_operators_are_printed_from_their_rows(ganglion):
    listed = answered(ganglion("targets", "--json"))
    assert [row["name"] for row in listed] == list(targets())
    found = answered(ganglion("operators", "--json"))
    keys = [("" if row["domain"] == "ai.onnx" else row["domain"], row["name"]) for row in found]
    assert sorted(keys) == sorted(rows())
    printed = ganglion("operators")
    assert all(name in printed.out for _, name in rows())
    assert all(name in ganglion("targets").out for name in targets())


def test_run_answers_as_a_session_does(ganglion, files):
    x = np.load(files.npz)["x"]
    np.save("x.npy", x)
    expected = gg.Session(files.build).run(x)
    report = answered(ganglion("run", files.build, "x.npy", "-o", "y.npy", "--json"))
    np.testing.assert_array_equal(np.load("y.npy"), expected)
    (values,) = report.values()
    np.testing.assert_array_equal(np.asarray(values, np.float32), expected)


def test_run_takes_rows_in_any_file(ganglion, files):
    x = np.load(files.npz)["x"][:2]
    np.save("rows.npy", x)
    np.save("flat.npy", x.reshape(2, -1))
    np.save("one.npy", x[0])
    np.savez("rows.npz", x=x)
    np.savetxt("rows.csv", x.reshape(2, -1), delimiter=",")
    found = [next(iter(answered(ganglion("run", files.build, name, "--json")).values()))
             for name in ("rows.npy", "flat.npy", "rows.npz", "rows.csv", "one.npy")]
    assert found[0] == found[1] == found[2] == found[3]
    np.testing.assert_allclose(found[4][0], found[0][0], rtol=1e-6)


def test_run_takes_an_image_resized_and_scaled(ganglion, files):
    pixels = np.full((12, 12), 51, np.uint8)
    Image.fromarray(pixels).save("grey.png")
    np.save("grey.npy", np.full((1, 6, 6, 1), 0.2, np.float32))
    image = answered(ganglion("run", files.build, "grey.png", "--scale", 1 / 255, "--json"))
    array = answered(ganglion("run", files.build, "grey.npy", "--json"))
    np.testing.assert_allclose(list(image.values()), list(array.values()), rtol=1e-5)


def test_run_prints_the_class_with_the_largest_value(ganglion, files):
    np.save("x.npy", np.load(files.npz)["x"])
    answer = ganglion("run", files.build, "x.npy")
    assert answer.code == 0
    assert answer.out.count("largest:") == 20
    assert "10 more rows" in answer.out


def test_run_takes_rows_as_steps_where_state_is_kept(ganglion, files):
    x = np.random.default_rng(1).normal(size=(3, 1, 2)).astype(np.float32)
    np.save("x.npy", x)
    stream = gg.Session(files.counter).stream()
    expected = [stream.run(x[i:i + 1]) for i in range(3)]
    found = answered(ganglion("run", files.counter, "x.npy", "--json"))
    np.testing.assert_array_equal(np.asarray(next(iter(found.values())), np.float32),
                                  np.concatenate(expected))


def test_what_is_not_finite_is_null_in_json(ganglion, files):
    assert ganglion("compile", files.line, "-o", "line").code == 0
    np.save("x.npy", np.array([[np.nan, 1], [np.inf, 1]], np.float32))
    found = answered(ganglion("run", "line", "x.npy", "--json"))
    assert next(iter(found.values())) == [[None], [None]]


def test_bench_orders_its_figures(ganglion, files):
    report = answered(ganglion("bench", files.build, "--seconds", 0.1, "--json"))
    times = [report[name] for name in ("min_us", "median_us", "p90_us", "p99_us", "max_us")]
    assert times == sorted(times)
    assert 0 <= report["overhead_us"] <= report["median_us"]
    assert report["library_bytes"] == (files.build / "tiny.so").stat().st_size
    printed = ganglion("bench", files.build, "--seconds", 0.1).out
    assert all(word in printed for word in ("median latency", "arena", "flash", "call from Python"))


@pytest.mark.slow
def test_the_demo_goes_all_the_way(ganglion):
    report = answered(ganglion("demo", "--epochs", 2, "-o", "demo", "--json"))
    assert [form["name"] for form in report["forms"]] == ["float", "pruned", "int8"]
    assert all(form["check"] == "passed" for form in report["forms"])
    assert report["raspberrypi4"]["target"] == "raspberrypi4"
    assert "<svg" in Path(report["report"]).read_text() or "image/svg" in Path(
        report["report"]).read_text()
    assert gg.Session("demo/int8").run(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 10)


def test_the_program_ends_with_its_exit_code(files, tmp_path):
    code = "from ganglion.cli.app import main; main()"
    program = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(Path(gg.__file__).parents[1])}
    good = subprocess.run([*program, "inspect", files.net, "--json"], capture_output=True,
                          check=True, cwd=tmp_path, env=env)
    assert json.loads(good.stdout)["name"] == "tiny"
    assert good.stderr == b""
    bad = subprocess.run([*program, "inspect", "none.onnx"], capture_output=True, check=False,
                         cwd=tmp_path, env=env)
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert b"none.onnx" in bad.stderr


def test_help_names_every_command_and_every_command_has_help(ganglion):
    answer = ganglion("--help")
    assert answer.code == 0
    for command in ("inspect", "train", "evaluate", "quantize", "compile", "export", "targets",
                    "operators", "run", "bench", "demo"):
        assert command in answer.out
        assert "--json" in ganglion(command, "--help").out
    assert ganglion("--version").out == f"ganglion {gg.__version__}\n"


def test_networks_of_several_inputs_and_outputs_take_arrays_by_name(ganglion):
    a, b = gg.Input((3,), name="a"), gg.Input((2,), name="b")
    both = L.Concatenate()([a, b])
    net = gg.Functional([a, b], [L.Dense(1, name="total")(both),
                                 L.Dense(2, activation="softmax", name="kind")(both)])
    gg.save(net, "two.onnx")
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    outputs = {"total": one.sum(1) + two.sum(1), "kind": rng.integers(0, 2, 20)}
    names = dict(zip([str(v.name) for v in net.graph.outputs], outputs.values()))
    np.savez("two.npz", a=one, b=two, **names)
    report = answered(ganglion("train", "two.onnx", "--data", "two.npz", "-o", "out.onnx",
                               "--json"))
    assert report["loss"] == "mean_squared_error sparse_categorical_crossentropy"
    assert answered(ganglion("evaluate", "out.onnx", "--data", "two.npz", "--json"))["rows"] == 20
    assert ganglion("quantize", "out.onnx", "--calibrate", "two.npz", "-o", "s.onnx").code == 0
    assert ganglion("compile", "s.onnx", "--calibrate", "two.npz", "-o", "two").code == 0
    np.save("a.npy", one.astype(np.float32))
    np.save("b.npy", two.astype(np.float32))
    found = answered(ganglion("run", "two", "a.npy", "b.npy", "-o", "y.npz", "--json"))
    assert sorted(found) == sorted(np.load("y.npz").files) == sorted(names)


def test_json_holds_no_colours_even_where_they_are_forced(ganglion, files, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert answered(ganglion("targets", "--json"))[0]["name"] == "host"


def test_inspect_shows_the_steps_of_a_build(ganglion, tmp_path):
    net = L.Sequential([L.Input((4,)), L.Dense(3, activation="relu")], name="small")
    gg.save(net, tmp_path / "net.onnx")
    answer = ganglion("inspect", tmp_path / "net.onnx", "--plan")
    assert answer.code == 0
    first, *steps = answer.out.splitlines()
    assert first.startswith("small: arena 0 B")
    assert len(steps) == 1
    assert steps[0].startswith("matmul_f32_")


def test_a_table_that_train_takes_is_taken_by_every_command(ganglion, files, tmp_path):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(24, 2))
    table = "speed,load,state\n" + "".join(
        f"{a:.4f},{b:.4f},{'worn' if a > b else 'sound'}\n" for a, b in rows)
    Path("bearings.csv").write_text(table)
    net = gg.Sequential([gg.Input((2,)), L.Dense(2, activation="softmax")], name="bearings")
    gg.save(net, "net.onnx")
    for words in (["train", "net.onnx", "--data", "bearings.csv", "-o", "trained.onnx"],
                  ["evaluate", "trained.onnx", "--data", "bearings.csv"],
                  ["quantize", "trained.onnx", "--calibrate", "bearings.csv", "-o", "small.onnx"],
                  ["compile", "small.onnx", "--calibrate", "bearings.csv", "-o", "build"],
                  ["run", "build", "bearings.csv", "-o", "y.npy"]):
        answer = ganglion(*words)
        assert answer.code == 0, answer.err
    assert np.load("y.npy").shape == (24, 2)
