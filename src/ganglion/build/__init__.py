"""Model → Artifact: plan, emit, compile, check against the reference."""

from ganglion.build.artifact import Artifact
from ganglion.build.compile import compile
from ganglion.toolchain.targets import Target

__all__ = ["Artifact", "Target", "compile"]
