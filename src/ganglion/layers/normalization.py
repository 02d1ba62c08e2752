"""Batch and layer normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.layers.base import (
    Emitter,
    InitSpec,
    RegSpec,
    UnaryLayer,
    dims,
    is_float,
    static,
)
from ganglion.ops.marks import TRAINABLE


def _axis(e: Emitter, x: ir.Value, axis: int) -> int:
    """`axis` counted from 0; ModelError when it is none of the axes after the batch."""
    n = len(dims(x))
    if not -n <= axis < n or axis % n == 0:
        raise e.error(f"axis {axis} is not an axis of {list(dims(x))} other than the batch")
    return axis % n


@dataclass(frozen=True, eq=False)
class BatchNormalization(UnaryLayer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta` for each channel (Ioffe 2015).

    momentum: how much of the moving statistics a training step keeps.
    """

    axis: int = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: InitSpec = "zeros"
    gamma_initializer: InitSpec = "ones"
    moving_mean_initializer: InitSpec = "zeros"
    moving_variance_initializer: InitSpec = "ones"
    beta_regularizer: RegSpec = None
    gamma_regularizer: RegSpec = None

    def check(self) -> None:
        if not isinstance(self.axis, int):
            raise self.error(f"axis must be one integer, found {self.axis!r}")
        if not 0 <= self.momentum <= 1 or not self.epsilon > 0:
            raise self.error("momentum must be between 0 and 1 and epsilon positive, found "
                             f"{self.momentum} and {self.epsilon}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        is_float(e, x)
        axis, n = _axis(e, x, self.axis), len(dims(x))
        shape = (static(e, x, axis, "each channel has its own statistics"),)
        gamma = (e.weight("gamma", shape, self.gamma_initializer,
                          regularizer=self.gamma_regularizer)
                 if self.scale else e.constant(np.ones(shape, np.float32), "ones"))
        beta = (e.weight("beta", shape, self.beta_initializer, regularizer=self.beta_regularizer)
                if self.center else e.constant(np.zeros(shape, np.float32), "zeros"))
        mean = e.weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        variance = e.weight("moving_variance", shape, self.moving_variance_initializer,
                            trainable=False)
        perm = [0, axis, *(i for i in range(1, n) if i != axis)]
        if axis != 1:
            x = e.op("Transpose", x, perm=perm)
        y = e.op("BatchNormalization", x, gamma, beta, mean, variance,
                 epsilon=float(self.epsilon), momentum=float(self.momentum))
        node = y.producer()
        if node is not None:  # without gamma and beta no weight says whether the layer learns
            node.metadata_props[TRAINABLE] = "true" if self.trainable and not e.frozen else "false"
        if axis != 1:
            y = e.op("Transpose", y, perm=[perm.index(i) for i in range(n)])
        return [y]


@dataclass(frozen=True, eq=False)
class LayerNormalization(UnaryLayer):
    """Mean 0 and variance 1 over the last axes of each example, then gamma and beta (Ba 2016)."""

    axis: int | tuple[int, ...] = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: InitSpec = "zeros"
    gamma_initializer: InitSpec = "ones"
    beta_regularizer: RegSpec = None
    gamma_regularizer: RegSpec = None

    def check(self) -> None:
        if not self.epsilon > 0:
            raise self.error(f"epsilon must be positive, found {self.epsilon}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        is_float(e, x)
        n = len(dims(x))
        given = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        axes = sorted({_axis(e, x, a) for a in given})
        if not axes or axes != [*range(axes[0], n)]:
            raise UnsupportedOp(str(e.error(
                f"axis {self.axis} of {list(dims(x))} is not a run of last axes, which ONNX "
                "LayerNormalization needs; put a Permute before and after it")))
        shape = tuple(static(e, x, a, "gamma and beta have its shape") for a in axes)
        gamma = (e.weight("gamma", shape, self.gamma_initializer,
                          regularizer=self.gamma_regularizer)
                 if self.scale else e.constant(np.ones(shape, np.float32), "ones"))
        beta = (e.weight("beta", shape, self.beta_initializer, regularizer=self.beta_regularizer)
                if self.center else None)
        return [e.op("LayerNormalization", x, gamma, beta, axis=axes[0] - n,
                     epsilon=float(self.epsilon))]
