"""A run of training as its callbacks see it, and what remains of it: the history."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array

Logs = Mapping[str, float]
Saved = Mapping[str, float | int | str | bool | None]
"""What a callback keeps in a checkpoint, as JSON can hold it."""


class Stepper(Protocol):
    """A step that runs: a compiled one, with its state block."""

    def run(self, *inputs: Array) -> Sequence[Array]:
        """One call; the outputs that are not bound, in order."""

    def get(self, name: str) -> Array:
        """A bound tensor by its input's name."""

    def set(self, name: str, array: Array) -> None:
        """Overwrites a bound tensor."""


@dataclass
class History:
    """`history[name][i]` is the value of a figure after epoch `epoch[i]` (Keras's History).

    `stopped`: why the run ended before its last epoch, None if it did not. `trained`: the weights
    that gradients changed; `frozen`: every other float initializer of the network, and why.
    """

    epoch: list[int] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    stopped: str | None = None
    trained: list[str] = field(default_factory=list)
    frozen: dict[str, str] = field(default_factory=dict)

    def add(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))


@dataclass
class Run:
    """A run in progress, as callbacks see it. They may set `learning_rate` (unless the optimizer
    has a schedule) and `stop`, and read or overwrite weights through `stepper`.

    `steps`: batches in an epoch. `trained()`: a copy of the Model with the weights of this moment.
    """

    epochs: int
    steps: int
    learning_rate: float
    stepper: Stepper
    history: History
    trained: Callable[[], ir.Model]
    stop: bool = False


class Callback:
    """Does nothing; override what you need. Epochs and steps count from 0.

    A run that is resumed goes on where its checkpoint stands: `on_train_begin`, then `restore`,
    then what comes next, be it in the middle of an epoch.
    """

    sets_learning_rate: bool = False
    """Whether the history shall show the learning rate, because this changes it."""

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

    def watched(self) -> str | None:
        """The figure that this needs to be among an epoch's logs."""
        return None

    def state(self) -> Saved:
        """What a checkpoint must keep for this callback to go on; nothing by default."""
        return {}

    def restore(self, state: Saved) -> None:
        """Takes up what `state` gave, unless that was nothing, after `on_train_begin` of a resumed
        run."""


def monitored(name: str, logs: Logs) -> float:
    """A figure of an epoch; DataError when the run does not compute it."""
    if name not in logs:
        hint = "; give validation_data or validation_split" if name.startswith("val_") else ""
        raise DataError(f"a stopping rule or callback watches {name!r}, but a run gives "
                        f"{sorted(logs)}{hint}")
    return logs[name]


def sign_of(mode: str, monitor: str) -> int:
    """1 where more of a figure is better, -1 where less is; "auto" decides by the name."""
    if mode == "auto":
        name = monitor.removeprefix("val_")
        return 1 if name.endswith(("accuracy", "acc", "precision", "recall", "f1",
                                   "f1_score")) else -1
    return 1 if mode == "max" else -1
