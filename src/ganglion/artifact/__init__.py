"""Model → Artifact: plan, emit, compile, check against the reference."""

from ganglion.artifact.artifact import Artifact
from ganglion.artifact.compile import compile
from ganglion.toolchain.targets import Target

__all__ = ["Artifact", "Target", "compile"]
