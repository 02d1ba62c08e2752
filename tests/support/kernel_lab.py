"""Compiles any number of kernels into one library and calls them on arrays."""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganglion.kernels.base import CTYPES, Family, Variant, render
from ganglion.kernels.source import prelude

FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off",
         "-fno-strict-aliasing"]
MACHINE = {"scalar": [], "avx2": ["-mavx2", "-mfma"],
           "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
           "vnni": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",
                    "-mavx512vnni"]}
ZIG = [sys.executable, "-m", "ziglang", "cc"]
GCC = ["gcc"]


def cpu_runs(isa: str) -> bool:
    """Whether this machine runs an instruction set of `kernels.isa`."""
    flags = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    need = {"scalar": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512bw", "avx512vl"],
            "vnni": ["avx512_vnni"]}.get(isa)
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
    parts = [prelude([c.variant.isa for c in cases])]
    for k, case in enumerate(cases):
        parts.append(render(case.family, case.variant, case.spec, f"kernel_{k}"))
        operands = case.family.operands(case.spec)
        args = [f"({CTYPES[o.dtype]} *)p[{i}]" for i, o in enumerate(operands)]
        if case.variant.scratch_bytes(case.spec):
            args.append(f"p[{len(operands)}]")
        parts.append(f"void call_{k}(void **p);\n"
                     f"void call_{k}(void **p) {{ kernel_{k}({', '.join(args)}); }}\n")
    return "\n".join(parts)


def run(cases: Sequence[Case], compiler: Sequence[str] = tuple(ZIG),
        extra_flags: Sequence[str] = ()) -> list[dict[str, np.ndarray]]:
    """The outputs of every case, by operand name. Every array is surrounded by guard bytes: a
    kernel that writes outside its operands fails here."""
    folder = Path(tempfile.mkdtemp(prefix="kernel-lab-"))
    try:
        (folder / "k.c").write_text(source(cases))
        machine = sorted({f for c in cases for f in MACHINE[c.variant.isa.name]})
        command = [*compiler, *FLAGS, *machine, *extra_flags, "-shared", "-fPIC",
                   str(folder / "k.c"), "-o", str(folder / "k.so")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
        library = ctypes.CDLL(str(folder / "k.so"))
        return [_call(getattr(library, f"call_{k}"), case) for k, case in enumerate(cases)]
    finally:
        shutil.rmtree(folder)


GUARD = 256


def _guarded(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raw = np.full(data.nbytes + 2 * GUARD + 64, 0xA5, np.uint8)
    start = GUARD + (-(raw.ctypes.data + GUARD)) % 64
    view = raw[start:start + data.nbytes].view(data.dtype).reshape(data.shape)
    view[...] = data
    return raw, view


def _call(function: Any, case: Case) -> dict[str, np.ndarray]:
    operands = case.family.operands(case.spec)
    arrays = {k: np.ascontiguousarray(v) for k, v in case.arrays.items()}
    if case.variant.pack is not None:
        consts = {o.name: arrays[o.name] for o in operands if o.role == "const"}
        arrays |= case.variant.pack(case.spec, consts)
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
