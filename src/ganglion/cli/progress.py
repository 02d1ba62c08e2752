"""Progress bars on standard error, fed by training's callbacks."""

from types import TracebackType

from rich.progress import Progress, TaskID

from ganglion.cli.show import progress
from ganglion.training.callbacks import Callback, Logs, Run


class Bars:
    """Bars that live as long as the block they are opened in."""

    def __init__(self) -> None:
        self._progress: Progress = progress()

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._progress.stop()

    def epochs(self, description: str, count: int) -> "EpochBar":
        """A bar over the epochs of one training run, to be given to `fit` as a callback."""
        return EpochBar(self._progress, self._progress.add_task(description, total=count, note=""))

    def stages(self, description: str, count: int) -> "StageBar":
        """A bar over stages that the caller counts."""
        return StageBar(self._progress, self._progress.add_task(description, total=count, note=""))


class EpochBar(Callback):
    """Moves by one an epoch and shows the latest figures, those on held-out data if there are."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._progress, self._task = shown, task

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        shown = {k: v for k, v in logs.items() if k.startswith("val_")} or logs
        note = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        self._progress.update(self._task, advance=1, note=note)


class StageBar:
    """Moves by one a stage and names it."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._progress, self._task = shown, task

    def next(self, note: str) -> None:
        """The stage called `note` is done."""
        self._progress.update(self._task, advance=1, note=note)
