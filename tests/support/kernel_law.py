"""The law of every kernel: a variant computes what its family's reference says."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.kernel_lab import GCC, MACHINE, ZIG, Case, cpu_runs, run, run_program

from ganglion.kernels.base import Family

SANITIZED = [*GCC, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
AARCH64 = [*ZIG, "-target", "aarch64-linux-musl", "-mcpu=cortex_a76"]
ARM = [*ZIG, "-target", "thumb-linux-musleabihf", "-mcpu=cortex_a7"]
WASM = [*ZIG, "-target", "wasm32-wasi", "-mcpu=generic+simd128"]

COMPILERS = ["zig", pytest.param("gcc", marks=pytest.mark.gcc)]
"""For `pytest.mark.parametrize("compiler", COMPILERS)`."""
WAYS = [*COMPILERS, pytest.param("sanitizers", marks=pytest.mark.gcc),
        pytest.param("aarch64", marks=pytest.mark.emulator),
        pytest.param("wasm", marks=pytest.mark.emulator)]
"""For `pytest.mark.parametrize("way", WAYS)`: see `tried`."""
CODE_WAYS = [*WAYS, pytest.param("arm", marks=pytest.mark.emulator)]
"""The same for families with kernels of the set `dsp`."""


def random_arrays(family: Family[Any], spec: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Operands by name: normal floats, integers over the whole range, small sums for int32."""
    rng = np.random.default_rng(seed)
    found = {}
    for o in family.operands(spec):
        if o.role == "output":
            continue
        if o.name == "multiplier":
            found[o.name] = rng.uniform(1e-4, 2e-3, o.size).astype(np.float32)
        elif o.dtype.startswith("float"):
            found[o.name] = rng.normal(size=o.size).astype(o.dtype)
        elif o.dtype == "bool":
            found[o.name] = rng.integers(0, 2, o.size).astype(bool)
        elif o.dtype in ("int32", "int64", "uint32"):
            found[o.name] = rng.integers(0, 3000, o.size).astype(o.dtype)
        else:
            info = np.iinfo(o.dtype)
            found[o.name] = rng.integers(info.min, info.max + 1, o.size).astype(o.dtype)
    return found


Arrays = Callable[[Family[Any], Any, int], dict[str, np.ndarray]]


def cases(family: Family[Any], specs: Sequence[Any], isas: Sequence[str],
          arrays: Arrays = random_arrays) -> Iterator[Case]:
    """Variants of these instruction sets with the specs that they accept. Of each set, a spec meets
    the variant of least cost (which a plan would choose) and another one, in turn."""
    for seed, spec in enumerate(specs):
        given = arrays(family, spec, seed)
        for isa in isas:
            able = [v for v in family.variants if v.isa.name == isa and v.accepts(spec)]
            cheapest, *others = sorted(able, key=lambda v: v.cost(spec)) or [None]
            for variant in [cheapest, *others[seed % max(len(others), 1):][:1]]:
                if variant is not None:
                    yield Case(family, variant, spec, given)


def native_isas() -> list[str]:
    """What this machine runs."""
    return [name for name in MACHINE if cpu_runs(name)]


def tried(family: Family[Any], specs: Sequence[Any], way: str, arrays: Arrays = random_arrays,
          ) -> list[tuple[Case, dict[str, np.ndarray]]]:
    """Cases and their outputs. `way`: "zig" or "gcc" (all that this machine runs, called in
    process; "dsp" in its C meaning), "sanitizers" (scalar and dsp, by gcc, a program), "aarch64"
    (NEON under qemu), "arm" (dsp's own instructions under qemu), "wasm" (SIMD128 under
    wasmtime)."""
    if way in ("gcc", "sanitizers") and shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    if way in ("zig", "gcc"):
        chosen = list(cases(family, specs, native_isas(), arrays))
        if way == "gcc":
            return list(zip(chosen, run(chosen, GCC, ["-O1"])))
        return list(zip(chosen, run(chosen, ZIG)))
    if way == "sanitizers":
        isas, command = ["scalar", "dsp", "mve"], SANITIZED
        start = lambda program, *files: [program, *files]  # noqa: E731
    elif way == "aarch64":
        if shutil.which("qemu-aarch64") is None:
            pytest.skip("qemu-aarch64 is not installed")
        isas, command = ["scalar", "neon", "dotprod"], AARCH64
        start = lambda *words: ["qemu-aarch64", "-cpu", "max", *words]  # noqa: E731
    elif way == "arm":
        if shutil.which("qemu-arm") is None:
            pytest.skip("qemu-arm is not installed")
        isas, command = ["scalar", "dsp"], ARM
        start = lambda *words: ["qemu-arm", *words]  # noqa: E731
    else:
        pytest.importorskip("wasmtime")
        isas, command = ["scalar", "simd128"], WASM
        start = wasm_start
    chosen = list(cases(family, specs, isas, arrays))
    return list(zip(chosen, run_program(chosen, command, start, ["-O1"])))


WASM_HOST = """
import sys, wasmtime
store = wasmtime.Store()
linker = wasmtime.Linker(store.engine)
linker.define_wasi()
config = wasmtime.WasiConfig()
config.argv = ("k", "in", "out")
config.preopen_dir(sys.argv[2], ".")
config.inherit_stderr()
store.set_wasi(config)
module = wasmtime.Module.from_file(store.engine, sys.argv[1])
try:
    linker.instantiate(store, module).exports(store)["_start"](store)
except wasmtime.ExitTrap as end:
    sys.exit(end.code)
"""


def wasm_start(program: Path, operands: Path, outputs: Path) -> list[str]:
    """Runs a WASI program in wasmtime with its folder as the current one."""
    return [sys.executable, "-c", WASM_HOST, str(program), str(program.parent)]


def share(specs: Sequence[Any], way: str) -> list[Any]:
    """All specs for zig, and every third for each of the other ways, beginning elsewhere in each:
    compiling takes the time."""
    others = ["gcc", "sanitizers", "aarch64", "arm", "wasm"]
    return list(specs) if way == "zig" else list(specs)[others.index(way) % 3::3]


def assert_law(family: Family[Any], specs: Sequence[Any], way: str,
               tolerance: Callable[[Any], float] = lambda spec: 0.0, arrays: Arrays = random_arrays,
               relative: float = 2e-6) -> None:
    """Outputs equal the reference: codes exactly, floats within `tolerance(spec)` absolute plus
    `relative`."""
    for case, got in tried(family, specs, way, arrays):
        expected = family.reference(case.spec, case.arrays)
        for name, want in expected.items():
            message = f"{case.variant.name} {name} {case.spec}"
            if want.dtype == np.float32 and tolerance(case.spec) > 0:
                np.testing.assert_allclose(got[name], want.reshape(-1), relative,
                                           tolerance(case.spec), err_msg=message)
            else:
                np.testing.assert_array_equal(got[name], want.reshape(-1), err_msg=message)
