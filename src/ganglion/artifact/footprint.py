"""What a build takes of a device: RAM and flash, in bytes."""

import re
from dataclasses import dataclass

from ganglion.artifact.artifact import Artifact
from ganglion.toolchain.compilers import stack_frames
from ganglion.toolchain.sections import sections
from ganglion.toolchain.targets import Target
from ganglion.toolchain.targets import target as find_target


@dataclass(frozen=True)
class Footprint:
    """`stack_bytes`: of the deepest call as zig compiles it, without what memcpy takes.
    `flash_bytes`: code and constants of the compiled file; None where it is no ELF file."""

    arena_bytes: int
    state_bytes: int
    stack_bytes: int
    flash_bytes: int | None

    @property
    def ram_bytes(self) -> int:
        """Arena, state and stack; inputs and outputs are the caller's."""
        return self.arena_bytes + self.state_bytes + self.stack_bytes


def footprint(artifact: Artifact, target: Target | None = None) -> Footprint:
    """Measures a build. `target`: the row that it was built for, where that is not in the table.

    The stack is that of an exported function, the largest kernel that it may call, and the largest
    function that this may call. Raises ToolchainError when zig cannot compile the sources.
    """
    sources = {name: data.decode() for name, data in artifact.files.items()
               if name.endswith((".c", ".h"))}
    frames = stack_frames(sources, target or find_target(artifact.target))
    levels = [0, 0, 0]
    for name, nbytes in frames.items():
        level = 0 if name.startswith(f"{artifact.name}_") else 1 if re.match(r"k\d+_", name) else 2
        levels[level] = max(levels[level], nbytes)
    found = None if artifact.library is None else sections(artifact.files[artifact.library])
    return Footprint(artifact.arena_bytes, artifact.state_bytes, sum(levels),
                     None if found is None else found.flash_bytes)
