"""How far a run is, and the figures of the epoch under way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ganglion.ops.base import Array


@dataclass
class Progress:
    """`step` steps of epoch `epoch` are done, `taken` since the run began.

    `total`: float64 [losses], the sum over the epoch's `rows` so far; `predictions`, `targets`: of
    each output, the parts that its steps gave and should have given.
    """

    total: Array
    epoch: int = 0
    step: int = 0
    taken: int = 0
    rows: int = 0
    predictions: list[list[Array]] = field(default_factory=list)
    targets: list[list[Array]] = field(default_factory=list)

    def add(self, rows: int, outputs: Sequence[Array], targets: Sequence[Array] | None) -> None:
        """One more step: its losses, and its predictions and targets if these are to be kept."""
        count = len(self.total)
        self.total = self.total + rows * np.array(outputs[:count], np.float64)
        if targets is not None:
            self.predictions = self.predictions or [[] for _ in targets]
            self.targets = self.targets or [[] for _ in targets]
            for k, target in enumerate(targets):
                self.predictions[k].append(np.array(outputs[count + k]))
                self.targets[k].append(target)
        self.rows += rows
        self.step, self.taken = self.step + 1, self.taken + 1

    def joined(self) -> tuple[list[Array], list[Array]]:
        """Predictions and targets of each output so far, [rows, ...]."""
        return ([np.concatenate(parts) for parts in self.predictions],
                [np.concatenate(parts) for parts in self.targets])

    def end_epoch(self) -> None:
        """On to the next epoch."""
        self.epoch, self.step, self.rows = self.epoch + 1, 0, 0
        self.total, self.predictions, self.targets = np.zeros_like(self.total), [], []
