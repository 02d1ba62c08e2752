"""What all optimisers share: settings, clipping, decay, accumulation, averages of the weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.graph import GraphBuilder
from ganglion.training.schedules import LearningRateSchedule
from ganglion.training.settings import (
    ABOVE_0,
    BELOW_1,
    FLAG,
    FROM_0,
    Kind,
    is_whole,
    optional,
    require,
)
from ganglion.training.step.state import State, zeros_like

_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_KINDS = {
    "learning_rate": Kind("a number from 0 up that is finite, or a schedule",
                          lambda v: isinstance(v, LearningRateSchedule) or FROM_0.fits(v)),
    "weight_decay": optional(FROM_0),
    "gradient_accumulation_steps": Kind(
        "a whole number from 2 up, or None for an update every step",
        lambda v: v is None or (is_whole(v) and v >= 2)),
    **dict.fromkeys(_CLIPS, optional(ABOVE_0)),
    **dict.fromkeys(("rho", "beta_1", "beta_2", "momentum", "ema_momentum"), BELOW_1)}
"""What each setting may be; the others True or False, or a number from 0 up."""

AVERAGE = ".average"
"""What follows a weight's name in that of its moving average."""

Gradient = tuple[ir.Value, ir.Value]
"""A trained value and its gradient."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """What all optimisers share. At most one of the three clippings may be set.

    `learning_rate`: a number, or a schedule from `optimizers.schedules`.
    `weight_decay`: every weight first shrinks by weight_decay·learning_rate of itself.
    `clipnorm` bounds the norm of each gradient, `global_clipnorm` that of all together,
    `clipvalue` every element.
    `gradient_accumulation_steps`: k from 2 up; weights and slots change in every k-th step only,
    by the mean of the k gradients.
    `use_ema`: the run ends with the moving averages of the weights over all steps,
    a = ema_momentum·a + (1 - ema_momentum)·w.
    """

    learning_rate: float | LearningRateSchedule = field(default=0.001, kw_only=False)
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    gradient_accumulation_steps: int | None = None

    def __post_init__(self) -> None:
        for setting in fields(self):
            usual = FLAG if isinstance(setting.default, bool) else FROM_0
            value = getattr(self, setting.name)
            require(self, **{setting.name: (value, _KINDS.get(setting.name, usual))})
        clips = [name for name in _CLIPS if getattr(self, name) is not None]
        if len(clips) > 1:
            raise DataError(f"{type(self).__name__} got {' and '.join(clips)}; set one of them")

    def rate_at(self, step: int) -> float:
        """The learning rate of the step with this number, counted from 0."""
        rate = self.learning_rate
        return rate(step) if isinstance(rate, LearningRateSchedule) else float(rate)

    def apply(self, state: State, pairs: Sequence[Gradient], rate: ir.Value) -> list[ir.Value]:
        """The new value of each weight of the (weight, gradient) pairs; slots go into `state`.

        `rate`: float32 scalar.
        """
        now = None
        if self.gradient_accumulation_steps is not None:
            now, pairs = _accumulated(state, pairs, self.gradient_accumulation_steps)
        gated = state if now is None else state.when(now)
        updated = self._update(gated, pairs, rate)
        if now is not None:
            updated = [state.g.where(now, new, w) for new, (w, _) in zip(updated, pairs)]
        if self.use_ema:
            self._average_weights(state, gated, [w for w, _ in pairs], updated)
        return updated

    def _update(self, state: State, pairs: Sequence[Gradient], rate: ir.Value) -> list[ir.Value]:
        g, updated = state.g, []
        scalars = self.scalars(state, rate)
        for weight, gradient in self._clip(g, pairs):
            start = weight
            if self.weight_decay is not None:
                decay = g.op("Mul", g.op("Mul", weight, f32(g, self.weight_decay)), rate)
                start = g.op("Sub", weight, decay)
            step = self.step(state, weight, gradient, rate, scalars)
            updated.append(g.op("Sub", start, step))
        return updated

    def scalars(self, state: State, rate: ir.Value) -> tuple[ir.Value, ...]:
        """Values computed once a step and used by every weight."""
        return ()

    @abstractmethod
    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        """What is taken off the weight."""

    def _clip(self, g: GraphBuilder, pairs: Sequence[Gradient]) -> list[Gradient]:
        if self.clipvalue is not None:
            low, high = f32(g, -self.clipvalue), f32(g, self.clipvalue)
            return [(w, g.op("Clip", dw, low, high)) for w, dw in pairs]
        if self.clipnorm is not None:
            return [(w, _limited(g, dw, _square_sum(g, [dw]), self.clipnorm)) for w, dw in pairs]
        if self.global_clipnorm is not None:
            total = _square_sum(g, [dw for _, dw in pairs])
            return [(w, _limited(g, dw, total, self.global_clipnorm)) for w, dw in pairs]
        return list(pairs)

    def _average_weights(self, state: State, gated: State, weights: Sequence[ir.Value],
                         updated: Sequence[ir.Value]) -> None:
        """Until the first update is done an average is the weight itself."""
        g = state.g
        started = state.tensor("optimizer.averaging", np.zeros((), np.float32))
        gated.becomes(started, f32(g, 1.0))
        kept = g.mul(started, self.ema_momentum)
        fresh = g.sub(1.0, kept)
        for weight, new in zip(weights, updated):
            average = state.tensor(f"{weight.name}{AVERAGE}", zeros_like(weight))
            state.becomes(average, g.op("Add", g.op("Mul", average, kept), g.op("Mul", new, fresh)))


def count_steps(state: State) -> ir.Value:
    """The number of this update, a float32 scalar: 1, 2, ..."""
    count = state.tensor("optimizer.iterations", np.zeros((), np.float32))
    t = state.g.add(count, 1.0)
    state.becomes(count, t)
    return t


def f32(g: GraphBuilder, value: float) -> ir.Value:
    """A constant float32 scalar."""
    return g.constant(np.asarray(value, np.float32))


def _accumulated(state: State, pairs: Sequence[Gradient],
                 steps: int) -> tuple[ir.Value, list[Gradient]]:
    """Whether this step is a k-th one (a bool scalar), and the mean gradients since the last."""
    g = state.g
    waited = state.tensor("optimizer.accumulated", np.zeros((), np.float32))
    count = g.add(waited, 1.0)
    now = g.greater(count, steps - 0.5)
    state.becomes(waited, g.where(now, 0.0, count))
    means = []
    for weight, gradient in pairs:
        slot = state.tensor(f"{weight.name}.gradient_accumulator", zeros_like(weight))
        total = g.op("Add", gradient, slot)
        state.becomes(slot, g.where(now, 0.0, total))
        means.append((weight, g.div(total, float(steps))))
    return now, means


def _square_sum(g: GraphBuilder, values: Sequence[ir.Value]) -> ir.Value:
    total = g.op("ReduceSumSquare", values[0], keepdims=0)
    for value in values[1:]:
        total = g.op("Add", total, g.op("ReduceSumSquare", value, keepdims=0))
    return total


def _limited(g: GraphBuilder, gradient: ir.Value, square: ir.Value, limit: float) -> ir.Value:
    """gradient · limit / max(sqrt(square), limit)"""
    norm = g.op("Max", g.op("Sqrt", square), f32(g, limit))
    return g.op("Mul", gradient, g.op("Div", f32(g, limit), norm))
