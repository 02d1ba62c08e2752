"""Progress bars on standard error, fed by training's callbacks."""

from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.progress import Progress, TaskID

from ganglion.cli.show import plain, progress
from ganglion.federated.server import Round
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

    def rounds(self, description: str, count: int) -> "RoundBar":
        """A bar over the rounds of learning together."""
        return RoundBar(self._progress, self._progress.add_task(description, total=count, note=""))

    def stages(self, description: str, names: Sequence[str]) -> "StageBar":
        """A bar over named stages; the caller says when one is done."""
        task = self._progress.add_task(description, total=len(names), note=names[0])
        return StageBar(self._progress, task, names)


class RoundBar:
    """Moves by one a round and shows the latest figures."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._progress, self._task = shown, task

    def done(self, done: Round, figures: Mapping[str, float]) -> None:
        """A round is closed."""
        note = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._progress.update(self._task, completed=done.number + 1, note=plain(note))


class EpochBar(Callback):
    """Moves by one an epoch and shows the latest figures, those on held-out data if there are."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._progress, self._task = shown, task

    def on_epoch_end(self, epoch: int, logs: Logs, run: Run) -> None:
        shown = {k: v for k, v in logs.items() if k.startswith("val_")} or logs
        note = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        self._progress.update(self._task, advance=1, note=plain(note))


class StageBar:
    """Moves by one a stage and names the one at work."""

    def __init__(self, shown: Progress, task: TaskID, names: Sequence[str]) -> None:
        self._progress, self._task, self._left = shown, task, iter(names[1:])

    def next(self) -> None:
        """The stage at work is done."""
        self._progress.update(self._task, advance=1, note=next(self._left, "done"))
