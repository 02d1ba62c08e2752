"""Targets, compilers and emulators."""

from ganglion.toolchain.compilers import Compiled, compile_sources
from ganglion.toolchain.emulators import available, run_emulated
from ganglion.toolchain.targets import Target, host, target, targets

__all__ = ["Compiled", "Target", "available", "compile_sources", "host", "run_emulated", "target",
           "targets"]
