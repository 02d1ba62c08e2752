"""Generated C protects itself: from contraction, from -ffast-math, from pointers not aligned."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.kernel_lab import cpu_runs
from tests.support.networks import NETWORKS
from tests.support.qdq import QdqNet

import ganglion as gg
from ganglion import layers as L
from ganglion.emit.c import emit
from ganglion.errors import DataError
from ganglion.kernels.source import GUARDS
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.toolchain.targets import ELF

ZIG = [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]
OURS = ["-std=c11", "-O2", "-ffp-contract=off", "-fno-strict-aliasing"]
CARELESS = ["gcc", "-O3", "-march=native", "-ffp-contract=fast"]
NEEDS_GCC = [pytest.mark.gcc, pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")]


def written(folder: Path, model: ir.Model, isas=("scalar",)) -> dict[str, str]:
    files = emit(plan(ready_to_plan(model), isas, name="net"))
    put(folder, files)
    return files


def put(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def opened(folder: Path, command: list[str]) -> gg.Session:
    subprocess.run([*command, *ELF.flags, "net.c", "-o", "net.so"], cwd=folder, check=True)
    return gg.Session(folder / "net.so")


def codes_and_their_sum() -> ir.Model:
    """int8 in, a product with wide sums, and two dequantised tensors that are added as floats."""
    net = QdqNet(0)
    x = net.input((1, 64))
    weights, scale = net.weight((64, 64), 1)
    product = net.g.op("Add", net.g.op("MatMul", x, weights), net.bias(64, scale * 0.05))
    made = net.quantized(product, 0.037, -5)
    net.g.output("y", net.g.op("Add", x, made))
    return net.g.model()


def quantized_dense() -> ir.Model:
    """uint8 inside, zero point 128 behind tanh: gcc 12 made wrong code of it for AVX512-VNNI."""
    net = gg.Sequential([gg.Input((64,)), L.Dense(32, activation="tanh"),
                         L.Dense(7, activation="softmax")])
    return gg.quantize(net, calibration=np.random.default_rng(0).normal(
        size=(50, 64)).astype(np.float32))


def answers(session: gg.Session) -> np.ndarray:
    port, rng = session.inputs[0], np.random.default_rng(1)
    draw = (lambda: rng.normal(size=port.shape).astype(np.float32)) if port.dtype.kind == "f" \
        else (lambda: rng.integers(-128, 128, port.shape).astype(port.dtype))
    return np.stack([session.run(draw()) for _ in range(50)])


@pytest.mark.gcc
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("network", [codes_and_their_sum, quantized_dense])
def test_careless_gcc_gives_an_integer_network_s_very_bits(tmp_path, network):
    files = written(tmp_path / "ours", network())
    put(tmp_path / "careless", files)
    expected = answers(opened(tmp_path / "ours", [*ZIG, *OURS]))
    np.testing.assert_array_equal(answers(opened(tmp_path / "careless", CARELESS)), expected)


@pytest.mark.gcc
@pytest.mark.skipif(shutil.which("gcc") is None or not cpu_runs("avx2"), reason="no gcc or no fma")
def test_without_its_pragma_the_same_command_gives_other_bits(tmp_path):
    """The law above is sharp."""
    files = written(tmp_path / "ours", codes_and_their_sum())
    put(tmp_path / "bare", {n: text.replace(GUARDS, "") for n, text in files.items()})
    expected = answers(opened(tmp_path / "ours", [*ZIG, *OURS]))
    assert (answers(opened(tmp_path / "bare", CARELESS)) != expected).any()


FAST = ["-ffast-math", "-Ofast", "-ffinite-math-only", "-freciprocal-math",
        "-fassociative-math -fno-signed-zeros -fno-trapping-math"]


@pytest.mark.parametrize(("compiler", "flags"), [
    *(("zig", flags) for flags in FAST),
    *(pytest.param("gcc", flags, marks=NEEDS_GCC)
      for flags in [*FAST, "-funsafe-math-optimizations"])])
def test_fast_math_is_refused_or_without_effect(tmp_path, compiler, flags):
    files = written(tmp_path / "ours", NETWORKS["activations"]())
    command = ["gcc"] if compiler == "gcc" else ZIG
    run = subprocess.run([*command, *OURS, *flags.split(), "-shared", "-fPIC", "net.c", "-o",
                          "fast.so"], cwd=tmp_path / "ours", capture_output=True, text=True,
                         check=False)
    if run.returncode:
        assert "compile without -ffast-math" in run.stderr
        return
    assert compiler == "zig"
    put(tmp_path / "fast", files)
    expected = answers(opened(tmp_path / "ours", [*ZIG, *OURS]))
    found = answers(opened(tmp_path / "fast", [*ZIG, *OURS, *flags.split()]))
    np.testing.assert_array_equal(found, expected)


def test_fast_math_as_a_whole_is_refused_by_zig(tmp_path):
    written(tmp_path, NETWORKS["linear"]())
    run = subprocess.run([*ZIG, "-ffast-math", "-c", "net.c", "-o", "net.o"], cwd=tmp_path,
                         capture_output=True, text=True, check=False)
    assert run.returncode
    assert "compile without -ffast-math" in run.stderr


MAIN = """
#include "net.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    _Alignas(64) static unsigned char arena[net_ARENA_BYTES + 1], in[512], out[512], first[512];
    for (int i = 0; i < 512; ++i)
        in[i] = (unsigned char)(i * 7 % 60);
    const void *ins[] = {in};
    void *outs[] = {out};
    if (net_run(ins, outs, NULL, arena))
        return 9;
    memcpy(first, out, 64);
    memmove(in + 1, in, 400);
    ins[0] = in + 1;
    int code = net_run(ins, outs, NULL, arena);
    if (code)
        return 1;
    memset(out, 0, 512);
    outs[0] = out + 1;
    if (net_run(ins, outs, NULL, arena))
        return 2;
    return memcmp(first, out + 1, 64) ? 8 : 0;
}
"""
SANITIZED = ["gcc", "-std=c11", "-O1", "-g", "-march=native", "-fno-strict-aliasing",
             "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def bytes_alone() -> ir.Model:
    net = QdqNet(3)
    x = net.input((1, 64))
    weights, scale = net.weight((64, 64), 1)
    net.quantized(net.g.op("Add", net.g.op("MatMul", x, weights), net.bias(64, scale * 0.05)),
                  0.9, 4)
    return net.finish()


@pytest.mark.gcc
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize(("network", "code"), [("float in", 1), ("float out", 2), ("bytes", 0)])
@pytest.mark.parametrize("isas", ["scalar", "native"])
def test_an_odd_address_is_refused_where_elements_are_wider_than_a_byte(
        tmp_path, network, code, isas):
    """No undefined behaviour either way: bytes may lie anywhere, whatever kernel reads them."""
    from ganglion import cpu
    model = {"float in": NETWORKS["dense"], "float out": codes_and_their_sum,
             "bytes": bytes_alone}[network]()
    files = written(tmp_path, model, cpu.isas() if isas == "native" else ("scalar",))
    told = "at a multiple of 4 bytes" in files["net.h"]
    assert told == (code > 0)
    (tmp_path / "main.c").write_text(MAIN)
    subprocess.run([*SANITIZED, "main.c", "net.c", "-o", "program"], cwd=tmp_path, check=True)
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    assert not run.stderr


@pytest.mark.parametrize("binding", ["cython", "ctypes"])
def test_a_session_copies_arrays_that_are_not_aligned(tmp_path, binding):
    from ganglion.runtime.binding import EXTENSION
    if binding == "cython" and not EXTENSION:
        pytest.skip("the extension is not built")
    files = gg.compile(NETWORKS["dense"](), check=False).files
    session = gg.Session.from_files(files, binding=binding)
    x = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    assert not odd.flags.aligned
    np.testing.assert_array_equal(session.run(odd), session.run(x))
    rows = np.zeros(x.nbytes * 3 + 1, np.uint8)[1:].view(np.float32).reshape(3, 8)
    rows[...] = x
    np.testing.assert_array_equal(session.run(rows), np.repeat(session.run(x), 3, 0))
    with pytest.raises(DataError):
        session.run_into(odd, np.empty((1, 1), np.float32))
