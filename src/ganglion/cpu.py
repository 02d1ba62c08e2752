"""What this machine's processor is called, and which instruction sets it runs, by the names of
`kernels.isa`.

The sets are read where code is built (`toolchain`) and again where it is loaded (`runtime`): a
library that needs more than the machine has would kill the process instead of raising an error.
"""

import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

X86_NEEDS: Mapping[str, frozenset[str]] = {
    "vnni": frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl",
                       "avx512_vnni"}),
    "avx512": frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    "avxvnni": frozenset({"avx2", "fma", "avx_vnni"}),
    "avx2": frozenset({"avx2", "fma"}),
}
"""CPU features, as /proc/cpuinfo spells them, behind each x86-64 instruction set, best first."""

ARM_NEEDS: Mapping[str, frozenset[str]] = {
    "dotprod": frozenset({"asimddp"}),
    "neon": frozenset(),
}
"""The same for AArch64."""

MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
"""Names that systems give to a processor, and the one used here."""


def machine() -> str:
    """The processor's architecture: "x86_64", "aarch64", "armv7l", "riscv64", ..."""
    name = platform.machine().lower()
    return MACHINES.get(name, name)


@cache
def name() -> str:
    """The processor's name, with the numbers that tell it from others of that name."""
    fields: dict[str, str] = {}
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:
            lines = []
        for line in lines:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    words = [fields.get("model name") or platform.processor() or machine()]
    numbers = ("cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU revision")
    words += [f"{key.removeprefix('CPU ').removeprefix('cpu ')} {fields[key]}"
              for key in numbers if key in fields]
    return ", ".join(words)


def usable() -> int:
    """CPUs that this process may use, which a container or taskset may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def isas() -> tuple[str, ...]:
    """Instruction sets of this machine, best first; "scalar" is always the last."""
    needed = {"aarch64": ARM_NEEDS, "x86_64": X86_NEEDS}.get(machine(), {})
    linux = sys.platform == "linux"
    features = linux_features(Path("/proc/cpuinfo")) if linux else numpy_features()
    return (*(isa for isa, needs in needed.items() if needs <= features), "scalar")


def linux_features(cpuinfo: Path) -> frozenset[str]:
    """The words behind the first `flags` line of /proc/cpuinfo ("Features" on Arm); none where it
    can't be read."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.partition(":")[2].split())


def numpy_features() -> frozenset[str]:
    """The same words from the table that NumPy fills with cpuid, on systems without /proc."""
    core = import_module("numpy._core._multiarray_umath")
    table: dict[str, bool] = getattr(core, "__cpu_features__", {})
    spelled = {"fma3": "fma", "avx512vnni": "avx512_vnni"}
    names = (name.lower() for name, present in table.items() if present)
    return frozenset(spelled.get(name, name) for name in names)
