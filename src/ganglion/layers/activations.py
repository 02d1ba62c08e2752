"""Activation functions by Keras's names, and the layers made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ganglion.layers.base import Emitter, Layer, UnaryLayer, dims, is_float

ActSpec = str | UnaryLayer | None
"""A name of the table below, a layer such as LeakyReLU(0.1), or None for the identity."""

_FUNCTIONS: dict[str, Callable[[Emitter, ir.Value], ir.Value]] = {
    "linear": lambda e, x: x,
    "relu": lambda e, x: e.op("Relu", x),
    "relu6": lambda e, x: e.op("Clip", x, e.floats(0.0), e.floats(6.0)),
    "leaky_relu": lambda e, x: e.op("LeakyRelu", x, alpha=0.2),
    "elu": lambda e, x: e.op("Elu", x, alpha=1.0),
    "selu": lambda e, x: e.op("Selu", x),
    "gelu": lambda e, x: e.op("Gelu", x),
    "silu": lambda e, x: e.op("Mul", x, e.op("Sigmoid", x)),
    "sigmoid": lambda e, x: e.op("Sigmoid", x),
    "hard_sigmoid": lambda e, x: e.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "hard_silu": lambda e, x: e.op("HardSwish", x),
    "tanh": lambda e, x: e.op("Tanh", x),
    "softplus": lambda e, x: e.op("Softplus", x),
    "softsign": lambda e, x: e.op("Softsign", x),
    "exponential": lambda e, x: e.op("Exp", x),
    "softmax": lambda e, x: e.op("Softmax", x, axis=-1),
    "log_softmax": lambda e, x: e.op("LogSoftmax", x, axis=-1),
}
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "gaussian_error_linear_unit": "gelu"}


def check_activation(layer: Layer, spec: ActSpec, argument: str = "activation") -> None:
    """Raises ModelError when there is no such activation."""
    if isinstance(spec, str) and _ALIASES.get(spec, spec) not in _FUNCTIONS:
        raise layer.error(f"unknown {argument} {spec!r}; known: "
                          f"{', '.join(sorted([*_FUNCTIONS, *_ALIASES]))}")
    if spec is not None and not isinstance(spec, str | UnaryLayer):
        raise layer.error(f"{argument} must be a name such as 'relu' or a layer such as "
                          f"LeakyReLU(0.1), found {type(spec).__name__}")


def activate(e: Emitter, spec: ActSpec, x: ir.Value) -> ir.Value:
    """Appends the activation to `x`."""
    if spec is None:
        return x
    if isinstance(spec, UnaryLayer):
        return spec.emit(e, x)[0]
    return _FUNCTIONS[_ALIASES.get(spec, spec)](e, x)


@dataclass(frozen=True, eq=False)
class Activation(UnaryLayer):
    """Applies an activation function element by element (softmax: along the last axis)."""

    activation: ActSpec

    def check(self) -> None:
        check_activation(self, self.activation)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        is_float(e, xs[0])
        return [activate(e, self.activation, xs[0])]


@dataclass(frozen=True, eq=False)
class ReLU(UnaryLayer):
    """`min(x, max_value)` above `threshold`, `negative_slope * (x - threshold)` below it."""

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0

    def check(self) -> None:
        if self.max_value is not None and self.max_value < 0:
            raise self.error(f"max_value must not be negative, found {self.max_value}")
        if self.negative_slope < 0 or self.threshold < 0:
            raise self.error("negative_slope and threshold must not be negative, found "
                             f"{self.negative_slope} and {self.threshold}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        is_float(e, x)
        if self.threshold:
            return [self._with_threshold(e, x)]
        if self.negative_slope:
            y = e.op("LeakyRelu", x, alpha=float(self.negative_slope))
            if self.max_value is not None:
                y = e.op("Min", y, e.floats(self.max_value))
        elif self.max_value is None:
            y = e.op("Relu", x)
        else:
            y = e.op("Clip", x, e.floats(0.0), e.floats(self.max_value))
        return [y]

    def _with_threshold(self, e: Emitter, x: ir.Value) -> ir.Value:
        limit = e.floats(self.threshold)
        above = x if self.max_value is None else e.op("Min", x, e.floats(self.max_value))
        below = e.op("Mul", e.op("Sub", x, limit), e.floats(self.negative_slope))
        return e.op("Where", e.op("GreaterOrEqual", x, limit), above, below)


@dataclass(frozen=True, eq=False)
class LeakyReLU(UnaryLayer):
    """`x` where positive, else `negative_slope * x`."""

    negative_slope: float = 0.3

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        is_float(e, xs[0])
        return [e.op("LeakyRelu", xs[0], alpha=float(self.negative_slope))]


@dataclass(frozen=True, eq=False)
class ELU(UnaryLayer):
    """`x` where positive, else `alpha * (exp(x) - 1)`."""

    alpha: float = 1.0

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        is_float(e, xs[0])
        return [e.op("Elu", xs[0], alpha=float(self.alpha))]


@dataclass(frozen=True, eq=False)
class Softmax(UnaryLayer):
    """Softmax along one axis."""

    axis: int = -1

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        is_float(e, xs[0])
        n = len(dims(xs[0]))
        if not -n <= self.axis < n or self.axis % n == 0:
            raise e.error(f"axis {self.axis} is not an axis of {list(dims(xs[0]))} "
                          "other than the batch")
        return [e.op("Softmax", xs[0], axis=self.axis)]
