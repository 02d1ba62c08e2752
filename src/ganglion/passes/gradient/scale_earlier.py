"""A factor of a product, multiplied into its smaller operand."""

import onnx_ir as ir

from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import GEMM, MATMUL, MUL
from ganglion.ops.values import known_shape
from ganglion.passes.base import (
    Pass,
    before,
    bytes_of,
    only_reader,
    redirect,
)


class ScaleEarlier(Pass):
    """Mul(MatMul(A, B), s)  ⇒  MatMul(A, Mul(B, s))

    For a computed scalar s, such as a learning rate, and B (or A) smaller than the product; also
    for a Gemm without C. A weight's gradient times the rate then is the product itself, which the
    planner takes off the weight in place: no gradient is stored. Changes rounding.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if is_op(node, MUL):
                changed |= _move(model, node)
        return changed


def _move(model: ir.Model, node: ir.Node) -> bool:
    for value, scale in (node.inputs, reversed(node.inputs)):
        product = None if value is None else value.producer()
        if (value is None or scale is None or product is None or not _plain(product)
                or only_reader(value) is not node or known_shape(scale) != ()
                or scale.const_value is not None):
            continue
        side = min((0, 1), key=lambda k: _size(product.inputs[k]))
        operand = product.inputs[side]
        if operand is None or bytes_of(operand) >= bytes_of(value) or not _ready(scale, product):
            continue
        g = GraphBuilder.extending(model)
        product.replace_input_with(side, before(product, g.op("Mul", operand, scale)))
        return redirect(node.outputs[0], value)
    return False


def _plain(node: ir.Node) -> bool:
    if is_op(node, MATMUL):
        return True
    return is_op(node, GEMM) and (len(node.inputs) < 3 or node.inputs[2] is None)


def _size(value: ir.Value | None) -> int:
    return 0 if value is None else bytes_of(value)


def _ready(scale: ir.Value, product: ir.Node) -> bool:
    """Whether the scalar is there before the product: given to the network, or made earlier."""
    maker, graph = scale.producer(), product.graph
    if maker is None or graph is None:
        return maker is None
    order = {node: k for k, node in enumerate(graph)}
    return order[maker] < order[product]
