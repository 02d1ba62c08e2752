"""Learning from a teacher: a larger network's soft answers beside the true labels.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531, 2015).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.base import Array
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import SOFTMAX
from ganglion.ops.values import static_shape
from ganglion.training.losses import EPSILON, Loss, logits_of


@dataclass(frozen=True)
class Distillation(Loss):
    """alpha · hard + (1 - alpha) · T² · Σ t · (log t - log s),  s = softmax(z / T)

    z are the student's logits, t the teacher's probabilities softened by the same temperature T
    (`soft_targets`). `hard` is a cross-entropy of class numbers or of one-hot rows. The target
    holds both, [..., what `hard` takes, classes]: make it with `packed`.
    """

    hard: Loss
    alpha: float = 0.1
    temperature: float = 3.0
    name: ClassVar[str] = "distillation"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise DataError(f"alpha={self.alpha!r}: expected a share from 0 to 1 of the labels")
        if not 0 < self.temperature < np.inf:
            raise DataError(f"temperature={self.temperature!r}: expected a number above 0")
        if "categorical_crossentropy" not in self.hard.name:
            raise DataError(f"distillation of a {self.hard.name} loss: expected a categorical "
                            "cross-entropy, as soft targets are probabilities of classes")

    def target(self, prediction: ir.Value) -> tuple[ir.DataType, tuple[int, ...]]:
        shape = static_shape(prediction)
        return ir.DataType.FLOAT, (*shape[:-1], self._columns(shape[-1]) + shape[-1])

    def elements(self, g: GraphBuilder, target: ir.Value, prediction: ir.Value) -> ir.Value:
        classes = static_shape(prediction)[-1]
        cut = self._columns(classes)
        last = g.ints(-1)
        truth = g.op("Slice", target, g.ints(0), g.ints(cut), last)
        if self.hard.labels:
            truth = g.op("Cast", g.op("Squeeze", truth, last), to=ir.DataType.INT32)
        hard = self.hard.elements(g, truth, prediction)
        if self.alpha == 1:
            return hard
        soft = g.op("Slice", target, g.ints(cut), g.ints(cut + classes), last)
        scaled = g.mul(self._logits(g, prediction), 1 / self.temperature)
        log_t = g.op("Log", g.op("Max", soft, g.scalar(EPSILON, soft)))
        gap = g.mul(soft, g.sub(log_t, g.op("LogSoftmax", scaled, axis=-1)))
        divergence = g.mul(g.total(gap, [-1], keepdims=False),
                           (1 - self.alpha) * self.temperature ** 2)
        return divergence if self.alpha == 0 else g.add(g.mul(hard, self.alpha), divergence)

    def packed(self, truth: Array, soft: Array) -> Array:
        """The target of the loss: labels (or one-hot rows) and soft targets side by side."""
        rows = truth.reshape(*soft.shape[:-1], self._columns(soft.shape[-1]))
        return np.concatenate([rows, soft], axis=-1).astype(np.float32)

    def truth(self, target: Array) -> Array:
        """What `packed` got, for the metrics."""
        classes = target.shape[-1] - 1 if self.hard.labels else target.shape[-1] // 2
        rows = target[..., :target.shape[-1] - classes]
        return rows[..., 0].astype(np.int32) if self.hard.labels else rows

    def _columns(self, classes: int) -> int:
        return 1 if self.hard.labels else classes

    def _logits(self, g: GraphBuilder, prediction: ir.Value) -> ir.Value:
        if getattr(self.hard, "from_logits", False):
            return prediction
        logits = logits_of(prediction, SOFTMAX)
        if logits is not None:
            return logits
        return g.op("Log", g.op("Max", prediction, g.scalar(EPSILON, prediction)))


def softened(teacher: ir.Model, temperature: float, from_logits: bool) -> ir.Model:
    """A copy of the teacher that answers softmax(logits / temperature).

    Logits are what its last Softmax reads; without one the answers themselves with `from_logits`,
    else the logarithms of the answers. Raises ModelError unless it has one output.
    """
    copy = teacher.clone()
    if len(copy.graph.outputs) != 1:
        raise ModelError(f"the teacher has {len(copy.graph.outputs)} outputs; expected one, of "
                         "probabilities or logits")
    g, answer = GraphBuilder.extending(copy), copy.graph.outputs[0]
    logits = logits_of(answer, SOFTMAX)
    if logits is None and not from_logits:
        logits = g.op("Log", g.op("Max", answer, g.scalar(EPSILON, answer)))
    soft = g.op("Softmax", g.mul(logits or answer, 1 / temperature), axis=-1)
    copy.graph.outputs.clear()
    g.output("soft", soft)
    return copy
