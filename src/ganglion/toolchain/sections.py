"""What of a compiled file lies in a device's memory: its sections, read from the ELF tables.

System V ABI, "Object Files" (chapters 4 and 5 of the gABI, edition 4.1): little-endian, 32 or 64
bits, relocatable or linked.
"""

import struct
from dataclasses import dataclass

ALLOC, WRITE, EXECUTE = 2, 1, 4
"""Flags of a section: it lies in memory; the program writes to it; it holds instructions."""

NO_BITS = 8
"""Type of a section that takes no room in the file: zeros at the start (.bss)."""


@dataclass(frozen=True)
class Sections:
    """Bytes of instructions, of constants, and of variables (those with a first value, and all)."""

    code: int
    constants: int
    initialized: int
    variables: int

    @property
    def flash_bytes(self) -> int:
        """Code, constants, and the first values of variables."""
        return self.code + self.constants + self.initialized


def sections(data: bytes) -> Sections | None:
    """The sizes in an ELF file; None for any other file and for one that is cut off."""
    if data[:4] != b"\x7fELF" or len(data) < 64 or data[5] != 1:
        return None
    wide = data[4] == 2
    at, = struct.unpack_from("<Q" if wide else "<I", data, 40 if wide else 32)
    size, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    if at + size * count > len(data) or size < (64 if wide else 40):
        return None
    code = constants = initialized = variables = 0
    for k in range(count):
        kind, flags, nbytes = _header(data, at + k * size, wide)
        if not flags & ALLOC:
            continue
        if flags & EXECUTE:
            code += nbytes
        elif flags & WRITE:
            variables += nbytes
            initialized += 0 if kind == NO_BITS else nbytes
        else:
            constants += nbytes
    return Sections(code, constants, initialized, variables)


def _header(data: bytes, at: int, wide: bool) -> tuple[int, int, int]:
    """Type, flags and size of a section."""
    if wide:
        kind, flags = struct.unpack_from("<IQ", data, at + 4)
        nbytes, = struct.unpack_from("<Q", data, at + 32)
    else:
        kind, flags = struct.unpack_from("<II", data, at + 4)
        nbytes, = struct.unpack_from("<I", data, at + 20)
    return int(kind), int(flags), int(nbytes)
