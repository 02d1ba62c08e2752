"""Activation functions."""

from ganglion.ops.base import Op, Pointwise
from ganglion.ops.pointwise import binary

ROWS = (
    Op("Relu", source="ONNX Relu-14",
       lower=Pointwise(lambda attrs, x: binary("max", x, 0.0)),
       vjp=lambda g, node, dys: [
           g.op("Where", g.op("Greater", node.outputs[0], g.scalar(0, node.outputs[0])), dys[0],
                g.scalar(0, node.outputs[0]))]),
)
