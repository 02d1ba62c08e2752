"""Model → Artifact: plan, emit, compile, check against the reference."""

from ganglion.build.artifact import Artifact
from ganglion.build.compile import compile

__all__ = ["Artifact", "compile"]
