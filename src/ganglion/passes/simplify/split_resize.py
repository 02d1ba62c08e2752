"""Interpolation is a matrix product along each axis."""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import RESIZE
from ganglion.ops.resize import MAX_WEIGHTS, Axis, interpolation, offset, resize_plan
from ganglion.ops.values import attributes, known_shape
from ganglion.passes.base import Pass, before, redirect

MAX_RESIZED = 1 << 27
"""Elements of its result."""


class SplitResize(Pass):
    """Resize(x, linear or cubic)  ⇒  MatMul with a constant [n, m] along every axis that changes

    The matrices are `ops.resize.interpolation`'s, and an Add where some pixels lie outside the
    image. Needs static shapes, constant sizes and floats. Changes rounding.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            mode = node.attributes.get("mode")
            interpolated = mode is not None and mode.as_string() in ("linear", "cubic")
            if is_op(node, RESIZE) and interpolated:
                changed |= self._split(model, node)
        return changed

    def _split(self, model: ir.Model, node: ir.Node) -> bool:
        y = node.inputs[0]
        unknown = any(v is not None and self.constant(v) is None for v in node.inputs[1:])
        if y is None or known_shape(y) is None or y.dtype != ir.DataType.FLOAT or unknown:
            return False
        g, plan = GraphBuilder.extending(model), resize_plan(node)
        _require_small(node, plan)
        for k, axis in enumerate(plan):
            if not axis.kept:
                y = _resized(g, node, y, k, axis)
        return redirect(node.outputs[0], y)


def _resized(g: GraphBuilder, node: ir.Node, y: ir.Value, k: int, axis: Axis) -> ir.Value:
    """Axis number `k` of y resized; that axis stands last for the product."""
    attrs, rank = attributes(node), len(known_shape(y) or ())
    perm = list(range(rank))
    perm[k], perm[-1] = perm[-1], perm[k]
    last = k == rank - 1
    matrix = interpolation(attrs, axis).T.astype(np.float32)
    turned = y if last else before(node, g.op("Transpose", y, perm=perm))
    product = before(node, g.op("MatMul", turned, g.constant(matrix, f"{node.name}_{k}")))
    added = offset(attrs, axis).astype(np.float32)
    if added.any():
        product = before(node, g.op("Add", product, g.constant(added, f"{node.name}_{k}_outside")))
    return product if last else before(node, g.op("Transpose", product, perm=perm))


def _require_small(node: ir.Node, plan: Sequence[Axis]) -> None:
    """Raises UnsupportedOp where the matrices of the axes together would take too much memory."""
    total = sum(axis.size * axis.count for axis in plan if not axis.kept)
    if total > MAX_WEIGHTS or math.prod(axis.count for axis in plan) > MAX_RESIZED:
        raise UnsupportedOp(
            f"node {node.name!r} (Resize): from {[axis.size for axis in plan]} to "
            f"{[axis.count for axis in plan]} takes matrices of {total} weights, expected at most "
            f"{MAX_WEIGHTS}, and at most {MAX_RESIZED} elements; resize in smaller steps or "
            "outside the network")
