"""Laws of opening an artefact: what was built is what runs, and nothing else is believed."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.support.hand_made import LINEAR, SLOW, HandMade, artefact, built, write

from ganglion.errors import ModelError, TargetError, ToolchainError, TrustError
from ganglion.runtime import Session
from ganglion.toolchain import target

X = np.array([[1, 1]], np.float32)


def changed(**entries):
    files = dict(built("LINEAR"))
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | entries).encode()
    return files


def library_of(files):
    return json.loads(files["manifest.json"])["library"]


def test_a_folder_a_library_and_memory_give_the_same(tmp_path):
    files = built("LINEAR")
    folder = write(files, tmp_path / "net")
    for session in (Session(folder), Session(str(folder)), Session(folder / library_of(files)),
                    Session.from_files(files)):
        assert session.run(X).item() == -0.5


@pytest.mark.gcc
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_library_of_another_compiler_gives_the_same_bits():
    x = np.linspace(-2, 2, 64 * 3, dtype=np.float32).reshape(3, 64)
    other = Session.from_files(artefact(SLOW, cc="gcc"))
    assert np.array_equal(other.run(x), Session.from_files(built("SLOW")).run(x))


def test_a_rebuilt_folder_gives_the_new_network_and_the_old_session_keeps_its_own(tmp_path):
    folder = write(built("LINEAR"), tmp_path / "net")
    old = Session(folder)
    body = LINEAR.body.replace("0.5f", "100.0f")
    write(artefact(HandMade(**{**vars(LINEAR), "body": body})), folder)
    assert Session(folder).run(X).item() == 99
    assert old.run(X).item() == -0.5


def test_a_changed_library_is_not_loaded(tmp_path):
    files = dict(built("LINEAR"))
    name = library_of(files)
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(TrustError, match="SHA-256"):
        Session(write(files, tmp_path / "net"))


@pytest.mark.parametrize("name", ["../linear.so", "/lib/linear.so", "a/b.so", "..", 7, "a\\b.so"])
def test_a_library_outside_of_the_folder_is_not_loaded(name):
    with pytest.raises(TrustError, match="plain file name"):
        Session.from_files(changed(library=name))


def test_a_library_without_digest_or_of_another_model_is_not_loaded():
    with pytest.raises(TrustError):
        Session.from_files(changed(files={}))
    with pytest.raises(TrustError, match="another Model"):
        Session.from_files(changed(digest="ffff"))


def test_what_this_machine_cannot_run_is_a_target_error():
    with pytest.raises(TargetError, match=r"tpu9.*this machine has"):
        Session.from_files(changed(isas=["scalar", "tpu9"]))
    with pytest.raises(TargetError, match="C sources only"):
        Session.from_files(changed(library=None))
    foreign = target("wasm32")
    with pytest.raises(TargetError, match="wasm32"):
        Session.from_files(artefact(LINEAR, foreign))
    other = target("raspberrypi4" if os.uname().machine != "aarch64" else "x86-64-v3")
    with pytest.raises(TargetError, match="can't load"):
        Session.from_files(artefact(LINEAR, other))


def test_what_is_no_artefact_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="no manifest"):
        Session(tmp_path)
    with pytest.raises(ModelError, match="cannot read"):
        Session(tmp_path / "missing.so")
    with pytest.raises(ModelError, match="neither"):
        Session(tmp_path / "net.onnx")
    for text in (b"{", b"[]", b'{"format": 9}', b"\xff\xfe", b"null"):
        with pytest.raises(ModelError):
            Session.from_files({"manifest.json": text})
    with pytest.raises(ModelError, match="not one of network 'other'"):
        Session.from_files(changed(name="other"))
    files = changed()
    del files[library_of(files)]
    with pytest.raises(ModelError, match="lacks its library"):
        Session.from_files(files)
    with pytest.raises(ModelError):
        Session(write(files, tmp_path / "net"))


@pytest.mark.parametrize(("key", "value"), [
    ("version", 2), ("inputs", None), ("inputs", [{"name": "x"}]), ("digest", "other"),
    ("inputs", [{"name": "x", "dtype": "object", "shape": [1]}]),
    ("inputs", [{"name": "x", "dtype": "float32", "shape": [-1]}]),
    ("inputs", [{"name": "x", "dtype": "float32", "shape": [1] * 33}]),
    ("inputs", [{"name": "x", "dtype": "float32", "shape": 4}]),
    ("state", [{"name": "s", "dtype": "float32", "shape": [2], "offset": 0}])])
def test_a_malformed_description_is_refused(key, value):
    class Odd(HandMade):
        @property
        def description(self):
            return HandMade(**vars(self)).description | {key: value}

    with pytest.raises((ModelError, TrustError)):
        Session.from_files(artefact(Odd(**vars(LINEAR))))


def test_code_that_refuses_its_memory_is_an_error(binding):
    files = artefact(HandMade(**{**vars(LINEAR), "body": "return 1;"}))
    session = Session.from_files(files, binding=binding)
    with pytest.raises(ToolchainError, match="refused"):
        session.run(X)
    with pytest.raises(ToolchainError, match="refused"):
        session.run(np.ones((4, 2), np.float32))


def test_more_memory_than_there_is_is_a_target_error(binding):
    for size in (2**46, 2**62, 2**64 - 1):
        files = artefact(HandMade(**{**vars(LINEAR), "arena_bytes": f"{size}u"}))
        session = Session.from_files(files, binding=binding)
        assert session.arena_bytes == size
        with pytest.raises(TargetError, match=f"{size} bytes"):
            session.run(X)


def test_loading_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    session = Session.from_files(built("LINEAR"))
    assert session.run(X).item() == -0.5
    assert list(tmp_path.iterdir()) == []


def test_the_environment_can_ask_for_ctypes():
    run = subprocess.run([sys.executable, "-c", "import ganglion.runtime as r; print(r.BINDING)"],
                         capture_output=True, text=True, check=True,
                         env={**os.environ, "GANGLION_BINDING": "ctypes"})
    assert run.stdout.strip() == "ctypes"


def test_an_unknown_binding_is_refused():
    with pytest.raises(ToolchainError, match="'cuda' is not there"):
        Session.from_files(built("LINEAR"), binding="cuda")


def test_the_runtime_loads_nothing_of_the_builder_and_loads_quickly():
    """Quickly: in less time than NumPy takes, which is loaded first."""
    code = ("import sys, time; start = time.process_time(); import numpy; "
            "before = set(sys.modules); middle = time.process_time(); "
            "import ganglion.runtime; end = time.process_time(); "
            "new = set(sys.modules) - before; "
            "print((end - middle) / (middle - start), *sorted("
            "m for m in new if m.split('.')[0] not in sys.stdlib_module_names))")
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            .stdout.split() for _ in range(5)]
    loaded = runs[0][1:]
    rooms = {module.split(".")[1] for module in loaded if module.startswith("ganglion.")}
    assert rooms <= {"runtime", "errors", "cpu", "tensors"}
    made_by_cython = ("cython_runtime", "_cython_")
    others = [m for m in loaded if not m.startswith(("ganglion", "numpy", *made_by_cython))]
    assert others == []
    assert min(float(run[0]) for run in runs) < 1
