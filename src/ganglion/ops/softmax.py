"""Softmax and its logarithm along one axis."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int
from ganglion.ops.base import Array, Attrs, Kernel, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import rank, source, stops
from ganglion.ops.values import attributes


def softmax(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """exp(x - max) / Σ exp(x - max) along `axis` (default -1)."""
    axis = get_int(attrs, "axis", -1)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True),)


def log_softmax(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """x - max - log Σ exp(x - max) along `axis` (default -1)."""
    axis = get_int(attrs, "axis", -1)
    low = x - x.max(axis=axis, keepdims=True)
    return (low - np.log(np.exp(low).sum(axis=axis, keepdims=True)),)


def _softmax_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                 ) -> list[ir.Value | None]:
    y, dy = node.outputs[0], dys[0]
    if dy is None:
        return [None]
    axis = get_int(attributes(node), "axis", -1) % rank(source(node, 0))
    return [g.mul(y, g.sub(dy, g.total(g.mul(dy, y), [axis])))]


def _log_softmax_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                     ) -> list[ir.Value | None]:
    y, dy = node.outputs[0], dys[0]
    if dy is None:
        return [None]
    axis = get_int(attributes(node), "axis", -1) % rank(source(node, 0))
    return [g.sub(dy, g.mul(g.op("Exp", y), g.total(dy, [axis])))]


ROWS = (
    Op("Softmax", source="ONNX Softmax-13", along=-1, even=True, limits=(0, 1),
       reads=("axis",),
       lower=Kernel("softmax"), vjp=_softmax_vjp,
       reference=softmax),
    Op("LogSoftmax", source="ONNX LogSoftmax-13", along=-1,
       reads=("axis",),
       lower=Kernel("softmax", "log"), vjp=_log_softmax_vjp,
       reference=log_softmax),
    Op("Hardmax", source="ONNX Hardmax-13 (the first of several largest)", along=-1, even=True,
       limits=(0, 1),
       reads=("axis",),
       lower=Kernel("hardmax"), vjp=stops),
)
