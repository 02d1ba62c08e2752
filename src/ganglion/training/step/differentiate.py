"""Reverse-mode differentiation of a Model: the result is a Model again.

Every operator's row says how a gradient passes through it (`Op.vjp`); this file walks the graph
backwards, adds up what meets at a value, and calls the rows. Baydin et al., "Automatic
differentiation in machine learning: a survey" (JMLR 18, 2018), section 3.2.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.guard import check_attributes
from ganglion.ops.registry import find
from ganglion.ops.values import static_shape


def differentiate(model: ir.Model, loss: str, wrt: Sequence[str]) -> ir.Model:
    """A copy of `model` with one more output "grad.NAME" for every name in `wrt`.

    `loss` names a float value of shape [] (or of one element); `wrt` names graph inputs,
    initializers or any other values; each gradient has the shape of its value.
    Raises ModelError when a name is unknown or the loss does not depend on it, UnsupportedOp when
    a node between them has no gradient.
    """
    copy = model.clone()
    g = GraphBuilder.extending(copy)
    values = {v.name: v for v in all_values(copy.graph)}
    for name in (loss, *wrt):
        if name not in values:
            raise ModelError(f"the graph has no value {name!r} to differentiate; it has "
                             f"{sorted(str(n) for n in values)[:20]}")
    found = gradients(g, values[loss], [values[name] for name in wrt])
    for name, gradient in zip(wrt, found):
        if gradient is None:
            raise ModelError(f"{loss!r} does not depend on {name!r}, so it has no gradient; "
                             "leave it out")
        g.output(f"grad.{name}", gradient)
    common.RemoveUnusedNodesPass()(copy)
    return copy


def gradients(g: GraphBuilder, loss: ir.Value,
              wrt: Sequence[ir.Value]) -> list[ir.Value | None]:
    """Appends to the graph what computes d loss / d value for each value of `wrt`.

    None where the loss does not depend on the value. Gradients of values that lie on no path to
    `wrt` may be appended by a row; they are dead code for the caller to remove.
    Raises ModelError when the loss is not one float, UnsupportedOp for a node without a gradient.
    """
    shape = static_shape(loss)
    if loss.dtype is None or not loss.dtype.is_floating_point() or int(np.prod(shape)) != 1:
        raise ModelError(f"the loss {loss.name!r} is {loss.dtype} {list(shape)}; expected one "
                         "float, so reduce it first (ReduceMean)")
    nodes = list(g.graph)
    check_attributes(nodes)
    active = _downstream(nodes, wrt)
    flows: dict[ir.Value, list[ir.Value]] = {
        loss: [g.constant(np.ones(shape, loss.dtype.numpy()))]}
    for node in reversed(nodes):
        if not any(v in active for v in node.inputs if v is not None):
            continue
        if not any(v in flows for v in node.outputs):
            continue
        dys = [_total(g, flows, v) for v in node.outputs]
        for value, dx in zip(node.inputs, _pull_back(g, node, dys)):
            if value is not None and dx is not None and value in active:
                flows.setdefault(value, []).append(dx)
    return [_total(g, flows, v) for v in wrt]


def all_values(graph: ir.Graph) -> list[ir.Value]:
    """Inputs, initializers and node outputs, each once."""
    found = dict.fromkeys([*graph.inputs, *graph.initializers.values()])
    for node in graph:
        found.update(dict.fromkeys(node.outputs))
    return list(found)


def _downstream(nodes: Sequence[ir.Node], start: Sequence[ir.Value]) -> set[ir.Value]:
    reached = set(start)
    for node in nodes:
        if any(v in reached for v in node.inputs if v is not None):
            reached.update(node.outputs)
    return reached


def _total(g: GraphBuilder, flows: dict[ir.Value, list[ir.Value]],
           value: ir.Value) -> ir.Value | None:
    """The sum of the gradients that reached `value`, kept so that it is added up once."""
    parts = flows.get(value)
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = g.op("Add", total, part, hint="grad_sum")
    flows[value] = [total]
    return total


def _pull_back(g: GraphBuilder, node: ir.Node,
               dys: Sequence[ir.Value | None]) -> Sequence[ir.Value | None]:
    row = find(node.domain, node.op_type)
    if row is None or row.vjp is None:
        raise UnsupportedOp(
            f"node {node.name!r} ({node.op_type}) has no gradient, but the loss depends on a "
            "trained value through it; mark the weights in front of it as not trainable "
            f'(metadata "ganglion.trainable" = "false") or replace {node.op_type}')
    return row.vjp(g, node, dys)
