"""Callbacks under Keras's names. What Keras calls TerminateOnNaN every run does: a loss that is not
finite is an error."""

import csv
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.files import write_atomic
from ganglion.training.loop.run import (
    Callback,
    History,
    Logs,
    Run,
    Saved,
    Stepper,
    monitored,
    sign_of,
)
from ganglion.training.loop.stopping import EarlyStopping, StopAtLoss, Stopping, Watch
from ganglion.training.settings import (
    CALLABLE,
    FLAG,
    FROM_0,
    INSIDE_0_1,
    LETTER,
    MODE,
    NAME,
    NUMBER,
    PATH,
    WHOLE,
    optional,
    require,
)

__all__ = ["CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
           "LearningRateScheduler", "Logs", "ModelCheckpoint", "PrintEpochs", "ReduceLROnPlateau",
           "Run", "Saved", "Stepper", "StopAtLoss", "Stopping", "Watch", "monitored"]


class PrintEpochs(Callback):
    """One line for each epoch on standard output."""

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        figures = "  ".join(f"{name}: {value:.4g}" if name == "learning_rate" else
                            f"{name}: {value:.4f}" for name, value in logs.items())
        sys.stdout.write(f"epoch {epoch + 1}/{run.epochs}  {figures}\n")
        sys.stdout.flush()


class LambdaCallback(Callback):
    """Calls functions given for the events, with the arguments of `Callback`'s methods."""

    def __init__(self, *, on_train_begin: Callable[[Run], object] | None = None,
                 on_epoch_begin: Callable[[int, Run], object] | None = None,
                 on_batch_end: Callable[[int, Logs, Run], object] | None = None,
                 on_epoch_end: Callable[[int, Logs, Run], object] | None = None,
                 on_train_end: Callable[[Run], object] | None = None) -> None:
        given = {"on_train_begin": on_train_begin, "on_epoch_begin": on_epoch_begin,
                 "on_batch_end": on_batch_end, "on_epoch_end": on_epoch_end,
                 "on_train_end": on_train_end}
        require(self, **{name: (call, optional(CALLABLE)) for name, call in given.items()})
        self._train_begin, self._epoch_begin = on_train_begin, on_epoch_begin
        self._batch_end, self._epoch_end, self._train_end = on_batch_end, on_epoch_end, on_train_end

    def on_train_begin(self, run: Run) -> None:
        if self._train_begin is not None:
            self._train_begin(run)

    def on_epoch_begin(self, epoch: int, run: Run) -> None:
        if self._epoch_begin is not None:
            self._epoch_begin(epoch, run)

    def on_batch_end(self, step: int, logs: Logs, run: Run) -> None:
        if self._batch_end is not None:
            self._batch_end(step, logs, run)

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        if self._epoch_end is not None:
            self._epoch_end(epoch, logs, run)

    def on_train_end(self, run: Run) -> None:
        if self._train_end is not None:
            self._train_end(run)


class CSVLogger(Callback):
    """The history as a .csv file, a line for each epoch, written anew after every one: the file is
    whole at any moment, and that of a resumed run holds the epochs before too."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",") -> None:
        require(self, filename=(filename, PATH), separator=(separator, LETTER))
        self._path, self._separator = Path(filename), separator

    def on_train_begin(self, run: Run) -> None:
        _require_folder(self, self._path)

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        text = io.StringIO()
        names = list(run.history.history)
        table = csv.writer(text, delimiter=self._separator, lineterminator="\n")
        table.writerow(["epoch", *names])
        table.writerows(zip(run.history.epoch, *(run.history.history[n] for n in names)))
        write_atomic(self._path, text.getvalue().encode())


class LearningRateScheduler(Callback):
    """Before each epoch the learning rate becomes schedule(epoch, rate)."""

    sets_learning_rate = True

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        require(self, schedule=(schedule, CALLABLE))
        self._schedule = schedule

    def on_epoch_begin(self, epoch: int, run: Run) -> None:
        run.learning_rate = float(self._schedule(epoch, run.learning_rate))


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by `factor`, down to `min_lr`, when `monitor` has not improved
    by more than `min_delta` for `patience` epochs; then `cooldown` epochs do not count."""

    sets_learning_rate = True

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10,
                 mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0,
                 min_lr: float = 0.0) -> None:
        require(self, monitor=(monitor, NAME), factor=(factor, INSIDE_0_1),
                patience=(patience, WHOLE), mode=(mode, MODE), min_delta=(min_delta, NUMBER),
                cooldown=(cooldown, WHOLE), min_lr=(min_lr, FROM_0))
        self._monitor, self._sign, self._min_delta = monitor, sign_of(mode, monitor), min_delta
        self._factor, self._min_lr = factor, min_lr
        self._patience, self._cooldown = patience, cooldown
        self._best: float | None = None
        self._wait = self._cooling = 0

    def watched(self) -> str:
        return self._monitor

    def on_train_begin(self, run: Run) -> None:
        self._best, self._wait, self._cooling = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        current = monitored(self._monitor, logs)
        if self._cooling > 0:
            self._cooling -= 1
            self._wait = 0
        if self._best is None or self._sign * (current - self._best) > self._min_delta:
            self._best, self._wait = current, 0
        elif self._cooling == 0:
            self._wait += 1
            if self._wait >= self._patience and run.learning_rate > self._min_lr:
                run.learning_rate = max(run.learning_rate * self._factor, self._min_lr)
                self._cooling, self._wait = self._cooldown, 0

    def state(self) -> Saved:
        return {"best": self._best, "wait": self._wait, "cooling": self._cooling}

    def restore(self, state: Saved) -> None:
        best = state["best"]
        self._best = None if best is None else float(best)
        self._wait, self._cooling = int(state["wait"] or 0), int(state["cooling"] or 0)


class ModelCheckpoint(Callback):
    """Writes the Model as .onnx after every epoch, or after those that beat all before.

    `filepath` may hold "{epoch}" (from 1) and figures, as "net-{epoch:02d}-{val_loss:.3f}.onnx".
    To continue a killed run, give `fit` a `checkpoint` instead: a Model has no optimiser's state.
    """

    def __init__(self, filepath: str | os.PathLike[str], monitor: str = "val_loss",
                 save_best_only: bool = False, mode: str = "auto") -> None:
        require(self, filepath=(filepath, PATH), monitor=(monitor, NAME),
                save_best_only=(save_best_only, FLAG), mode=(mode, MODE))
        self._pattern, self._only_best = os.fspath(filepath), save_best_only
        if not self._pattern.endswith(".onnx"):
            raise DataError(f"ModelCheckpoint({self._pattern!r}): Models are written as .onnx")
        self._monitor, self._sign = monitor, sign_of(mode, monitor)
        self._best: float | None = None

    def watched(self) -> str | None:
        return self._monitor if self._only_best else None

    def on_train_begin(self, run: Run) -> None:
        self._best = None
        if "{" not in str(Path(self._pattern).parent):
            _require_folder(self, Path(self._pattern))

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        if self._only_best:
            current = monitored(self._monitor, logs)
            if self._best is not None and self._sign * (current - self._best) <= 0:
                return
            self._best = current
        try:
            path = Path(self._pattern.format(epoch=epoch + 1, **logs))
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(f"ModelCheckpoint({self._pattern!r}): cannot be filled in ({error!r}); "
                            f"a run gives epoch and {sorted(logs)}") from error
        write_atomic(path, ir.to_proto(run.trained()).SerializeToString())

    def state(self) -> Saved:
        return {"best": self._best}

    def restore(self, state: Saved) -> None:
        best = state["best"]
        self._best = None if best is None else float(best)


def _require_folder(callback: Callback, path: Path) -> None:
    """DataError, before the first step, where a file could not be written."""
    if not path.parent.is_dir():
        raise DataError(f"{type(callback).__name__}({str(path)!r}): there is no folder "
                        f"{path.parent}; make it first")
