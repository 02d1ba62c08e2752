"""Softmax and normalisations."""

from collections.abc import Callable, Mapping
from math import prod

import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.normalize import BatchNormSpec, LayerNormSpec
from ganglion.kernels.softmax import SoftmaxSpec
from ganglion.ops.attr import get_float, get_int
from ganglion.ops.facts import kind_of
from ganglion.ops.normalization import first_axis
from ganglion.ops.values import attributes
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View


def lower_softmax(lowerer: Lowerer, node: ir.Node) -> None:
    """Softmax-13 and LogSoftmax-13."""
    x, y = lowerer.dense(lowerer.view(node.inputs[0])), lowerer.new(node.outputs[0])
    axis = get_int(attributes(node), "axis", -1) % len(x.shape)
    spec = SoftmaxSpec("float32", prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1:]),
                       kind_of(node) == "log")
    lowerer.emit(node, "softmax", spec, [x, y])


def lower_layer_norm(lowerer: Lowerer, node: ir.Node) -> None:
    """LayerNormalization-17; with its Mean and InvStdDev outputs where somebody reads them."""
    attrs = attributes(node)
    x = lowerer.dense(lowerer.view(node.inputs[0]))
    axis = first_axis(attrs, len(x.shape))
    gamma, *beta = [_one_row(lowerer, node, lowerer.view(v), x.shape[axis:])
                    for v in node.inputs[1:3] if v is not None]
    statistics = [v for v in node.outputs[1:] if v.uses() or v.is_graph_output()]
    rows, n = prod(x.shape[:axis]), prod(x.shape[axis:])
    spec = LayerNormSpec(rows, n, get_float(attrs, "epsilon", 1e-5), bool(beta), bool(statistics))
    y = lowerer.new(node.outputs[0])
    more = [lowerer.new(v) for v in node.outputs[1:3]] if statistics else []
    lowerer.emit(node, "layer_norm", spec, [x, gamma, *beta, y, *more])


def _one_row(lowerer: Lowerer, node: ir.Node, view: View, shape: tuple[int, ...]) -> View:
    """A factor or summand spread over the axes that are normalised."""
    more = max(0, len(view.shape) - len(shape))
    if prod(view.shape[:more]) != 1:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): a scale or bias of "
                            f"{list(view.shape)} varies along axes that are not normalised; "
                            "multiply and add behind the node")
    row = View(view.storage, view.shape[more:], view.strides[more:], view.offset)
    return lowerer.dense(row.broadcast(shape))


def lower_batch_norm(lowerer: Lowerer, node: ir.Node) -> None:
    """BatchNormalization-15 in training mode; without it, it is element-wise (plan.pointwise)."""
    attrs, x = attributes(node), lowerer.view(node.inputs[0])
    order = (0, *range(2, len(x.shape)), 1)
    x = lowerer.dense(x, order)
    parameters = [lowerer.dense(lowerer.view(v)) for v in node.inputs[1:5]]
    channels = x.shape[1] if len(x.shape) > 1 else 1
    spec = BatchNormSpec(x.size // channels, channels, get_float(attrs, "epsilon", 1e-5),
                         get_float(attrs, "momentum", 0.9),
                         bool(get_int(attrs, "training_mode", 0)))
    y = lowerer.new(node.outputs[0], order)
    more = [lowerer.new(v) for v in node.outputs[1:3]]
    lowerer.emit(node, "batch_norm", spec, [x, *parameters, y, *more])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "softmax": lower_softmax, "layer_norm": lower_layer_norm, "batch_norm": lower_batch_norm}
