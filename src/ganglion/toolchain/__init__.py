"""Targets, compilers and emulators."""

from ganglion.toolchain.compilers import Compiled, compile_sources
from ganglion.toolchain.targets import Target, host, target, targets

__all__ = ["Compiled", "Target", "compile_sources", "host", "target", "targets"]
