"""Targets, compilers and emulators."""

from ganglion.toolchain.compilers import Compiled, compile_sources
from ganglion.toolchain.emulators import Emulated, available, emulate, run_emulated
from ganglion.toolchain.targets import Target, host, target, targets

__all__ = ["Compiled", "Emulated", "Target", "available", "compile_sources", "emulate", "host",
           "run_emulated", "target", "targets"]
