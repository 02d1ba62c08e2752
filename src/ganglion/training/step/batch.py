"""The same Model for another number of rows: training and evaluation run whole batches."""

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder, infer_types
from ganglion.ops.named import EXPAND, RESHAPE
from ganglion.ops.values import static_shape
from ganglion.passes.simplify.fold_constants import FoldSettings


def fix_batch(model: ir.Model, rows: int) -> ir.Model:
    """A copy of `model` whose inputs have `rows` as their first dimension, all shapes known.

    A Reshape or an Expand whose constant target begins with the old batch follows it; arithmetic
    with shapes is done once and for all (`FoldSettings`). Raises ModelError when an input has no
    batch dimension or a shape stays unknown.
    """
    copy = model.clone()
    g, settings = GraphBuilder.extending(copy), FoldSettings()
    old: int | None = None
    for value in copy.graph.inputs:
        if value.is_initializer():
            continue
        if value.shape is None or len(value.shape) == 0:
            raise ModelError(f"input {value.name!r} has shape {value.shape}; expected a batch "
                             "dimension in front, [N, ...]")
        first = value.shape[0]
        old = first if isinstance(first, int) else old
        value.shape = ir.Shape([rows, *list(value.shape)[1:]])
        static_shape(value)
    for node in list(copy.graph):
        if is_op(node, RESHAPE, EXPAND) and old is not None and old != rows:
            _follow(copy.graph, node, old, rows)
        infer_types(node)
        if settings.fold(g, node):
            continue
        for value in node.outputs:
            if value.name and value.uses():
                static_shape(value)
    return copy


def _follow(graph: ir.Graph, node: ir.Node, old: int, rows: int) -> None:
    data, target = node.inputs[0], node.inputs[1]
    if data is None or target is None or target.const_value is None:
        return
    shape = target.const_value.numpy()
    if len(shape) == 0 or shape[0] != old:
        return
    if is_op(node, RESHAPE) and int(np.prod(static_shape(data))) == np.prod(shape):
        return
    name = f"{node.name}.batch_{rows}"
    fixed = np.concatenate([[rows], shape[1:]]).astype(np.int64)
    value = ir.Value(name=name, const_value=ir.tensor(fixed, name=name),
                     type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(fixed.shape))
    graph.register_initializer(value)
    node.replace_input_with(1, value)
