"""Ganglion: neural networks as plain C that runs and learns on any device.

The names below are looked up when they are first used, so that a device which only runs networks
never loads what builds them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganglion.runtime import Session as Session

__version__ = "0.1.0"

PUBLIC = {
    "ganglion.layers": ("Sequential", "Input", "Functional"),
    "ganglion.frontends": ("load", "save"),
    "ganglion.frontends.keras": ("from_keras",),
    "ganglion.training": ("fit", "evaluate", "EarlyStopping", "optimizers", "losses"),
    "ganglion.compression": ("quantize", "prune", "prune_channels"),
    "ganglion.build": ("compile", "Artifact"),
    "ganglion.runtime": ("Session",),
    "onnx_ir": ("Model",),
}
"""Where each public name lives; a name may be a module of its own."""

HOMES = {name: module for module, names in PUBLIC.items() for name in names}

__all__ = ["Session", "__version__"]


def __getattr__(name: str) -> object:
    """Import a public name's home and hand the name out."""
    if name not in HOMES:
        raise AttributeError(f"module 'ganglion' has no attribute {name!r}")
    home = import_module(HOMES[name])
    if hasattr(home, name):
        return getattr(home, name)
    return import_module(f"{HOMES[name]}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
