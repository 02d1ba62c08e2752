"""Optimisers with Keras 3's arguments, defaults and update formulas, as nodes of the step Model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.graph import GraphBuilder
from ganglion.training import schedules
from ganglion.training.schedules import LearningRateSchedule
from ganglion.training.step.optimizer import Optimizer, count_steps, f32
from ganglion.training.step.state import State, zeros_like

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Optimizer", "RMSprop", "get",
           "named", "schedules"]


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """v = momentum·v - rate·g;  w += v, or w += momentum·v - rate·g with `nesterov`."""

    learning_rate: float | LearningRateSchedule = field(default=0.01, kw_only=False)
    momentum: float = 0.0
    nesterov: bool = False

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        plain = g.op("Mul", gradient, rate)
        if self.momentum == 0:
            return plain
        momentum = f32(g, self.momentum)
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
        root = g.op("Sqrt", g.op("Add", spread, f32(g, self.epsilon)))
        increment = g.op("Div", g.op("Mul", gradient, rate), root)
        if self.momentum == 0:
            return increment
        slot = state.tensor(f"{weight.name}.momentum", zeros_like(weight))
        following = g.op("Add", g.op("Mul", slot, f32(g, self.momentum)), increment)
        state.becomes(slot, following)
        return following

    def _average(self, state: State, name: str, weight: ir.Value, fresh: ir.Value) -> ir.Value:
        g = state.g
        slot = state.tensor(name, zeros_like(weight))
        following = blend(g, slot, fresh, self.rho)
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
        g, one = state.g, f32(state.g, 1.0)
        t = count_steps(state)
        left_1 = g.op("Sub", one, g.op("Pow", f32(g, self.beta_1), t))
        left_2 = g.op("Sub", one, g.op("Pow", f32(g, self.beta_2), t))
        return (g.op("Div", g.op("Mul", rate, g.op("Sqrt", left_2)), left_1),)

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        m = moment(state, f"{weight.name}.momentum", weight, gradient, 1 - self.beta_1)
        v = moment(state, f"{weight.name}.velocity", weight,
                         g.op("Mul", gradient, gradient), 1 - self.beta_2)
        if self.amsgrad:
            most = state.tensor(f"{weight.name}.velocity_hat", zeros_like(weight))
            v = g.op("Max", most, v)
            state.becomes(most, v)
        return g.op("Div", g.op("Mul", m, scalars[0]),
                    g.op("Add", g.op("Sqrt", v), f32(g, self.epsilon)))


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    weight_decay: float | None = 0.004


@dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    """a += g²;  w -= rate·g / sqrt(a + epsilon). Duchi, Hazan and Singer (2011)."""

    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        start = np.full_like(zeros_like(weight), self.initial_accumulator_value)
        slot = state.tensor(f"{weight.name}.accumulator", start)
        following = g.op("Add", slot, g.op("Mul", gradient, gradient))
        state.becomes(slot, following)
        root = g.op("Sqrt", g.op("Add", following, f32(g, self.epsilon)))
        return g.op("Div", g.op("Mul", gradient, rate), root)


@dataclass(frozen=True, kw_only=True)
class Adamax(Optimizer):
    """m += (g - m)·(1 - beta_1);  u = max(beta_2·u, |g|);  w -= a·m / (u + epsilon)

    with a = rate / (1 - beta_1^t) at step t = 1, 2, ...; Kingma and Ba (2014), section 7.1.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def scalars(self, state: State, rate: ir.Value) -> tuple[ir.Value, ...]:
        g = state.g
        left = g.sub(1.0, g.op("Pow", f32(g, self.beta_1), count_steps(state)))
        return (g.op("Div", rate, left),)

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        m = moment(state, f"{weight.name}.momentum", weight, gradient, 1 - self.beta_1)
        slot = state.tensor(f"{weight.name}.norm", zeros_like(weight))
        norm = g.op("Max", g.op("Mul", slot, f32(g, self.beta_2)), g.op("Abs", gradient))
        state.becomes(slot, norm)
        return g.op("Div", g.op("Mul", m, scalars[0]), g.op("Add", norm, f32(g, self.epsilon)))


@dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
    """w -= rate·sign(beta_1·m + (1 - beta_1)·g);  m = beta_2·m + (1 - beta_2)·g

    Chen et al., "Symbolic discovery of optimization algorithms" (2023).
    """

    beta_1: float = 0.9
    beta_2: float = 0.99

    def step(self, state: State, weight: ir.Value, gradient: ir.Value, rate: ir.Value,
             scalars: Sequence[ir.Value]) -> ir.Value:
        g = state.g
        slot = state.tensor(f"{weight.name}.momentum", zeros_like(weight))
        state.becomes(slot, blend(g, slot, gradient, self.beta_2))
        direction = g.op("Sign", blend(g, slot, gradient, self.beta_1))
        return g.op("Mul", direction, rate)


def blend(g: GraphBuilder, old: ir.Value, fresh: ir.Value, part: float) -> ir.Value:
    """part·old + (1 - part)·fresh"""
    return g.op("Add", g.op("Mul", old, f32(g, part)), g.op("Mul", fresh, f32(g, 1 - part)))


def moment(state: State, name: str, weight: ir.Value, fresh: ir.Value, part: float) -> ir.Value:
    """A slot that moves towards `fresh` by this part of the way; its new value."""
    g = state.g
    slot = state.tensor(name, zeros_like(weight))
    following = g.op("Add", slot, g.op("Mul", g.op("Sub", fresh, slot), f32(g, part)))
    state.becomes(slot, following)
    return following


def get(optimizer: str | Optimizer) -> Optimizer:
    """An optimiser by Keras's name ("adam", in any case) with its defaults, or itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    return named(optimizer)()


def named(name: str) -> type[Optimizer]:
    """The class that bears this name, in any case; DataError lists the known ones."""
    classes = (SGD, RMSprop, Adam, AdamW, Adagrad, Adamax, Lion)
    makers: dict[str, type[Optimizer]] = {made.__name__.lower(): made for made in classes}
    if not isinstance(name, str) or name.lower() not in makers:
        raise DataError(f"unknown optimizer {name!r}; expected one of {sorted(makers)} or an "
                        "instance from ganglion.training.optimizers")
    return makers[name.lower()]
