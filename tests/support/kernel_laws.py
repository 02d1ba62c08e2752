"""The two laws of a kernel: it equals its reference, and it touches only its operands."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.kernel_lab import FLAGS, GCC, MACHINE, ZIG, Case, cpu_runs, run, source

from ganglion.kernels.base import Family

COMPILERS = [pytest.param(tuple(ZIG), id="zig"),
             pytest.param(tuple(GCC), id="gcc", marks=[
                 pytest.mark.gcc,
                 pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")])]
"""For `pytest.mark.parametrize("compiler", COMPILERS)`."""

HAS_GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def cases_of(family: Family[Any], specs: Sequence[Any],
             draw: Callable[[Any], dict[str, np.ndarray]]) -> list[Case]:
    """Every spec with every variant that accepts it and that this machine runs."""
    return [Case(family, variant, spec, arrays) for spec in specs for arrays in [draw(spec)]
            for variant in family.variants
            if variant.accepts(spec) and cpu_runs(variant.isa.name)]


def name_of(case: Case) -> str:
    return f"{case.variant.name} on {case.spec}"


def assert_law(cases: Sequence[Case], compiler: Sequence[str], rtol: float = 1e-5,
               atol: float = 1e-6) -> None:
    """Each case's outputs equal its family's reference: floats within `rtol`, `atol`, others
    exactly."""
    for case, found in zip(cases, run(cases, compiler)):
        expected = case.family.reference(case.spec, case.arrays)
        for name, value in found.items():
            want = np.asarray(expected[name]).reshape(-1)
            assert want.dtype == value.dtype, f"{name_of(case)}: {name} is {want.dtype}"
            if value.dtype.kind == "f":
                np.testing.assert_allclose(value, want, rtol=rtol, atol=atol,
                                           err_msg=f"{name} of {name_of(case)}")
            else:
                np.testing.assert_array_equal(value, want, err_msg=f"{name} of {name_of(case)}")


MAIN = """\
#include <stdio.h>
#include <stdlib.h>
static void *block(FILE *f, size_t n, int reads)
{
    void *p = 0;
    if (posix_memalign(&p, 64, n ? n : 1))
        exit(3);
    memset(p, 0xA5, n);
    if (reads && fread(p, 1, n, f) != n)
        exit(4);
    return p;
}
"""


def assert_sanitized(cases: Sequence[Case]) -> None:
    """No case trips gcc's address or undefined-behaviour sanitizer, in a program of its own where
    every operand is a heap block of exactly its size."""
    data, calls = b"", []
    for k, case in enumerate(cases):
        arrays = {n: np.ascontiguousarray(a) for n, a in case.arrays.items()}
        operands = case.family.operands(case.spec)
        if case.variant.pack is not None:
            consts = {o.name: arrays[o.name] for o in operands if o.role == "const"}
            arrays |= case.variant.pack(case.spec, consts)
        blocks = []
        for o in operands:
            reads = o.role != "output"
            size = arrays[o.name].nbytes if reads else o.nbytes
            data += arrays[o.name].tobytes() if reads else b""
            blocks.append(f"block(f, {size}, {int(reads)})")
        blocks.append(f"block(f, {case.variant.scratch_bytes(case.spec)}, 0)")
        frees = "".join(f" free(p[{i}]);" for i in range(len(blocks)))
        calls.append(f"    {{ void *p[] = {{{', '.join(blocks)}}}; call_{k}(p);{frees} }}\n")
    with tempfile.TemporaryDirectory(prefix="kernel-sanitizer-") as folder:
        path = Path(folder)
        (path / "data").write_bytes(data)
        (path / "k.c").write_text(
            "#define _POSIX_C_SOURCE 200809L\n" + source(cases) + MAIN
            + "int main(int argc, char **argv)\n{\n    FILE *f = fopen(argv[argc - 1], \"rb\");\n"
            "    if (!f)\n        return 2;\n" + "".join(calls) + "    fclose(f);\n}\n")
        machine = sorted({f for c in cases for f in MACHINE[c.variant.isa.name]})
        subprocess.run([*GCC, *FLAGS, "-O1", "-g", "-fsanitize=address,undefined",
                        "-fno-sanitize-recover=all", *machine, str(path / "k.c"), "-o",
                        str(path / "k")], check=True)
        done = subprocess.run([str(path / "k"), str(path / "data")], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]
