"""Laws of compiling: the same bytes for the same text, and errors that show what happened."""

import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.hand_made import COUNTER, LINEAR, SLOW

from ganglion.errors import ToolchainError
from ganglion.toolchain import compile_sources, host, target

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
ELF_MACHINES = {"x86-64-v3": 62, "raspberrypi4": 183, "raspberrypi5": 183, "riscv64": 243,
                "cortex-m0plus": 40, "cortex-m4": 40, "cortex-m55": 40}


def compiled(net, name="host", cc=None):
    return compile_sources(net.sources, target(name), name=net.name, cc=cc)


@pytest.mark.parametrize("name", ["host", "x86-64-v3", "raspberrypi4", "raspberrypi5", "wasm32",
                                  "cortex-m4"])
def test_same_text_gives_the_same_bytes(name):
    one, two = compiled(SLOW, name), compiled(SLOW, name)
    assert one == two
    assert len(one.files) == 1


@needs_gcc
@pytest.mark.gcc
def test_same_text_gives_the_same_bytes_with_gcc():
    assert compiled(SLOW, cc="gcc") == compiled(SLOW, cc="gcc")
    assert compiled(SLOW, cc="gcc").compiler.startswith("gcc")


def test_compiles_side_by_side_give_what_they_give_alone():
    nets = [LINEAR, SLOW, COUNTER] * 2
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(compiled, nets))
    assert together == [compiled(net) for net in nets]


@pytest.mark.parametrize(("name", "machine"), ELF_MACHINES.items())
def test_the_file_is_for_the_targets_processor(name, machine):
    made = compiled(LINEAR, name)
    data = made.files[made.library]
    assert data[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", data, 18) == (machine,)


def test_webassembly_exports_the_contract_and_imports_nothing():
    made = compiled(COUNTER, "wasm32")
    assert made.library == "counter.wasm"
    data = made.files["counter.wasm"]
    assert data[:4] == b"\0asm"
    wasmtime = pytest.importorskip("wasmtime")
    module = wasmtime.Module(wasmtime.Engine(), data)
    assert not module.imports
    parts = {"arena_bytes", "state_bytes", "description", "reset", "run"}
    assert {f"counter_{part}" for part in parts} <= {export.name for export in module.exports}


def test_generic_gives_sources_only():
    made = compiled(LINEAR, "generic")
    assert (dict(made.files), made.library) == ({}, None)


@pytest.mark.parametrize("cc", [None, pytest.param("gcc", marks=[pytest.mark.gcc, needs_gcc])])
def test_no_path_and_no_c_library_stand_in_the_file(cc):
    made = compiled(SLOW, "x86-64-v3", cc)
    data = made.files[made.library]
    for foreign in (b"/tmp", b"ganglion-cc", b"libc.so", b"/usr", b"/home", b"/root"):
        assert foreign not in data


def test_flags_for_the_manifest_hold_no_path():
    flags = compiled(LINEAR).flags
    assert "-ffp-contract=off" in flags
    assert not any("/" in flag for flag in flags)


def test_vector_code_needs_its_set_among_the_targets():
    sources = {"v.c": "#include <immintrin.h>\nint v_run(float *x);\nint v_run(float *x)\n"
                      "{ _mm256_storeu_ps(x, _mm256_set1_ps(1.0f)); return 0; }\n"}
    row = target("x86-64-v3")
    assert compile_sources(sources, row, name="v").files
    with pytest.raises(ToolchainError):
        compile_sources(sources, row.with_isas(["scalar"]), name="v")


@pytest.mark.parametrize("cc", [None, pytest.param("gcc", marks=[pytest.mark.gcc, needs_gcc])])
def test_a_failed_compile_shows_command_and_output(cc):
    with pytest.raises(ToolchainError) as failed:
        compile_sources({"bad.c": "int f(void) { return missing; }"}, host(), name="bad", cc=cc)
    text = str(failed.value)
    assert "missing" in text
    assert "bad.c" in text
    assert "-std=c11" in text
    assert "-ffp-contract=off" in text


def test_a_warning_is_an_error():
    with pytest.raises(ToolchainError, match="unused"):
        compile_sources({"w.c": "static int f(void) { return 1; }\n"}, host(), name="w")


def test_a_missing_compiler_is_told(monkeypatch):
    with pytest.raises(ToolchainError, match="no compiler 'no-such-cc' on the PATH"):
        compiled(LINEAR, cc="no-such-cc -O3")
    with pytest.raises(ToolchainError, match="no compiler"):
        compiled(LINEAR, cc=" ")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match="pip install ziglang"):
        compiled(LINEAR)


def test_a_compiler_that_hangs_is_stopped_with_its_children():
    start = time.monotonic()
    with pytest.raises(ToolchainError, match=r"longer than 0\.3 s"):
        compile_sources(LINEAR.sources, host(), name="linear", cc="sh -c 'sleep 30; true'",
                        timeout=0.3)
    assert time.monotonic() - start < 10


def test_a_compiler_that_makes_nothing_is_told():
    with pytest.raises(ToolchainError, match=r"left no linear\."):
        compiled(LINEAR, cc="true")


def test_output_without_end_is_cut():
    with pytest.raises(ToolchainError) as failed:
        compiled(LINEAR, cc="sh -c 'yes error | head -c 200000 >&2; exit 3'")
    assert "exit code 3" in str(failed.value)
    assert "more characters" in str(failed.value)
    assert len(str(failed.value)) < 30_000


def test_the_callers_include_path_changes_nothing(tmp_path, monkeypatch):
    before = compiled(LINEAR)
    (tmp_path / "linear.h").write_text("#error wrong header\n")
    (tmp_path / "string.h").write_text("#error wrong header\n")
    monkeypatch.setenv("CPATH", str(tmp_path))
    monkeypatch.setenv("C_INCLUDE_PATH", str(tmp_path))
    assert compiled(LINEAR) == before


def test_a_home_that_cannot_be_written_is_no_hindrance(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    assert compiled(LINEAR).files
