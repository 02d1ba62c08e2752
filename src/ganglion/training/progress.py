"""How far a run is, and the figures of the epoch under way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ganglion.ops.base import Array
from ganglion.training.data import Dataset


@dataclass
class Progress:
    """`step` steps of epoch `epoch` are done, `taken` since the run began.

    `rows`: of the epoch so far; `total`: float64 [losses], the sum over them; `predictions` and
    `targets`: of each output, the parts that its steps gave.
    """

    losses: int
    epoch: int = 0
    step: int = 0
    taken: int = 0
    rows: int = 0
    total: Array = field(default_factory=lambda: np.zeros(0))
    predictions: list[list[Array]] = field(default_factory=list)
    targets: list[list[Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.total.size == 0:
            self.total = np.zeros(self.losses)

    def add(self, batch: Dataset, outputs: Sequence[Array], keep: bool) -> None:
        """One more step: its losses, and its predictions and targets if they are to be kept."""
        self.total += batch.rows * np.array(outputs[:self.losses], np.float64)
        if keep:
            predictions = outputs[self.losses:]
            self.predictions = self.predictions or [[] for _ in predictions]
            self.targets = self.targets or [[] for _ in predictions]
            for parts, found in zip([*self.predictions, *self.targets],
                                    [*predictions, *batch.targets], strict=True):
                parts.append(np.array(found))
        self.rows += batch.rows
        self.step, self.taken = self.step + 1, self.taken + 1

    def end_epoch(self) -> None:
        """On to the next epoch."""
        self.epoch, self.step, self.rows = self.epoch + 1, 0, 0
        self.total, self.predictions, self.targets = np.zeros(self.losses), [], []


def joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """What each output gave so far, [rows, ...]."""
    return [np.concatenate(each) for each in parts]
