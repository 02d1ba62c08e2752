"""Archives of strangers: damage and malice end in the project's own errors, nothing else."""

import contextlib
import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.support.evaluation import run
from tests.support.keras_archives import (
    archive,
    dense_weights,
    functional,
    hdf5,
    layer,
    sequential,
    tensor,
)

from ganglion.data.arrays import open_npz
from ganglion.errors import GanglionError, ModelError, TrustError, UnsupportedOp
from ganglion.formats.keras.archive import load_keras

DENSE = layer("Dense", "dense", units=4)
GOOD = hdf5(dense_weights())


def test_a_hand_written_archive_is_read_without_keras(tmp_path):
    model = load_keras(archive(tmp_path / "a.keras", functional(), GOOD))
    w = dense_weights()
    x = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_allclose(
        run(model, x)[0], x @ w["layers/dense/vars/0"] + w["layers/dense/vars/1"] + x, atol=1e-6)


def refused(tmp_path: Path, error: type[GanglionError], words: str, config: object,
            weights: bytes = GOOD, **how: object) -> None:
    path = archive(tmp_path / "bad.keras", config, weights, **how)
    with pytest.raises(error, match=words) as caught:
        load_keras(path)
    assert type(caught.value) is error


@pytest.mark.parametrize(("entry", "error", "words"), [
    (layer("Lambda", "twice", function={"class_name": "__lambda__"}), TrustError,
     "Lambda 'twice' holds Python code"),
    ({**layer("Mine", "m"), "module": "evil"}, UnsupportedOp, "custom object of 'evil'"),
    ({**DENSE, "registered_name": "Custom>Dense"}, UnsupportedOp, "custom object"),
    ({**DENSE, "module": "keras.src.ops.numpy"}, UnsupportedOp, "operation on tensors"),
    (layer("Conv3D", "c"), UnsupportedOp, "Conv3D 'c': there is no such layer here"),
    (layer("Dense", "d", units=4, activation={"class_name": "function", "config": "f"}),
     UnsupportedOp, "custom function 'f'"),
    (layer("Dense", "d", units=4, activation={"class_name": "__lambda__"}), TrustError,
     "holds Python code"),
    (layer("Dense", "d", units=4, kernel_regularizer={"class_name": "Mine", "config": {}}),
     UnsupportedOp, "known are L1, L2 and L1L2"),
    (layer("Dense", "d", units=4, surprise=1), UnsupportedOp, "surprise=1 is not known"),
    (layer("Dense", "d"), ModelError, "lacks units"),
    (layer("Dense", "d", units="4"), ModelError,
     r"units must be an integer below 2\^31, found '4'"),
    (layer("Dense", "d", units=-1), ModelError, "units must be positive"),
    (layer("Dense", "d", units=2**31), ModelError, "units must be an integer below"),
    (layer("Dense", "d", units=2**30), ModelError, "the limit is"),
    (layer("Dense", "d", units=4, dtype={"config": {"name": "mixed_float16"}}), UnsupportedOp,
     "policy 'mixed_float16'"),
    ({**DENSE, "config": {**DENSE["config"], "dtype": "float16"}}, UnsupportedOp,
     "policy 'float16'"),
    (layer("Dropout", "d", rate=float("nan")), ModelError, "rate must be a finite number"),
    (layer("Embedding", "d", input_dim=3, output_dim=2, mask_zero=True), UnsupportedOp,
     "mask_zero=True has no counterpart"),
    (layer("LSTM", "d", units=3, stateful=True), UnsupportedOp, "session.stream"),
    (layer("RepeatVector", "d", n=2**31 - 1), ModelError, "too large"),
    (layer("Reshape", "d", target_shape=[2**62, 2**62]), ModelError, "Reshape 'd'"),
    (layer("Permute", "d", dims=[[[[[[1]]]]]]), ModelError, "dims must be"),
    (layer("TimeDistributed", "d", layer=sequential(DENSE)), UnsupportedOp, "whole network"),
    ({"class_name": "Dense"}, ModelError, "'config' in its configuration must be"),
    ([], ModelError, "must be a list of objects"),
])
def test_layers_that_cannot_be_read_are_named_with_the_reason(entry, error, words, tmp_path):
    refused(tmp_path, error, words, sequential(entry) if isinstance(entry, dict) else
            {**sequential(), "config": {"name": "net", "layers": [entry]}})


@pytest.mark.parametrize(("config", "words"), [
    (b"{", "is not JSON"), (b"[" * 100_000, "is not JSON"), (b"[]", "must be an object"),
    (b"\xff\xfe{}", "is not JSON"), ({}, "class_name"),
    ({"class_name": "Sequential", "module": "keras", "config": []}, "'config'"),
    ({"class_name": "Cake", "module": "keras", "config": {}}, "holds a Cake"),
    ({**sequential(), "config": {"name": "net", "layers": []}}, "does not say the shape"),
    ({**functional(), "config": {**functional()["config"], "output_layers": ["add", 0, 7]}},
     "does not exist"),
    ({**functional(), "config": {**functional()["config"], "output_layers": ["add", "0", 0]}},
     r"must be \[layer, call, output\]"),
    ({**functional(), "config": {**functional()["config"], "input_layers": ["dense", 0, 0]}},
     "is no InputLayer"),
])
def test_malformed_configurations_are_refused(config, words, tmp_path):
    refused(tmp_path, ModelError, words, config)


def test_a_network_that_reads_itself_is_refused(tmp_path):
    config = functional()
    config["config"]["layers"][1]["inbound_nodes"] = [{"args": [tensor("add")], "kwargs": {}}]
    refused(tmp_path, ModelError, "depends on itself", config)


def test_networks_nested_too_deep_are_refused(tmp_path):
    inner = sequential(DENSE)
    for i in range(40):
        outer = sequential(inner)
        outer["config"]["name"] = f"net{i}"
        inner = outer
    refused(tmp_path, ModelError, "deep", inner)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "..\\evil", "C:/x"])
def test_names_that_climb_out_of_the_archive_are_refused(name, tmp_path):
    refused(tmp_path, TrustError, "points outside", sequential(DENSE), extra={name: b"x"})


def test_an_entry_given_twice_is_refused(tmp_path):
    path = archive(tmp_path / "a.keras", sequential(DENSE), GOOD)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", b"{}")
    with pytest.raises(TrustError, match="two entries"):
        load_keras(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    refused(tmp_path, TrustError, "unpacks from", b" " * (50 << 20),
            compression=zipfile.ZIP_DEFLATED)


def test_packing_that_cannot_be_bounded_is_refused(tmp_path):
    refused(tmp_path, ModelError, "packed by method 14", sequential(DENSE),
            compression=zipfile.ZIP_LZMA)


def test_a_part_larger_than_it_declares_is_refused(tmp_path):
    path = archive(tmp_path / "a.keras", sequential(DENSE), GOOD)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("config.json").file_size.to_bytes(4, "little")
    at = data.rindex(b"config.json") - 46 + 24
    assert data[at:at + 4] == size
    data[at:at + 4] = (5).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ModelError):
        load_keras(path)


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_missing_part_is_named(name, tmp_path):
    refused(tmp_path, ModelError, f"has no {name}", sequential(DENSE), leave_out=name)


def test_an_archive_of_keras_2_is_refused_with_advice(tmp_path):
    refused(tmp_path, ModelError, "written by Keras 2.15.0; expected 3", sequential(DENSE),
            version="2.15.0")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    for data in (b"", b"PK", b"\x89HDF\r\n\x1a\n" + b"\0" * 100):
        path = tmp_path / "a.keras"
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"as a \.keras archive"):
            load_keras(path)
    with pytest.raises(ModelError, match="cannot read"):
        load_keras(tmp_path / "absent.keras")


def test_missing_and_misshapen_weights_are_named(tmp_path):
    refused(tmp_path, ModelError, "layer 'dense': bias is missing", sequential(DENSE),
            hdf5({k: v for k, v in dense_weights().items() if k.endswith("0")}))
    refused(tmp_path, ModelError, r"'dense': kernel has the shape \[5, 4\]", sequential(DENSE),
            hdf5(dense_weights(inputs=5)))
    refused(tmp_path, ModelError, "damaged", sequential(DENSE), b"no hdf5")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    weights = {k: v.astype(np.float64) for k, v in dense_weights().items()}
    weights["layers/dense/vars/0"][1, 2] = value
    refused(tmp_path, ModelError, "'dense': kernel holds NaN or infinity", sequential(DENSE),
            hdf5(weights))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    weights = dense_weights()
    weights["layers/dense/vars/0"] = np.full((4, 4), b"abc")
    refused(tmp_path, ModelError, "has the type", sequential(DENSE), hdf5(weights))


def _replace(file: h5py.File, link: object) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = link


def test_links_out_of_the_file_are_never_followed(tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["w"] = dense_weights()["layers/dense/vars/0"]
    for link in (h5py.ExternalLink(str(other), "/w"), h5py.SoftLink("/layers/dense/vars/1")):
        weights = hdf5(dense_weights(), lambda f, link=link: _replace(f, link))
        refused(tmp_path, TrustError, "is a link", sequential(DENSE), weights)


def test_values_kept_in_another_file_are_never_read(tmp_path):
    raw = tmp_path / "raw.bin"
    raw.write_bytes(bytes(64))

    def external(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (4, 4), np.float32,
                            external=[(str(raw), 0, 64)])

    def virtual(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        plan = h5py.VirtualLayout((4, 4), np.float32)
        plan[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (4, 4))
        file.create_virtual_dataset("layers/dense/vars/0", plan)

    for edit in (external, virtual):
        refused(tmp_path, TrustError, "in another file", sequential(DENSE),
                hdf5(dense_weights(), edit))


def test_weights_larger_than_what_the_file_holds_are_refused(tmp_path):
    units = 1 << 20

    def sparse(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (4, units), np.float32, chunks=(4, 1 << 16))

    refused(tmp_path, TrustError, "of which the file holds 0",
            sequential(layer("Dense", "dense", units=units)), hdf5(dense_weights(), sparse))


def _mutations(data: bytes, count: int) -> list[bytes]:
    """Cuts, flipped bytes and overwritten runs, the same ones at every run."""
    rng = np.random.default_rng(len(data))
    made = [data[:int(rng.integers(len(data)))] for _ in range(count // 6)]
    while len(made) < count:
        copy = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at, run_length = int(rng.integers(len(copy))), int(rng.integers(1, 5))
            copy[at:at + run_length] = rng.integers(0, 256, run_length, np.uint8).tobytes()
        made.append(bytes(copy))
    return made


def _survives(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(GanglionError):
        load_keras(path)


def test_damaged_archives_raise_only_errors_of_this_project(tmp_path):
    whole = archive(tmp_path / "a.keras", functional(), GOOD).read_bytes()
    for data in _mutations(whole, 300):
        _survives(tmp_path / "fuzz.keras", data)


def test_damaged_weights_raise_only_errors_of_this_project(tmp_path):
    for data in _mutations(GOOD, 300):
        _survives(tmp_path / "f.keras",
                  archive(tmp_path / "b.keras", functional(), data).read_bytes())


def test_values_of_any_kind_in_a_configuration_raise_only_errors_of_this_project(tmp_path):
    strange = [None, -1, 0, 1.5, 2**31, 2**63, 10**400, "", "same", True, [], [1, 2], [[1, 2], [3]],
               {}, {"class_name": "L2"}, float("inf"), {"config": None}]
    config = functional()
    nested = sequential(
        layer("Conv2D", "c", filters=2, kernel_size=[3, 3], strides=1, padding="same"),
        layer("ZeroPadding2D", "z", padding=[[1, 0], [0, 1]]), layer("MaxPooling2D", "p"),
        layer("Reshape", "r", target_shape=[2, -1]), layer("LSTM", "l", units=2),
        layer("Dense", "dense", units=3, activation="relu"), shape=(4, 4, 3))
    for base in (config, nested):
        for places in _places(base):
            for value in strange:
                changed = json.loads(json.dumps(base))
                spot = changed
                for key in places[:-1]:
                    spot = spot[key]
                spot[places[-1]] = value
                _load_config(tmp_path, changed)


def _load_config(folder: Path, config: object) -> None:
    with contextlib.suppress(GanglionError):
        load_keras(archive(folder / "f.keras", config, GOOD))


def _places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside a JSON structure."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    for key, inner in items:
        found += _places(inner, (*path, key))
    return found


def test_reading_needs_no_file_system_beyond_the_archive_itself(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.keras", functional(), GOOD)
    monkeypatch.chdir(tmp_path)
    load_keras(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.keras"]
    assert io.BytesIO(path.read_bytes()).read(2) == b"PK"


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "1" * 5000, "{", "\xff"])
def test_settings_that_are_no_json_or_nested_without_end_are_refused(tmp_path, text):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as written:
        written.writestr("metadata.json", "{}")
        written.writestr("config.json", text.encode("latin-1"))
        written.writestr("model.weights.h5", GOOD)
    with pytest.raises(GanglionError):
        load_keras(tmp_path / "a.keras")


def test_an_encrypted_archive_is_refused(tmp_path):
    data = bytearray(archive(tmp_path / "a.keras", functional(), GOOD).read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + flags] |= 1
    (tmp_path / "a.keras").write_bytes(data)
    with pytest.raises(GanglionError, match=r"encrypt|password"):
        load_keras(tmp_path / "a.keras")
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + flags] |= 1
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(GanglionError, match=r"encrypt|password"), \
            open_npz(tmp_path / "x.npz", 10**6) as held:
        dict(held)
