"""What the words of `ganglion train` mean: optimiser, schedule, weights of classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ganglion.cli.data import Arrays
from ganglion.errors import DataError
from ganglion.training.callbacks import Callback, ReduceLROnPlateau
from ganglion.training.optimizers import Optimizer, named, schedules

SCHEDULES = ("constant", "cosine", "linear", "exponential", "plateau")
LEAST = 0.01
"""The part of the learning rate that an exponential schedule ends with."""


@dataclass(frozen=True)
class Learning:
    """The optimiser as the user describes it; None leaves a setting as Keras has it."""

    optimizer: str = "adam"
    learning_rate: float | None = None
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float | None = None
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    accumulate: int = 1

    def made(self, epochs: int, steps: int) -> Optimizer:
        """The optimiser for a run of `epochs` with `steps` each. Raises DataError."""
        start = named(self.optimizer)()
        peak = start.rate_at(0) if self.learning_rate is None else self.learning_rate
        decay = start.weight_decay if self.weight_decay is None else self.weight_decay
        return replace(
            start, learning_rate=self._schedule(peak, epochs, steps), weight_decay=decay,
            clipvalue=self.clipvalue, clipnorm=self.clipnorm, global_clipnorm=self.global_clipnorm,
            gradient_accumulation_steps=self.accumulate if self.accumulate > 1 else None)

    def callbacks(self, validated: bool) -> list[Callback]:
        """What adjusts the rate while the run goes on."""
        if self.schedule != "plateau":
            return []
        return [ReduceLROnPlateau("val_loss" if validated else "loss", factor=0.5, patience=5)]

    def _schedule(self, rate: float, epochs: int,
                  steps: int) -> float | schedules.LearningRateSchedule:
        if self.schedule not in SCHEDULES:
            raise DataError(f"--schedule {self.schedule}: expected one of {', '.join(SCHEDULES)}")
        if self.warmup and (self.schedule != "cosine" or self.warmup >= epochs):
            raise DataError(f"--warmup {self.warmup}: expected --schedule cosine, and fewer epochs "
                            f"than --epochs {epochs}")
        whole = epochs * steps
        if self.schedule == "cosine" and self.warmup:
            first = self.warmup * steps
            return schedules.CosineDecay(0.0, whole - first, warmup_target=rate,
                                         warmup_steps=first)
        if self.schedule == "cosine":
            return schedules.CosineDecay(rate, whole)
        if self.schedule == "linear":
            return schedules.PolynomialDecay(rate, whole, end_learning_rate=0.0)
        if self.schedule == "exponential":
            return schedules.ExponentialDecay(rate, whole, LEAST)
        return rate


def class_weights(text: str | None, y: Arrays) -> Mapping[int, float] | None:
    """"0=1,1=2.5" as a table; "balanced" gives every class of `y` the same weight in all."""
    if text is None:
        return None
    if text == "balanced":
        return _balanced(y)
    found: dict[int, float] = {}
    for part in text.split(","):
        number, _, weight = part.partition("=")
        try:
            found[int(number)] = float(weight)
        except ValueError as error:
            raise DataError(f"--class-weight {text}: {part!r} is not CLASS=WEIGHT; expected such as"
                            " 0=1,1=2.5, or balanced") from error
    return found


def _balanced(y: Arrays) -> Mapping[int, float]:
    """rows / (classes · rows of the class), scikit-learn's "balanced"."""
    if isinstance(y, list):
        raise DataError("--class-weight balanced: the network has several outputs; expected one")
    labels = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else np.rint(y.ravel())
    numbers, counts = np.unique(labels.astype(np.int64), return_counts=True)
    return {int(n): float(len(labels) / (len(numbers) * c)) for n, c in zip(numbers, counts)}
