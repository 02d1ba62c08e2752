"""What `fit` is told beside the network and its data, as one bundle."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import ParamSpec, TypedDict, TypeVar

from ganglion.data.augment import Augmentation
from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.training import losses, optimizers
from ganglion.training.callbacks import Callback, Stopping
from ganglion.training.metrics import Metric
from ganglion.training.rows.data import Arrays
from ganglion.training.rows.sample_weights import ClassWeight
from ganglion.training.settings import FLAG
from ganglion.training.step.selection import Selection

LossSpec = str | losses.Loss | Sequence[str | losses.Loss] | Mapping[str, str | losses.Loss]
"""What `loss=` takes: one for all outputs, one for each in order, or by the names of outputs. A
loss object of Keras serves as well as one of ours."""
Held = tuple[Arrays, Arrays] | tuple[Arrays, Arrays, Arrays]
"""Rows held out: x, y, and perhaps the weights of the samples."""


P = ParamSpec("P")
R = TypeVar("R")


class SharedOptions(TypedDict, total=False):
    """Options of `fit` that every way to train takes; `Options` has the defaults."""

    optimizer: str | optimizers.Optimizer | None
    epochs: int
    batch_size: int
    validation_data: Held | Samples | None
    validation_split: float
    sample_weight: Arrays | None
    metrics: Sequence[str | Metric] | None
    shuffle: bool
    seed: int
    early_stopping: Stopping | Sequence[Stopping] | None
    restore_best_weights: bool
    callbacks: Sequence[Callback | Stopping]
    checkpoint: str | PathLike[str] | None
    checkpoint_steps: int | None
    trainable: Selection
    verbose: bool


class FitOptions(SharedOptions, total=False):
    """Every option of `fit`."""

    loss: LossSpec | None
    class_weight: ClassWeight | None
    masks: Mapping[str, Array] | None
    steps_per_epoch: int | None
    augment: Augmentation | Sequence[Augmentation] | None


@dataclass(frozen=True)
class Options:
    """`FitOptions` with every default. Raises DataError for numbers out of range and for a file of
    checkpoints that could not be written."""

    loss: LossSpec | None = None
    optimizer: str | optimizers.Optimizer | None = None
    epochs: int = 1
    batch_size: int = 32
    validation_data: Held | Samples | None = None
    validation_split: float = 0.0
    sample_weight: Arrays | None = None
    class_weight: ClassWeight | None = None
    metrics: Sequence[str | Metric] | None = None
    shuffle: bool = True
    seed: int = 0
    early_stopping: Stopping | Sequence[Stopping] | None = None
    restore_best_weights: bool = False
    callbacks: Sequence[Callback | Stopping] = ()
    checkpoint: str | PathLike[str] | None = None
    checkpoint_steps: int | None = None
    masks: Mapping[str, Array] | None = None
    trainable: Selection = None
    steps_per_epoch: int | None = None
    augment: Augmentation | Sequence[Augmentation] | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise DataError(f"{name}={value!r}: expected a whole number from {least} up")
        if not FLAG.fits(self.shuffle):
            raise DataError(f"shuffle={self.shuffle!r}: expected {FLAG.words}")
        steps = self.checkpoint_steps
        if steps is not None and (not isinstance(steps, int) or steps < 1 or
                                  self.checkpoint is None):
            raise DataError(f"checkpoint_steps={steps!r}: expected a whole number from 1 up, and a "
                            "file to write (checkpoint=)")
        if (file := self.file) is not None and (file.is_dir() or not file.parent.is_dir()):
            raise DataError(f"checkpoint {file}: expected a file in a folder that exists; choose "
                            "another path or make the folder first")

    @property
    def file(self) -> Path | None:
        """Where checkpoints go."""
        return None if self.checkpoint is None else Path(self.checkpoint)


def held_rows(given: Held | Samples | None) -> Held | None:
    """What `validation_data` holds, without names of classes."""
    return (given.x, given.y) if isinstance(given, Samples) else given


def shown(bundle: type[SharedOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a function that takes `bundle` as its keywords: its signature names each option with its
    default, and a keyword of another name is a TypeError."""
    kinds = bundle.__annotations__
    rows = [inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default,
                              annotation=kinds[f.name]) for f in fields(Options) if f.name in kinds]

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        bare = inspect.signature(function)
        own = [p for p in bare.parameters.values() if p.kind is not p.VAR_KEYWORD]
        full = bare.replace(parameters=[*own, *rows])

        @wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            if unknown := options.keys() - full.parameters.keys():
                raise TypeError(f"{function.__name__}() has no argument {min(unknown)!r}; it takes "
                                f"{', '.join(full.parameters)}")
            return function(*args, **options)

        checked.__signature__ = full  # type: ignore[attr-defined]
        return checked

    return mark
