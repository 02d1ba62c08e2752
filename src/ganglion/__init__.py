"""Ganglion: neural networks as plain C that runs and learns on any device.

The names below are looked up when they are first used, so that a device which only runs networks
never loads what builds them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx_ir import Model as Model

    from ganglion import compression as compression
    from ganglion import data as data
    from ganglion import errors as errors
    from ganglion import federated as federated
    from ganglion import layers as layers
    from ganglion import runtime as runtime
    from ganglion import training as training
    from ganglion.artifact import Artifact as Artifact
    from ganglion.artifact.compile import compile as compile
    from ganglion.compression import prune_channels as prune_channels
    from ganglion.compression.pruning.prune import prune as prune
    from ganglion.compression.quantization.aware import quantize_aware as quantize_aware
    from ganglion.compression.quantization.quantize import quantize as quantize
    from ganglion.formats import load as load
    from ganglion.formats import save as save
    from ganglion.formats.keras.live import from_keras as from_keras
    from ganglion.formats.tflite.write.network import export as export
    from ganglion.formats.torch.live import from_torch as from_torch
    from ganglion.layers import Functional as Functional
    from ganglion.layers import Input as Input
    from ganglion.layers import Sequential as Sequential
    from ganglion.runtime import Session as Session
    from ganglion.runtime import Trainer as Trainer
    from ganglion.training import EarlyStopping as EarlyStopping
    from ganglion.training import History as History
    from ganglion.training import StopAtLoss as StopAtLoss
    from ganglion.training import callbacks as callbacks
    from ganglion.training import losses as losses
    from ganglion.training import metrics as metrics
    from ganglion.training import optimizers as optimizers
    from ganglion.training import schedules as schedules
    from ganglion.training.device import compile_training as compile_training
    from ganglion.training.distill import distill as distill
    from ganglion.training.evaluate import evaluate as evaluate
    from ganglion.training.fit import fit as fit
    from ganglion.training.step.weights import write_back as write_back

__version__ = "0.1.0"

PUBLIC = {
    "ganglion.layers": ("Sequential", "Input", "Functional"),
    "ganglion.formats": ("load", "save"),
    "ganglion.formats.keras.live": ("from_keras",),
    "ganglion.formats.torch.live": ("from_torch",),
    "ganglion.training": ("fit", "distill", "evaluate", "EarlyStopping", "StopAtLoss", "History"),
    "ganglion.training.device": ("compile_training",),
    "ganglion.training.step.weights": ("write_back",),
    "ganglion.compression": ("quantize", "quantize_aware", "prune", "prune_channels"),
    "ganglion.artifact": ("compile", "Artifact"),
    "ganglion.formats.tflite.write.network": ("export",),
    "ganglion.runtime": ("Session", "Trainer"),
    "onnx_ir": ("Model",),
}
"""Where each public name lives."""

HOMES = {name: module for module, names in PUBLIC.items() for name in names}
MODULES = {
    **{room: f"ganglion.{room}" for room in
       ("compression", "data", "errors", "federated", "layers", "runtime", "training")},
    **{room: f"ganglion.training.{room}" for room in
       ("callbacks", "losses", "metrics", "optimizers", "schedules")}}
"""Public names that are modules themselves."""

__all__ = sorted({*HOMES, *MODULES})


def __getattr__(name: str) -> object:
    """Import a public name's home and hand the name out."""
    if name in MODULES:
        return import_module(MODULES[name])
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'ganglion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES, *MODULES})
