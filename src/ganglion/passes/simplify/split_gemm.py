"""A general matrix product in the pieces that the planner fuses again."""

import onnx_ir as ir

from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.linear import whole_factors
from ganglion.ops.named import GEMM
from ganglion.ops.values import attributes, known_shape
from ganglion.passes.base import Pass, before, redirect


class SplitGemm(Pass):
    """Gemm(A, B, C; alpha, beta)  ⇒  Add(Mul(MatMul(Aᵀ?, Bᵀ?), alpha), Mul(C, beta))

    Only where alpha or beta is not 1 or C is not one row: the plain form stays, as one kernel
    computes it. Transposes stay views. Changes rounding. Source: ONNX Gemm-13.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if is_op(node, GEMM) and not _plain(node):
                changed |= _split(model, node)
        return changed


def _factor(node: ir.Node, name: str) -> float:
    attr = node.attributes.get(name)
    return 1.0 if attr is None else attr.as_float()


def _c(node: ir.Node) -> ir.Value | None:
    """C, or None where it is absent or times 0: then not even its NaN counts."""
    c = node.inputs[2] if len(node.inputs) > 2 else None
    return c if _factor(node, "beta") else None


def _plain(node: ir.Node) -> bool:
    c = _c(node)
    if _factor(node, "alpha") != 1.0 or (c is not None and _factor(node, "beta") != 1.0):
        return False
    if node.inputs[1] is None:
        return True
    if c is None:
        return len(node.inputs) < 3 or node.inputs[2] is None
    dims, weights = known_shape(c), known_shape(node.inputs[1])
    if dims is None or weights is None:
        return False
    columns = weights[0 if node.attributes.get_int("transB", 0) else 1]
    return dims in ((columns,), (1, columns))


def _split(model: ir.Model, node: ir.Node) -> bool:
    g = GraphBuilder.extending(model)
    a, b, c = node.inputs[0], node.inputs[1], _c(node)
    if a is None or b is None:
        return False
    if a.dtype is not None and a.dtype.is_integer():
        whole_factors(attributes(node), str(node.name))
    if node.attributes.get_int("transA", 0):
        a = before(node, g.op("Transpose", a, perm=[1, 0]))
    if node.attributes.get_int("transB", 0):
        b = before(node, g.op("Transpose", b, perm=[1, 0]))
    y = before(node, g.op("MatMul", a, b, hint=node.name))
    if _factor(node, "alpha") != 1.0:
        y = before(node, g.op("Mul", y, g.scalar(_factor(node, "alpha"), y)))
    if c is not None:
        if _factor(node, "beta") != 1.0:
            c = before(node, g.op("Mul", c, g.scalar(_factor(node, "beta"), y)))
        y = before(node, g.op("Add", y, c))
    return redirect(node.outputs[0], y)
