"""How far a run is, and the figures of the epoch under way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ganglion.ops.base import Array


@dataclass
class Progress:
    """`step` steps of epoch `epoch` are done, `taken` since the run began.

    `total`: float64 [losses], the sum over the epoch's rows so far; `predictions`: of each output,
    the parts that its steps gave.
    """

    losses: int
    epoch: int = 0
    step: int = 0
    taken: int = 0
    total: Array = field(default_factory=lambda: np.zeros(0))
    predictions: list[list[Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.total.size == 0:
            self.total = np.zeros(self.losses)

    def add(self, rows: int, outputs: Sequence[Array], keep: bool) -> None:
        """One more step: its losses, and its predictions if they are to be kept."""
        self.total += rows * np.array(outputs[:self.losses], np.float64)
        if keep:
            self.predictions = self.predictions or [[] for _ in outputs[self.losses:]]
            for parts, found in zip(self.predictions, outputs[self.losses:]):
                parts.append(np.array(found))
        self.step, self.taken = self.step + 1, self.taken + 1

    def joined(self) -> list[Array]:
        """The predictions of each output so far, [rows, ...]."""
        return [np.concatenate(parts) for parts in self.predictions]

    def end_epoch(self) -> None:
        """On to the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0
        self.total, self.predictions = np.zeros(self.losses), []
