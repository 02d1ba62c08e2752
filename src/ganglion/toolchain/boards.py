"""Microcontroller boards that qemu-system-arm runs: a build becomes firmware with `board.c`, reads
its inputs from a file and writes its answers to another, by semihosting.

Memory maps and counters: Arm's application notes AN385, AN386, AN500, AN505 and AN547; qemu's
documentation of the `mps2` and `mps3` machines. An instruction is given 64 ns (`-icount shift=6`),
so a board's counter counts instructions, exactly and repeatably.
"""

import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources

from ganglion.toolchain.compilers import (
    COMMON_FLAGS,
    STUBS,
    build,
    compiler_command,
    run_process,
    stubs,
    working_folder,
)
from ganglion.toolchain.targets import NO_UNWIND, Target

QEMU = "qemu-system-arm"
STACK_BYTES = 1 << 17


@dataclass(frozen=True)
class Board:
    """`machine`: qemu's name. `vectors`, `code`, `data`: (address, bytes) of memories. `counter`:
    the address of a free-running counter of `hertz`."""

    machine: str
    vectors: tuple[int, int]
    code: tuple[int, int]
    data: tuple[int, int]
    counter: int
    hertz: int

    @property
    def instructions_per_tick(self) -> Fraction:
        return Fraction(10 ** 9, self.hertz * 64)

    def script(self) -> str:
        """The linker's: vectors, code and constants, then the rest of memory as heap and stack."""
        memories = {"VECTORS": self.vectors, "CODE": self.code, "DATA": self.data}
        lines = "\n".join(f"  {name} : ORIGIN = {start:#x}, LENGTH = {size:#x}"
                          for name, (start, size) in memories.items())
        top = sum(self.data)
        return f"""MEMORY {{
{lines}
}}
SECTIONS {{
  .vectors : {{ KEEP(*(.vectors)) }} > VECTORS
  .text : {{ *(.text*) *(.rodata*) }} > CODE
  /DISCARD/ : {{ *(.ARM.exidx*) }}
  .bss (NOLOAD) : {{ bss_start = .; *(.data*) *(.bss*) *(COMMON) bss_end = .; }} > DATA
  heap_start = ALIGN(64);
  heap_end = {top - STACK_BYTES:#x};
  stack_low = {top - STACK_BYTES:#x};
  stack_top = {top:#x};
}}
"""


MIB = 1 << 20
VECTOR_BYTES = 0x400
_MPS2 = ((0, VECTOR_BYTES), (VECTOR_BYTES, 4 * MIB - VECTOR_BYTES), (0x20000000, 4 * MIB))
BOARDS: Mapping[str, Board] = {board.machine: board for board in (
    Board("mps2-an385", *_MPS2, 0x40028018, 25_000_000),
    Board("mps2-an386", *_MPS2, 0x40028018, 25_000_000),
    Board("mps2-an500", *_MPS2, 0x40028018, 25_000_000),
    Board("mps3-an547", (0, VECTOR_BYTES), (0x60000000, 32 * MIB), (0x62000000, 32 * MIB),
          0x59302018, 20_000_000))}


@dataclass(frozen=True)
class Cost:
    """What one call took under the emulator: instructions, and bytes of stack."""

    instructions: int
    stack_bytes: int


def installed() -> bool:
    """Whether qemu's boards can be run here."""
    return shutil.which(QEMU) is not None


def firmware(files: Mapping[str, str], target: Target, name: str, function: str, cc: str | None,
             *, timeout: float) -> bytes:
    """The network and `board.c` as an image for the target's board."""
    board = BOARDS[str(target.emulator)]
    harness = (resources.files("ganglion.toolchain") / "board.c").read_text(encoding="utf-8")
    sources = sorted(file for file in files if file.endswith(".c"))
    symbols = {"RUN": function, "RESET": "reset", "ARENA_BYTES": "arena_bytes",
               "STATE_BYTES": "state_bytes"}
    start = () if cc is None else ("-nostartfiles",)  # zig has none for a bare machine
    command = [*compiler_command(cc, target), *COMMON_FLAGS, *target.machine_flags, *target.flags,
               *NO_UNWIND, "-ffreestanding", *start, "-Wl,-T,link.ld",
               f"-DTICKS={board.counter:#x}u",
               *(f"-D{macro}={name}_{symbol}" for macro, symbol in symbols.items()),
               f'-DHEADER="{name}.h"', "-I.", "-idirafter", STUBS, *sources, "board.c",
               "-o", "image.elf"]
    return build({**files, **stubs(), "board.c": harness, "link.ld": board.script()}, [command],
                 "image.elf", timeout=timeout)


def run(image: bytes, target: Target, sizes: tuple[tuple[int, ...], tuple[int, ...]], count: int,
        rows: bytes, timeout: float) -> tuple[bytes, Cost]:
    """Rows through an image: what it wrote, and what the last call took. `sizes`: bytes of each
    input and of each output. Raises ToolchainError when it fails."""
    board = BOARDS[str(target.emulator)]
    words = [count, len(sizes[0]), *sizes[0], len(sizes[1]), *sizes[1]]
    with working_folder("board") as folder:
        (folder / "image.elf").write_bytes(image)
        (folder / "in.bin").write_bytes(struct.pack(f"<{len(words)}I", *words) + rows)
        command = [QEMU, "-M", board.machine, "-display", "none", "-monitor", "none", "-serial",
                   "none", "-semihosting-config", "enable=on,target=native", "-icount",
                   "shift=6,align=off,sleep=off", "-kernel", "image.elf"]
        run_process(command, cwd=folder, timeout=timeout)
        ticks, stack = struct.unpack("<2I", (folder / "cost.bin").read_bytes())
        taken = Cost(round(ticks * board.instructions_per_tick), stack)
        return (folder / "out.bin").read_bytes(), taken
