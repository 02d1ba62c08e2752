"""Linear interpolation is a matrix product along each axis."""

import math

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.base import Array
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.base import Pass, before, known_shape, redirect, standard

MAX_MATRICES = 1 << 24
"""Weights of the matrices of one Resize: an axis of 4096 made another one of 4096 takes so many."""
MAX_RESIZED = 1 << 27
"""Elements of its result."""


class SplitResize(Pass):
    """Resize(x, linear)  ⇒  MatMul with a constant [n, m] along every axis that changes

    The matrix of an axis is what the operator itself makes of the unit vectors, so every
    coordinate rule of ONNX Resize-19 is covered; linear interpolation is separable. Needs static
    shapes and constant sizes. Changes rounding.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            mode = node.attributes.get("mode")
            if standard(node, "Resize") and mode is not None and mode.as_string() == "linear":
                changed |= self._split(model, node)
        return changed

    def _split(self, model: ir.Model, node: ir.Node) -> bool:
        x, before_shape = node.inputs[0], known_shape(node.inputs[0])
        after_shape = known_shape(node.outputs[0])
        others = [self.constant(v) for v in node.inputs[1:]]
        unknown = any(v is not None and a is None for v, a in zip(node.inputs[1:], others))
        if x is None or before_shape is None or after_shape is None or unknown:
            return False
        _require_small(node, before_shape, after_shape)
        g, y = GraphBuilder.extending(model), x
        last = len(before_shape) - 1
        for axis, (n, m) in enumerate(zip(before_shape, after_shape)):
            if n == m:
                continue
            matrix = g.constant(_matrix(node, others, before_shape, axis), f"{node.name}_{axis}")
            perm = list(range(last + 1))
            perm[axis], perm[last] = last, axis
            turned = y if axis == last else before(node, g.op("Transpose", y, perm=perm))
            product = before(node, g.op("MatMul", turned, matrix))
            y = product if axis == last else before(node, g.op("Transpose", product, perm=perm))
        return redirect(node.outputs[0], y)


def _require_small(node: ir.Node, before_shape: tuple[int, ...], after_shape: tuple[int, ...]
                   ) -> None:
    """Raises UnsupportedOp where the matrices of the axes together would take too much memory."""
    total = sum(n * m for n, m in zip(before_shape, after_shape) if n != m)
    if total > MAX_MATRICES or math.prod(after_shape) > MAX_RESIZED:
        raise UnsupportedOp(f"node {node.name!r} (Resize): from {list(before_shape)} to "
                            f"{list(after_shape)} takes matrices of {total} weights, expected at "
                            f"most {MAX_MATRICES}; resize in smaller steps or outside the network")


def _matrix(node: ir.Node, others: list[Array | None], shape: tuple[int, ...], axis: int) -> Array:
    """[n, m]: row i is what interpolation along `axis` makes of the i-th unit vector."""
    n = shape[axis]
    rows = []
    for i in range(n):
        unit = np.zeros(shape, np.float32)
        unit[tuple(i if a == axis else slice(None) for a in range(len(shape)))] = 1.0
        (made,) = evaluate_node(node, [unit, *others])
        rows.append(made[tuple(slice(None) if a == axis else 0 for a in range(len(shape)))])
    return np.stack(rows).astype(np.float32)
