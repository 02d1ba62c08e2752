"""Compiles any number of kernels into one library and calls them on arrays."""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganglion.kernels.base import CTYPES, Family, Operand, Variant, render
from ganglion.kernels.source import prelude
from ganglion.toolchain.compilers import linking

FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off",
         "-fno-strict-aliasing"]
MACHINE = {"scalar": [], "dsp": [], "mve": [], "avx2": ["-mavx2", "-mfma"],
           "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
           "vnni": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",
                    "-mavx512vnni"],
           "avxvnni": ["-mavx2", "-mfma", "-mavxvnni"]}
ZIG = [sys.executable, "-m", "ziglang", "cc"]
GCC = ["gcc"]


def cpu_runs(isa: str) -> bool:
    """Whether this machine runs an instruction set of `kernels.isa`."""
    flags = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    need = {"scalar": [], "dsp": [], "mve": [], "avx2": ["avx2", "fma"],
            "avx512": ["avx512f", "avx512bw", "avx512vl"],
            "vnni": ["avx512_vnni"], "avxvnni": ["avx_vnni"]}.get(isa)
    return need is not None and all(f in flags for f in need)


@dataclass(frozen=True)
class Case:
    """One kernel to try: `arrays` holds inputs and constants, unpacked, by operand name."""

    family: Family[Any]
    variant: Variant[Any]
    spec: Any
    arrays: Mapping[str, np.ndarray]


def source(cases: Sequence[Case]) -> str:
    """A C file with every kernel and a `void call_K(void **)` for each."""
    parts = []
    for k, case in enumerate(cases):
        parts.append(render(case.family, case.variant, case.spec, f"kernel_{k}"))
        operands = case.family.operands(case.spec)
        args = [f"({CTYPES[o.dtype]} *)p[{i}]" for i, o in enumerate(operands)]
        if case.variant.scratch_bytes(case.spec):
            args.append(f"p[{len(operands)}]")
        parts.append(f"void call_{k}(void **p);\n"
                     f"void call_{k}(void **p) {{ kernel_{k}({', '.join(args)}); }}\n")
    kernels = "\n".join(parts)
    return prelude([c.variant.isa for c in cases], kernels) + kernels


def run(cases: Sequence[Case], compiler: Sequence[str] = tuple(ZIG),
        extra_flags: Sequence[str] = ()) -> list[dict[str, np.ndarray]]:
    """The outputs of every case, by operand name. Every array is surrounded by guard bytes: a
    kernel that writes outside its operands fails here."""
    folder = Path(tempfile.mkdtemp(prefix="kernel-lab-"))
    try:
        (folder / "k.c").write_text(source(cases))
        machine = sorted({f for c in cases for f in MACHINE[c.variant.isa.name]})
        _compile([*compiler, *FLAGS, *machine, *extra_flags, "-shared", "-fPIC", "-nostdlib",
                  str(folder / "k.c"), "-o", str(folder / "k.so")])
        library = ctypes.CDLL(str(folder / "k.so"))
        return [_call(getattr(library, f"call_{k}"), case) for k, case in enumerate(cases)]
    finally:
        shutil.rmtree(folder)


MAIN = r"""
#include <stdio.h>
#include <stdlib.h>
/* argv: file of operands, file for outputs. A record: operand count, then each one's size and
 * bytes; size < 0: an output of -size - 1 bytes. Buffers have the operand's exact size. */
int main(int argc, char **argv)
{
    FILE *in = argc > 2 ? fopen(argv[1], "rb") : NULL, *out = in ? fopen(argv[2], "wb") : NULL;
    int64_t count, sizes[64];
    if (!out)
        return 1;
    for (int k = 0; fread(&count, 8, 1, in) == 1; ++k) {
        void *p[64];
        for (int i = 0; i < count; ++i) {
            if (fread(&sizes[i], 8, 1, in) != 1)
                return 2;
            size_t size = (size_t)(sizes[i] < 0 ? -sizes[i] - 1 : sizes[i]);
            p[i] = malloc(size ? size : 1);
            if (!p[i] || (sizes[i] > 0 && fread(p[i], 1, size, in) != size))
                return 3;
            if (sizes[i] < 0)
                memset(p[i], 0xA5, size);
        }
        calls[k](p);
        for (int i = 0; i < count; ++i) {
            if (sizes[i] < 0)
                fwrite(p[i], 1, (size_t)(-sizes[i] - 1), out);
            free(p[i]);
        }
    }
    return fclose(out) ? 4 : 0;
}
"""


def run_program(cases: Sequence[Case], command: Sequence[str],
                start: Callable[[Path, Path, Path], Sequence[str]],
                extra_flags: Sequence[str] = ()) -> list[dict[str, np.ndarray]]:
    """Like `run`, but in a program of its own: for sanitizers and for other processors.

    `command`: compiler and flags; `start(program, operands, outputs)`: how to run what it made.
    """
    folder = Path(tempfile.mkdtemp(prefix="kernel-lab-"))
    try:
        calls = ", ".join(f"call_{k}" for k in range(len(cases)))
        text = f"{source(cases)}\nstatic void (*const calls[])(void **) = {{{calls}}};\n{MAIN}"
        (folder / "k.c").write_text(text)
        _compile([*command, *FLAGS, *extra_flags, "-c", str(folder / "k.c"),
                  "-o", str(folder / "k.o")])
        static = ["-static"] if any("-linux-musl" in word for word in command) else []
        _compile([*linking(command), *static, str(folder / "k.o"), "-o", str(folder / "k")])
        layouts = [_record(case) for case in cases]
        (folder / "in").write_bytes(b"".join(record for record, _ in layouts))
        ran = subprocess.run(start(folder / "k", folder / "in", folder / "out"),
                             capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"exit {ran.returncode}\n{ran.stderr}"
        raw, at, found = (folder / "out").read_bytes(), 0, []
        for _, outputs in layouts:
            arrays = {}
            for o in outputs:
                arrays[o.name] = np.frombuffer(raw, o.dtype, o.size, at)
                at += o.nbytes
            found.append(arrays)
        return found
    finally:
        shutil.rmtree(folder)


def _compile(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def _record(case: Case) -> tuple[bytes, list[Operand]]:
    arrays = _packed(case)
    operands = case.family.operands(case.spec)
    parts, outputs = [], []
    for o in operands:
        if o.role == "output":
            parts.append(np.int64(-o.nbytes - 1).tobytes())
            outputs.append(o)
        else:
            parts += [np.int64(arrays[o.name].nbytes).tobytes(), arrays[o.name].tobytes()]
    if scratch := case.variant.scratch_bytes(case.spec):
        parts += [np.int64(scratch).tobytes(), b"\xA5" * scratch]
    count = len(operands) + bool(scratch)
    return np.int64(count).tobytes() + b"".join(parts), outputs


def _packed(case: Case) -> dict[str, np.ndarray]:
    """Inputs, and constants as the variant wants them."""
    arrays = {k: np.ascontiguousarray(v) for k, v in case.arrays.items()}
    if case.variant.pack is not None:
        consts = {o.name: arrays[o.name] for o in case.family.operands(case.spec)
                  if o.role == "const"}
        arrays |= case.variant.pack(case.spec, consts)
    return arrays


GUARD = 256


def _guarded(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raw = np.full(data.nbytes + 2 * GUARD + 64, 0xA5, np.uint8)
    start = GUARD + (-(raw.ctypes.data + GUARD)) % 64
    view = raw[start:start + data.nbytes].view(data.dtype).reshape(data.shape)
    view[...] = data
    return raw, view


def _call(function: Any, case: Case) -> dict[str, np.ndarray]:
    operands = case.family.operands(case.spec)
    arrays = _packed(case)
    raws, views = {}, {}
    for o in operands:
        if o.role == "output":
            data = np.zeros(o.size, o.dtype)
            data.view(np.uint8)[...] = 0xA5
        else:
            data = arrays[o.name]
            assert str(data.dtype) == o.dtype, f"{o.name}: {data.dtype} is not {o.dtype}"
        raws[o.name], views[o.name] = _guarded(data)
    before = {n: views[n].copy() for o in operands if (n := o.name) and o.role != "output"}
    pointers = [views[o.name].ctypes.data for o in operands]
    scratch_bytes = case.variant.scratch_bytes(case.spec)
    scratch_raw, scratch = _guarded(np.zeros(scratch_bytes, np.uint8))
    pointers.append(scratch.ctypes.data)
    function((ctypes.c_void_p * len(pointers))(*pointers))
    raws["scratch"], views["scratch"] = scratch_raw, scratch
    for name, raw in raws.items():
        start = views[name].ctypes.data - raw.ctypes.data
        end = start + views[name].nbytes
        assert (raw[:start] == 0xA5).all(), f"{case.variant.name} wrote before {name}"
        assert (raw[end:] == 0xA5).all(), f"{case.variant.name} wrote behind {name}"
    for name, old in before.items():
        assert np.array_equal(views[name].view(np.uint8), old.view(np.uint8)), \
            f"{case.variant.name} changed its input {name}"
    return {o.name: views[o.name].copy() for o in operands if o.role == "output"}
