"""The steps in which the sums of an integer product are counted: fine enough for the bias.

A sum of codes is counted in steps of x_scale · w_scale. A channel whose weights are all zero leaves
that step open, and then the bias decides it.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Axes
from ganglion.ops.facts import axes_of, units_of

Array = np.ndarray
INT32_MAX = 2 ** 31 - 1
FINE = 2.0 ** -12
"""Steps of the output in which the sums of a channel without weights are counted."""
LOST = 0.5
"""By how many steps of the output a rounded bias may not be off: the answer would be another."""
FLOAT32 = 2.0 ** -22
"""By what share of itself a float32 that came from a product may be off."""
AT_END = 0.25
"""A step of the output within its end rounds to it up to one half, less what float32 may be off."""
LEAST, MOST = 2.0 ** -120, 2.0 ** 120
"""Bounds of a scale, within which it is a normal float32."""


@dataclass(frozen=True)
class Steps:
    """What the sums of each output channel are counted in: the weights' `scales`, float32 [O], and
    the `bias` in steps of x_scale · w_scale, int64 [O]."""

    scales: Array
    bias: Array

    def lose(self, real: Array, x_step: float, y_step: float) -> bool:
        """Whether a rounded bias is off by more than `LOST`, and by more than float32 itself."""
        error = _error(real, x_step * self.scales.astype(np.float64), y_step)
        return bool((error > np.maximum(LOST, np.abs(real) * FLOAT32 / y_step)).any())


def by_output(node: ir.Node, weights: Array) -> Array:
    """The weights of a Conv, ConvTranspose, Gemm or MatMul (a matrix) as [O, terms]."""
    if axes_of(node) is Axes.SPREAD:
        groups = node.attributes.get_int("group", 1)
        split = weights.reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
        return split.transpose(0, 2, 1, 3).reshape(split.shape[0] * split.shape[2], -1)
    by_unit = np.moveaxis(weights, units_of(node), 0)
    return by_unit.reshape(len(by_unit), -1)


def steps(codes: Array, scales: Array, real: Array, x_step: float, y_step: float) -> Steps:
    """The steps for the weights `codes` [O, terms] of `scales` (one, or [O]) and the bias `real`
    [O]; `x_step`, `y_step`: the scales of what is read and written.

    The step of a channel stays what it is, but where it has no weights and the bias would be off
    by more than `FINE` steps of the output, or leave int32, and where a step of the sum is more
    than one of the output (LiteRT refuses more than 256).
    """
    most = np.abs(codes.astype(np.int64)).max(axis=1, initial=0)
    given = np.broadcast_to(scales.reshape(-1), most.shape).astype(np.float32)
    step = np.maximum(x_step * given.astype(np.float64), np.finfo(np.float64).tiny)
    error = _error(real, step, y_step)
    lost = np.abs(real) > INT32_MAX // 2 * step
    dead = (most == 0) & ((error > FINE) | lost | (step > y_step))
    free = np.maximum(FINE * y_step, np.abs(real) / (INT32_MAX // 2)) / x_step
    free = np.clip(free, LEAST, MOST)
    found = np.where(dead, free, given).astype(np.float32)
    counted = real / (x_step * found.astype(np.float64))
    whole = np.rint(np.clip(counted, -2.0 ** 40, 2.0 ** 40)).astype(np.int64)
    return Steps(found, whole)


def _error(real: Array, step: Array, y_step: float) -> Array:
    return np.asarray(np.abs(np.rint(real / step) * step - real) / y_step)


def held(codes: Array, bias: Array, multiplier: Array, x: tuple[int, int], y: tuple[int, int]
         ) -> Array | None:
    """The bias [O] with which no sum leaves int32, and which gives the same output codes.

    That is 255 · Σ|w| + |bias| ≤ 2^31 - 1, which holds in every order of summation and before
    zero points are taken off. A bias beyond it may be cut where the output is at its end anyway.
    `x`, `y`: the least and the greatest number, zero points taken away. None where there is none.
    """
    w = codes.astype(np.int64)
    allowed = INT32_MAX - 255 * np.abs(w).sum(axis=1)
    cut = np.clip(bias, -np.maximum(allowed, 0), np.maximum(allowed, 0))
    ends = np.stack([w * x[0], w * x[1]])
    least, most = ends.min(axis=0).sum(axis=1) + cut, ends.max(axis=0).sum(axis=1) + cut
    low, high = most * multiplier < y[0] + AT_END, least * multiplier > y[1] - AT_END
    same = (cut == bias) | np.where(bias < cut, low, high)
    return cut if bool(((allowed >= 0) & same).all()) else None
