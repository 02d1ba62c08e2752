"""Losses under Keras's names and with its meaning, as nodes of the step Model.

A loss is the mean over the batch and all remaining axes (Keras's "sum_over_batch_size"). Labels
are compared with probabilities; where these come straight out of a Softmax or Sigmoid, its input
is used instead, so that no probability rounds to 0 or 1 on the way.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Op
from ganglion.ops.facts import is_op
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import IDENTITY, SIGMOID, SOFTMAX
from ganglion.ops.values import static_shape
from ganglion.training.settings import ABOVE_0, FLAG, require

EPSILON = 1e-7
"""Keras's `backend.epsilon()`: probabilities are kept this far from 0 and 1."""


@dataclass(frozen=True)
class Loss(ABC):
    """A loss of predictions [N, ...] against targets.

    `labels`: targets are int32 class numbers [N, ...] without the predictions' last axis; else
    they are float32 of the predictions' own shape. `unit_range`: targets lie within [0, 1].
    """

    name: ClassVar[str] = "loss"
    labels: ClassVar[bool] = False
    unit_range: ClassVar[bool] = False

    @abstractmethod
    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        """The loss of every element (of every sample, for the categorical ones)."""

    def total(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value,
              weight: ir.Value | None = None) -> ir.Value:
        """The mean over everything, shape []; each element first multiplied by its `weight`, whose
        axes are the first ones of the elements."""
        each = _weighted(g, self.elements(g, target, prediction), weight)
        return g.op("ReduceMean", each, keepdims=0, hint="mean")

    def per_sample(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value,
                   weight: ir.Value | None = None) -> ir.Value:
        """The mean over everything but the batch, shape [N]; `weight` as in `total`."""
        each = _weighted(g, self.elements(g, target, prediction), weight)
        axes = range(1, len(static_shape(each)))
        return g.op("ReduceMean", each, g.ints(*axes), keepdims=0, hint="mean") if axes else each

    def target(self, prediction: ir.Value) -> tuple[ir.DataType, tuple[int, ...]]:
        """Dtype and shape of the targets that go with these predictions."""
        shape = static_shape(prediction)
        if self.labels:
            return ir.DataType.INT32, shape[:-1]
        return ir.DataType.FLOAT, shape


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """(p - y)²"""

    name: ClassVar[str] = "mean_squared_error"

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        error = g.op("Sub", prediction, target)
        return g.op("Mul", error, error)


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """|p - y|"""

    name: ClassVar[str] = "mean_absolute_error"

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        return g.op("Abs", g.op("Sub", prediction, target))


@dataclass(frozen=True)
class Huber(Loss):
    """½e² where |e| <= delta, else delta·|e| - ½delta², with e = p - y.

    Written as c·(|e| - ½c) with c = min(|e|, delta), which is the same without a branch.
    """

    delta: float = 1.0
    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        require(self, delta=(self.delta, ABOVE_0))

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        size = g.op("Abs", g.op("Sub", prediction, target))
        capped = g.op("Min", size, g.scalar(self.delta, size))
        return g.op("Mul", capped, g.op("Sub", size, g.op("Mul", g.scalar(0.5, size), capped)))


@dataclass(frozen=True)
class _Crossentropy(Loss):
    """One that takes probabilities, or with `from_logits` what comes before them."""

    from_logits: bool = False

    def __post_init__(self) -> None:
        require(self, from_logits=(self.from_logits, FLAG))


@dataclass(frozen=True)
class BinaryCrossentropy(_Crossentropy):
    """-(y·log p + (1 - y)·log(1 - p)); from the logit x: softplus(x) - x·y."""

    name: ClassVar[str] = "binary_crossentropy"
    unit_range: ClassVar[bool] = True

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        logits = prediction if self.from_logits else logits_of(prediction, SIGMOID)
        if logits is not None:
            return g.op("Sub", g.op("Softplus", logits), g.op("Mul", logits, target))
        one = g.scalar(1.0, prediction)
        p = _clipped(g, prediction)
        hit = g.op("Mul", target, g.op("Log", p))
        miss = g.op("Mul", g.op("Sub", one, target), g.op("Log", g.op("Sub", one, p)))
        return g.op("Neg", g.op("Add", hit, miss))


@dataclass(frozen=True)
class CategoricalCrossentropy(_Crossentropy):
    """-Σ y·log p over the last axis; y holds the probability (or 0 and 1) of every class."""

    name: ClassVar[str] = "categorical_crossentropy"
    unit_range: ClassVar[bool] = True

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        return _cross_entropy(g, target, prediction, self.from_logits)


@dataclass(frozen=True)
class SparseCategoricalCrossentropy(_Crossentropy):
    """-log p[y] over the last axis; y is the number of the class."""

    name: ClassVar[str] = "sparse_categorical_crossentropy"
    labels: ClassVar[bool] = True

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        classes = g.constant(np.arange(static_shape(prediction)[-1], dtype=np.int32), "classes")
        hit = g.op("Equal", g.op("Unsqueeze", target, g.ints(-1)), classes)
        one_hot = g.op("Where", hit, g.scalar(1.0, prediction), g.scalar(0.0, prediction))
        return _cross_entropy(g, one_hot, prediction, self.from_logits)


def is_of_logits(loss: Loss) -> bool:
    """Whether the loss takes the network's answers for logits."""
    return bool(getattr(loss, "from_logits", False))


def logits_of(prediction: ir.Value, activation: Op) -> ir.Value | None:
    """The input of the `activation` node that gives `prediction`, None if another node does.

    Identity and the rounding of a network that will be quantised are looked through: a loss of
    rounded probabilities would be deaf below a step. A Softmax counts when it runs over the last
    axis.
    """
    node = prediction.producer()
    while (node is not None and (is_op(node, IDENTITY) or is_fake_quantize(node))
           and node.inputs[0] is not None):
        node = node.inputs[0].producer()
    if node is None or not is_op(node, activation) or node.inputs[0] is None:
        return None
    if activation is SOFTMAX:
        axis = node.attributes.get_int("axis", -1)
        if axis not in (-1, len(static_shape(prediction)) - 1):
            return None
    return node.inputs[0]


def _weighted(g: GraphBuilder, each: ir.Value, weight: ir.Value | None) -> ir.Value:
    if weight is None:
        return each
    missing = range(len(static_shape(weight)), len(static_shape(each)))
    return g.op("Mul", each, g.op("Unsqueeze", weight, g.ints(*missing)) if missing else weight)


def _clipped(g: GraphBuilder, p: ir.Value) -> ir.Value:
    return g.op("Clip", p, g.scalar(EPSILON, p), g.scalar(1.0 - EPSILON, p))


def _cross_entropy(g: GraphBuilder, target: ir.Value, prediction: ir.Value,
                   from_logits: bool) -> ir.Value:
    last = g.ints(-1)
    logits = prediction if from_logits else logits_of(prediction, SOFTMAX)
    if logits is not None:
        log_p = g.op("LogSoftmax", logits, axis=-1)
    else:
        p = g.op("Div", prediction, g.op("ReduceSum", prediction, last, keepdims=1))
        log_p = g.op("Log", _clipped(g, p))
    return g.op("Neg", g.op("ReduceSum", g.op("Mul", target, log_p), last, keepdims=0))


_BY_NAME: dict[str, Callable[[], Loss]] = {
    "mse": MeanSquaredError, "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError, "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}


def get(loss: str | Loss) -> Loss:
    """A loss by Keras's name, in either spelling ("mse", "MeanSquaredError"), or itself."""
    if isinstance(loss, Loss):
        return loss
    by_class = {make().__class__.__name__: make for make in _BY_NAME.values()}
    make = _BY_NAME.get(loss.lower() if isinstance(loss, str) else "") or by_class.get(str(loss))
    if make is None:
        raise DataError(f"unknown loss {loss!r}; expected one of {sorted(_BY_NAME)} or an "
                        "instance from ganglion.training.losses")
    return make()
