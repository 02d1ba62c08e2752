"""What a run of training tells and asks: callbacks, early stopping, history."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ganglion.errors import DataError
from ganglion.ops.base import Array

Logs = Mapping[str, float]


class Stepper(Protocol):
    """A step that runs: a compiled one, with its state block."""

    def run(self, *inputs: Array) -> Sequence[Array]:
        """One call; the outputs that are not bound, in order."""

    def get(self, name: str) -> Array:
        """A bound tensor by its input's name."""

    def set(self, name: str, array: Array) -> None:
        """Overwrites a bound tensor."""


@dataclass
class Run:
    """A run in progress, as callbacks see it. They may set `learning_rate` and `stop`, and read or
    overwrite weights through `stepper`. `steps`: batches in an epoch."""

    epochs: int
    steps: int
    learning_rate: float
    stepper: Stepper
    stop: bool = False


class Callback:
    """Does nothing; override what you need. Epochs and steps count from 0."""

    def on_train_begin(self, run: Run) -> None:
        """Before the first step."""

    def on_epoch_begin(self, epoch: int, run: Run) -> None:
        """Before the first step of an epoch."""

    def on_batch_end(self, step: int, logs: Logs, run: Run) -> None:
        """After a step; `logs` holds the loss of this batch."""

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        """After validation; `logs` holds what the history gains."""

    def on_train_end(self, run: Run) -> None:
        """After the last epoch."""


class PrintEpochs(Callback):
    """One line for each epoch on standard output."""

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        figures = "  ".join(f"{name}: {value:.4f}" for name, value in logs.items())
        sys.stdout.write(f"epoch {epoch + 1}/{run.epochs}  {figures}\n")
        sys.stdout.flush()


@dataclass
class History:
    """`history[name][i]` is the value of a figure after epoch `epoch[i]` (Keras's History).

    `stopped`: why the run ended before its last epoch, None if it did not.
    """

    epoch: list[int] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    stopped: str | None = None

    def add(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))


@dataclass(frozen=True)
class EarlyStopping:
    """Stops when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    As Keras's: `mode` "min", "max" or "auto" (by the name); with `baseline` the patience starts
    anew only when that is beaten too; the first `start_from_epoch` epochs do not count;
    `restore_best_weights` ends with the weights of the best epoch.
    """

    monitor: str = "val_loss"
    min_delta: float = 0.0
    patience: int = 0
    mode: str = "auto"
    baseline: float | None = None
    restore_best_weights: bool = False
    start_from_epoch: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "min", "max"):
            raise DataError(f"EarlyStopping(mode={self.mode!r}): expected auto, min or max")
        if self.patience < 0:
            raise DataError(f"EarlyStopping(patience={self.patience}): expected 0 or more epochs")

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        if self.mode == "auto":
            name = self.monitor.removeprefix("val_")
            return 1 if name.endswith(("accuracy", "acc", "precision", "recall", "f1",
                                       "f1_score")) else -1
        return 1 if self.mode == "max" else -1


@dataclass(frozen=True)
class StopAtLoss:
    """Stops after the first epoch whose `monitor` is at or below `value`."""

    value: float
    monitor: str = "loss"


Stopping = EarlyStopping | StopAtLoss


@dataclass
class Watch:
    """An EarlyStopping at work: the best figure so far and for how long it has stood."""

    rule: EarlyStopping
    best: float | None = None
    best_epoch: int = 0
    wait: int = 0
    weights: dict[str, Array] | None = None

    def see(self, epoch: int, logs: Logs, weights: Mapping[str, Array]) -> str | None:
        """Takes in one epoch; a reason when training should stop."""
        rule = self.rule
        current = monitored(rule.monitor, logs)
        if epoch < rule.start_from_epoch:
            return None
        if rule.restore_best_weights and self.weights is None:
            self.weights, self.best_epoch = dict(weights), epoch
        self.wait += 1
        if self._beats(current, self.best):
            self.best, self.best_epoch = current, epoch
            if rule.restore_best_weights:
                self.weights = dict(weights)
            if self._beats(current, rule.baseline):
                self.wait = 0
            return None
        if self.wait >= rule.patience and epoch > 0:
            return (f"{rule.monitor} has not improved on {self.best} for {self.wait} "
                    f"epoch{'s' * (self.wait != 1)}")
        return None

    def _beats(self, current: float, mark: float | None) -> bool:
        return mark is None or self.rule.sign * (current - mark) > self.rule.min_delta


def monitored(name: str, logs: Logs) -> float:
    """A figure of an epoch; DataError when the run does not compute it."""
    if name not in logs:
        hint = "; give validation_data or validation_split" if name.startswith("val_") else ""
        raise DataError(f"early stopping watches {name!r}, but a run gives {sorted(logs)}{hint}")
    return logs[name]
