"""The table of targets: what a build is for, and how a compiler is told.

A row says which instruction sets the kernels may use, how zig names the machine, what kind of file
comes out, and how much memory there is. Adding a target is adding a row.
"""

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ganglion import cpu
from ganglion.errors import TargetError

MOST_CORES = 16
"""One inference of a network of the kind that this is for keeps no more busy."""

KIB = 1024
MIB = 1024 * 1024

AVX512_FLAGS = ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
ISA_FLAGS: Mapping[str, tuple[str, ...]] = {
    "vnni": (*AVX512_FLAGS, "-mavx512vnni"),
    "avx512": AVX512_FLAGS,
    "avxvnni": ("-mavx2", "-mfma", "-mavxvnni"),
    "avx2": ("-mavx2", "-mfma"),
    "dotprod": (),
    "dsp": (),
    "mve": (),
    "neon": (),
    "simd128": ("-msimd128", "-mbulk-memory"),
    "scalar": (),
}
"""What gcc and clang are told for each instruction set of `kernels.isa`; NEON is in every
aarch64."""

ARCHITECTURES: Mapping[str, str] = {"dotprod": "armv8.2-a+dotprod"}
"""What compilers other than zig are told with -march, unless their command names a processor; zig
is told by `Target.cpu`."""


@dataclass(frozen=True)
class Kind:
    """The file that a compiler makes: its suffix, and the flags that make it."""

    name: str
    suffix: str
    flags: tuple[str, ...]


NO_UNWIND = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables")
"""Tables for C++ exceptions, which nothing throws; Windows alone insists on them."""

# No C library is linked into an ELF library: `memcpy` and `memset` are found in the process that
# loads it, so one file serves glibc and musl systems.
ELF = Kind("shared", ".so", (*NO_UNWIND, "-shared", "-fPIC", "-nostdlib", "-Wl,--build-id=none",
                             "-Wl,-s"))
MACHO = Kind("shared", ".dylib", ("-shared", "-fPIC"))
PE = Kind("shared", ".dll", ("-shared", "-Wl,-s"))
WASM = Kind("wasm", ".wasm", (*NO_UNWIND, "-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,-s"))
OBJECT = Kind("object", ".o", (*NO_UNWIND, "-c", "-ffunction-sections", "-fdata-sections"))
SOURCES = Kind("sources", "", ())


@dataclass(frozen=True)
class Target:
    """One row. `isas`: best first, names of `kernels.isa`.

    `triple`, `cpu`: zig's names of the machine, None where zig is not told; `zig`: flags for it
    alone. `flags`: for every compiler. `emulator`: "native" (this machine may run it), "wasmtime",
    a name of `emulators.QEMU` or of `boards.BOARDS`, or None.
    `flash_bytes`, `ram_bytes`: the memory that code and constants, arena and state must fit;
    None where it is plenty. `cores`: how many one inference may use.
    """

    name: str
    triple: str | None
    isas: tuple[str, ...]
    kind: Kind
    description: str
    cpu: str | None = None
    zig: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    emulator: str | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    cores: int = 1

    def with_isas(self, isas: Iterable[str]) -> "Target":
        """This target with fewer instruction sets, in the row's own order.

        "scalar" is kept whatever is asked: it is the meaning of all others. Raises TargetError for
        a set that the target does not have.
        """
        wanted = {isas} if isinstance(isas, str) else set(isas)
        if unknown := wanted - set(self.isas):
            raise TargetError(f"target {self.name!r} has no instruction set "
                              f"{', '.join(sorted(unknown))}; it has {', '.join(self.isas)}")
        return replace(self, isas=tuple(i for i in self.isas if i in wanted or i == "scalar"))

    @property
    def machine_flags(self) -> tuple[str, ...]:
        """The flags of all its instruction sets, each once."""
        return tuple(dict.fromkeys(flag for isa in self.isas for flag in ISA_FLAGS[isa]))

    @property
    def architecture_flags(self) -> tuple[str, ...]:
        """The -march of its instruction sets, for a compiler that is not told the processor."""
        return tuple(f"-march={ARCHITECTURES[i]}" for i in self.isas if i in ARCHITECTURES)

    @property
    def zig_flags(self) -> tuple[str, ...]:
        """How zig is told the machine; another compiler's command says that itself."""
        triple = () if self.triple is None else ("-target", self.triple)
        return triple if self.cpu is None else (*triple, f"-mcpu={self.cpu}", *self.zig)


BY_HAND = ("-fno-vectorize", "-fno-slp-vectorize")
"""Vectors by intrinsics alone: clang 22 turns (float)x * 2^-8 of four lanes for Helium into a VCVT
of 12 binary places."""
SHORT_ENUMS = ("-fshort-enums",)
"""As the bare-metal Arm ABI has them, and every firmware that such an object is linked to."""

FIXED = (
    Target("x86-64-v3", "x86_64-linux-gnu", ("avx2", "scalar"), ELF,
           "64-bit PC with AVX2 and FMA (most since 2013), Linux", emulator="native",
           cores=4),
    Target("x86-64-v4", "x86_64-linux-gnu", ("avx512", "avx2", "scalar"), ELF,
           "64-bit PC or server with AVX-512 (F, BW, DQ, VL), Linux", emulator="native", cores=4),
    Target("raspberrypi4", "aarch64-linux-gnu", ("neon", "scalar"), ELF,
           "Raspberry Pi 4 and 400: Cortex-A72, 64-bit Linux", cpu="cortex_a72",
           emulator="qemu-aarch64", cores=4),
    Target("raspberrypi5", "aarch64-linux-gnu", ("dotprod", "neon", "scalar"), ELF,
           "Raspberry Pi 5: Cortex-A76 with dot products, 64-bit Linux", cpu="cortex_a76",
           emulator="qemu-aarch64", cores=4),
    Target("riscv64", "riscv64-linux-gnu", ("scalar",), ELF,
           "64-bit RISC-V Linux: RV64GC, single boards such as VisionFive 2",
           cpu="baseline_rv64", emulator="qemu-riscv64", cores=4),
    Target("wasm32", "wasm32-freestanding", ("simd128", "scalar"), WASM,
           "WebAssembly with 128-bit vectors: browsers, Node.js, wasmtime", emulator="wasmtime"),
    Target("cortex-m0plus", "thumb-freestanding-eabi", ("scalar",), OBJECT,
           "Arm Cortex-M0+ microcontroller (RP2040): 2 MiB flash, 264 KiB RAM, object to link",
           cpu="cortex_m0plus", flags=SHORT_ENUMS, emulator="mps2-an385", flash_bytes=2 * MIB,
           ram_bytes=264 * KIB),
    Target("cortex-m3", "thumb-freestanding-eabi", ("scalar",), OBJECT,
           "Arm Cortex-M3 microcontroller: 512 KiB flash, 96 KiB RAM, object to link",
           cpu="cortex_m3", flags=SHORT_ENUMS, emulator="mps2-an385", flash_bytes=512 * KIB,
           ram_bytes=96 * KIB),
    Target("cortex-m4", "thumb-freestanding-eabihf", ("dsp", "scalar"), OBJECT,
           "Arm Cortex-M4F microcontroller: 1 MiB flash, 256 KiB RAM, object to link",
           cpu="cortex_m4+vfp4d16sp", flags=SHORT_ENUMS, emulator="mps2-an386",
           flash_bytes=1 * MIB, ram_bytes=256 * KIB),
    Target("cortex-m7", "thumb-freestanding-eabihf", ("dsp", "scalar"), OBJECT,
           "Arm Cortex-M7F microcontroller: 2 MiB flash, 512 KiB RAM, object to link",
           cpu="cortex_m7+fp_armv8d16sp", flags=SHORT_ENUMS, emulator="mps2-an500",
           flash_bytes=2 * MIB, ram_bytes=512 * KIB),
    Target("cortex-m33", "thumb-freestanding-eabihf", ("dsp", "scalar"), OBJECT,
           "Arm Cortex-M33 microcontroller with FPU and DSP: 1 MiB flash, 256 KiB RAM, object to "
           "link", cpu="cortex_m33+fp_armv8d16sp+dsp", flags=SHORT_ENUMS, emulator="mps3-an547",
           flash_bytes=1 * MIB, ram_bytes=256 * KIB),
    Target("cortex-m55", "thumb-freestanding-eabihf", ("mve", "dsp", "scalar"), OBJECT,
           "Arm Cortex-M55 microcontroller: 4 MiB flash, 1 MiB RAM, object to link",
           cpu="cortex_m55+mve_fp+fp_armv8d16", zig=BY_HAND, flags=SHORT_ENUMS,
           emulator="mps3-an547", flash_bytes=4 * MIB, ram_bytes=1 * MIB),
    Target("generic", None, ("scalar",), SOURCES,
           "any machine with a C11 compiler: C sources only"),
)
"""Every target but `host`, which depends on the machine."""


@cache
def host() -> Target:
    """The machine this runs on, with the instruction sets that it has."""
    machine = cpu.machine()
    systems = {"linux": ("linux-gnu", ELF), "darwin": ("macos", MACHO),
               "win32": ("windows-gnu", PE)}
    system, kind = systems.get(sys.platform, (None, ELF))
    if machine.startswith("armv"):
        machine, system = "arm", "linux-gnueabihf"
    known = system is not None and machine in {"x86_64", "aarch64", "arm", "riscv64"}
    processor = "generic+dotprod" if "dotprod" in cpu.isas() else None
    return Target("host", f"{machine}-{system}" if known else None, cpu.isas(), kind,
                  f"this machine: {machine}, {sys.platform}", cpu=processor,
                  emulator="native", cores=min(os.cpu_count() or 1, MOST_CORES))


def targets() -> dict[str, Target]:
    """All targets by name, `host` first."""
    return {target.name: target for target in (host(), *FIXED)}


def target(name: str) -> Target:
    """The target of this name. Raises TargetError, with the nearest name, for an unknown one."""
    table = targets()
    if name in table:
        return table[name]
    name = str(name)
    near = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TargetError(f"unknown target {name!r}; {hint}known: {', '.join(table)}. For another "
                      f"device take 'generic' (C sources) or --cc with its compiler")
