"""Learning-rate schedules with Keras 3's names, arguments and values.

A schedule is a pure function of the number of steps already taken (0 before the first), so a run
that is resumed needs nothing but its step count. Steps are counted as Keras counts them: every
batch, also those that only accumulate gradients.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, pi

from ganglion.errors import DataError
from ganglion.training.settings import (
    ABOVE_0,
    FLAG,
    FROM_0,
    FROM_1,
    NUMBER,
    optional,
    require,
    several,
)


class LearningRateSchedule(ABC):
    """Step count -> learning rate. A schedule of one's own derives from this and is a frozen
    dataclass, so that a checkpoint can tell it from another one."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The rate of the step with this number, counted from 0."""


@dataclass(frozen=True)
class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and with step boundaries[0], then values[1] up to boundaries[1], ..."""

    boundaries: Sequence[int]
    values: Sequence[float]

    def __post_init__(self) -> None:
        require(self, boundaries=(self.boundaries, several(NUMBER)),
                values=(self.values, several(FROM_0)))
        if len(self.values) != len(self.boundaries) + 1:
            raise DataError(f"PiecewiseConstantDecay got {len(self.boundaries)} boundaries and "
                            f"{len(self.values)} values; expected one value more than boundaries")
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:])):
            raise DataError(f"PiecewiseConstantDecay(boundaries={list(self.boundaries)}): expected "
                            "rising step numbers")

    def __call__(self, step: int) -> float:
        return self.values[sum(step > b for b in self.boundaries)]


@dataclass(frozen=True)
class _Decay(LearningRateSchedule):
    """One that falls with step / decay_steps; `staircase` rounds that down."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        require(self, initial_learning_rate=(self.initial_learning_rate, FROM_0),
                decay_steps=(self.decay_steps, ABOVE_0), decay_rate=(self.decay_rate, FROM_0),
                staircase=(self.staircase, FLAG))

    def _passed(self, step: int) -> float:
        part = step / self.decay_steps
        return floor(part) if self.staircase else part


@dataclass(frozen=True)
class ExponentialDecay(_Decay):
    """initial·decay_rate^(step / decay_steps); `staircase` rounds the exponent down."""

    def __call__(self, step: int) -> float:
        return float(self.initial_learning_rate * self.decay_rate ** self._passed(step))


@dataclass(frozen=True)
class InverseTimeDecay(_Decay):
    """initial / (1 + decay_rate·step / decay_steps); `staircase` rounds the quotient down."""

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self._passed(step))


@dataclass(frozen=True)
class PolynomialDecay(LearningRateSchedule):
    """From initial to end over decay_steps along (1 - step / decay_steps)^power.

    `cycle` starts again from the initial rate with a length that is the next multiple.
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False

    def __post_init__(self) -> None:
        require(self, initial_learning_rate=(self.initial_learning_rate, FROM_0),
                decay_steps=(self.decay_steps, ABOVE_0),
                end_learning_rate=(self.end_learning_rate, FROM_0), power=(self.power, FROM_0),
                cycle=(self.cycle, FLAG))

    def __call__(self, step: int) -> float:
        length = self.decay_steps * (max(1, ceil(step / self.decay_steps)) if self.cycle else 1)
        left = 1 - min(step, length) / length
        fall = self.initial_learning_rate - self.end_learning_rate
        return fall * float(left ** self.power) + self.end_learning_rate


@dataclass(frozen=True)
class CosineDecay(LearningRateSchedule):
    """Half a cosine wave from the initial rate to alpha times it, over decay_steps.

    With `warmup_target` the rate first rises in a line from the initial one to the target, over
    `warmup_steps`, and the wave starts from there. Loshchilov and Hutter, "SGDR" (2017).
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require(self, initial_learning_rate=(self.initial_learning_rate, FROM_0),
                decay_steps=(self.decay_steps, ABOVE_0), alpha=(self.alpha, FROM_0),
                warmup_target=(self.warmup_target, optional(FROM_0)),
                warmup_steps=(self.warmup_steps, FROM_0))
        if self.warmup_steps and self.warmup_target is None:
            raise DataError("CosineDecay: warmup_steps without warmup_target; give the rate that "
                            "the warm-up rises to")

    def __call__(self, step: int) -> float:
        if self.warmup_target is None:
            return self.initial_learning_rate * self._wave(step)
        if step < self.warmup_steps:
            rise = self.warmup_target - self.initial_learning_rate
            return self.initial_learning_rate + rise * step / self.warmup_steps
        return self.warmup_target * self._wave(step - self.warmup_steps)

    def _wave(self, step: int) -> float:
        return _cosine(min(step, self.decay_steps) / self.decay_steps, 1.0, self.alpha)


@dataclass(frozen=True)
class CosineDecayRestarts(LearningRateSchedule):
    """Cosine waves one after another: each t_mul times as long and m_mul times as high as the one
    before, the first over first_decay_steps. Loshchilov and Hutter, "SGDR" (2017)."""

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0

    def __post_init__(self) -> None:
        require(self, initial_learning_rate=(self.initial_learning_rate, FROM_0),
                first_decay_steps=(self.first_decay_steps, ABOVE_0), t_mul=(self.t_mul, FROM_1),
                m_mul=(self.m_mul, FROM_0), alpha=(self.alpha, FROM_0))

    def __call__(self, step: int) -> float:
        restarts, start, length = 0, 0.0, float(self.first_decay_steps)
        if self.t_mul == 1:
            restarts = step // self.first_decay_steps
            start = float(restarts * self.first_decay_steps)
        while step >= start + length:
            restarts, start, length = restarts + 1, start + length, length * self.t_mul
        height = self.m_mul ** restarts
        return self.initial_learning_rate * _cosine((step - start) / length, height, self.alpha)


def _cosine(part: float, height: float, alpha: float) -> float:
    return (1 - alpha) * 0.5 * height * (1 + cos(pi * part)) + alpha
