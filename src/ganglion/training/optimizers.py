"""Optimisers with Keras 3's arguments, defaults and update formulas, as nodes of the step Model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.graph import GraphBuilder
from ganglion.training.state import State, zeros_like

_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_FRACTIONS = ("rho", "beta_1", "beta_2", "momentum")

Gradient = tuple[ir.Value, ir.Value]
"""A trained value and its gradient."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """What all optimisers share. At most one of the three clippings may be set.

    `weight_decay`: every weight first shrinks by weight_decay·learning_rate of itself.
    `clipnorm` bounds the norm of each gradient, `global_clipnorm` that of all together,
    `clipvalue` every element.
    """

    learning_rate: float = 0.001
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None or isinstance(value, bool):
                continue
            if not isinstance(value, int | float | np.number):
                raise DataError(f"{type(self).__name__}({name}={value!r}): expected a number")
            positive = name in _CLIPS
            low_enough = value < (1 if name in _FRACTIONS else np.inf)
            if not (low_enough and (value > 0 if positive else value >= 0)):
                raise DataError(
                    f"{type(self).__name__}({name}={value!r}): expected a finite number "
                    f"{'above 0' if positive else 'from 0 up'}"
                    f"{' and below 1' if name in _FRACTIONS else ''}")
        clips = [name for name in _CLIPS if getattr(self, name) is not None]
        if len(clips) > 1:
            raise DataError(f"{type(self).__name__} got {' and '.join(clips)}; set one of them")

    def apply(self, state: State, pairs: Sequence[Gradient], rate: ir.Value) -> list[ir.Value]:
        """The new value of each weight of the (weight, gradient) pairs; slots go into `state`.

        `rate`: float32 scalar.
        """
        g, updated = state.g, []
        scalars = self.scalars(state, rate)
        for weight, gradient in self._clip(g, pairs):
            start = weight
            if self.weight_decay is not None:
                decay = g.op("Mul", g.op("Mul", weight, _f32(g, self.weight_decay)), rate)
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
            low, high = _f32(g, -self.clipvalue), _f32(g, self.clipvalue)
            return [(w, g.op("Clip", dw, low, high)) for w, dw in pairs]
        if self.clipnorm is not None:
            return [(w, _limited(g, dw, _square_sum(g, [dw]), self.clipnorm)) for w, dw in pairs]
        if self.global_clipnorm is not None:
            total = _square_sum(g, [dw for _, dw in pairs])
            return [(w, _limited(g, dw, total, self.global_clipnorm)) for w, dw in pairs]
        return list(pairs)


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """v = momentum·v - rate·g;  w += v, or w += momentum·v - rate·g with `nesterov`."""

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        plain = g.op("Mul", gradient, rate)
        if self.momentum == 0:
            return plain
        momentum = _f32(g, self.momentum)
        velocity = state.tensor(f"{weight.name}.momentum", zeros_like(weight))
        following = g.op("Sub", g.op("Mul", velocity, momentum), plain)
        state.becomes(velocity, following)
        if self.nesterov:
            return g.op("Sub", plain, g.op("Mul", following, momentum))
        return g.op("Neg", following)


@dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """v = rho·v + (1 - rho)·g²;  w -= rate·g / sqrt(v + epsilon), through `momentum` if set.

    `centered` takes the square of the mean gradient off v. Hinton, lecture 6e (2012).
    """

    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        velocity = self._average(state, f"{weight.name}.velocity", weight,
                                 g.op("Mul", gradient, gradient))
        spread = velocity
        if self.centered:
            mean = self._average(state, f"{weight.name}.average_gradient", weight, gradient)
            spread = g.op("Sub", velocity, g.op("Mul", mean, mean))
        root = g.op("Sqrt", g.op("Add", spread, _f32(g, self.epsilon)))
        increment = g.op("Div", g.op("Mul", gradient, rate), root)
        if self.momentum == 0:
            return increment
        slot = state.tensor(f"{weight.name}.momentum", zeros_like(weight))
        following = g.op("Add", g.op("Mul", slot, _f32(g, self.momentum)), increment)
        state.becomes(slot, following)
        return following

    def _average(self, state: State, name: str, weight: ir.Value, fresh: ir.Value) -> ir.Value:
        g = state.g
        slot = state.tensor(name, zeros_like(weight))
        following = g.op("Add", g.op("Mul", slot, _f32(g, self.rho)),
                         g.op("Mul", fresh, _f32(g, 1 - self.rho)))
        state.becomes(slot, following)
        return following


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m += (g - m)·(1 - beta_1);  v += (g² - v)·(1 - beta_2);  w -= m·a / (sqrt(v) + epsilon)

    with a = rate·sqrt(1 - beta_2^t) / (1 - beta_1^t) at step t = 1, 2, ...; `epsilon` is the
    "epsilon hat" of Kingma and Ba (2014), section 2. `amsgrad` uses the largest v so far.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    def scalars(self, state: State, rate: ir.Value) -> tuple[ir.Value, ...]:
        g, one = state.g, _f32(state.g, 1.0)
        count = state.tensor("optimizer.iterations", np.zeros((), np.float32))
        t = g.op("Add", count, one)
        state.becomes(count, t)
        left_1 = g.op("Sub", one, g.op("Pow", _f32(g, self.beta_1), t))
        left_2 = g.op("Sub", one, g.op("Pow", _f32(g, self.beta_2), t))
        return (g.op("Div", g.op("Mul", rate, g.op("Sqrt", left_2)), left_1),)

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        m = self._moment(state, f"{weight.name}.momentum", weight, gradient, 1 - self.beta_1)
        v = self._moment(state, f"{weight.name}.velocity", weight,
                         g.op("Mul", gradient, gradient), 1 - self.beta_2)
        if self.amsgrad:
            most = state.tensor(f"{weight.name}.velocity_hat", zeros_like(weight))
            v = g.op("Max", most, v)
            state.becomes(most, v)
        return g.op("Div", g.op("Mul", m, scalars[0]),
                    g.op("Add", g.op("Sqrt", v), _f32(g, self.epsilon)))

    def _moment(self, state: State, name: str, weight: ir.Value, fresh: ir.Value,
                part: float) -> ir.Value:
        g = state.g
        slot = state.tensor(name, zeros_like(weight))
        following = g.op("Add", slot, g.op("Mul", g.op("Sub", fresh, slot), _f32(g, part)))
        state.becomes(slot, following)
        return following


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    weight_decay: float | None = 0.004


def get(optimizer: str | Optimizer) -> Optimizer:
    """An optimiser by Keras's name ("adam", in any case) with its defaults, or itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    makers: dict[str, type[Optimizer]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam,
                                          "adamw": AdamW}
    if not isinstance(optimizer, str) or optimizer.lower() not in makers:
        raise DataError(f"unknown optimizer {optimizer!r}; expected one of {sorted(makers)} or an "
                        "instance from ganglion.training.optimizers")
    return makers[optimizer.lower()]()


def _f32(g: GraphBuilder, value: float) -> ir.Value:
    return g.constant(np.asarray(value, np.float32))


def _square_sum(g: GraphBuilder, values: Sequence[ir.Value]) -> ir.Value:
    total = g.op("ReduceSumSquare", values[0], keepdims=0)
    for value in values[1:]:
        total = g.op("Add", total, g.op("ReduceSumSquare", value, keepdims=0))
    return total


def _limited(g: GraphBuilder, gradient: ir.Value, square: ir.Value, limit: float) -> ir.Value:
    """gradient · limit / max(sqrt(square), limit)"""
    norm = g.op("Max", g.op("Sqrt", square), _f32(g, limit))
    return g.op("Mul", gradient, g.op("Div", _f32(g, limit), norm))
