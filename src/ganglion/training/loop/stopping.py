"""When a run ends before its last epoch."""

from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.ops.base import Array
from ganglion.training.loop.run import Logs, monitored, sign_of
from ganglion.training.settings import FLAG, MODE, NAME, NUMBER, WHOLE, optional, require


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
        require(self, monitor=(self.monitor, NAME), min_delta=(self.min_delta, NUMBER),
                patience=(self.patience, WHOLE), mode=(self.mode, MODE),
                baseline=(self.baseline, optional(NUMBER)),
                restore_best_weights=(self.restore_best_weights, FLAG),
                start_from_epoch=(self.start_from_epoch, WHOLE))

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return sign_of(self.mode, self.monitor)


@dataclass(frozen=True)
class StopAtLoss:
    """Stops after the first epoch whose `monitor` is at or below `value`."""

    value: float
    monitor: str = "loss"

    def __post_init__(self) -> None:
        require(self, value=(self.value, NUMBER), monitor=(self.monitor, NAME))


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
