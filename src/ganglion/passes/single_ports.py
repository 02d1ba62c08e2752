"""A network whose inputs and outputs are float32, for what computes with their numbers."""

import onnx_ir as ir

from ganglion.ops.facts import is_op
from ganglion.ops.named import CAST
from ganglion.passes.base import Pass, redirect

OTHER_WIDTHS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


class SinglePorts(Pass):
    """x: T → Cast to float32 → f → Cast to T → y: T  ⇒  x: float32 → f → y: float32

    T is float16, bfloat16 or float64, as `formats.onnx.floats` leaves the ports of a file. What
    is rounded to T at the ports is not rounded any more.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for value in model.graph.inputs:
            readers = [u.node for u in value.uses()]
            if value.dtype in OTHER_WIDTHS and not value.is_graph_output() and all(
                    is_op(n, CAST) and n.outputs[0].dtype == ir.DataType.FLOAT
                    for n in readers):
                value.dtype = ir.DataType.FLOAT
                for node in readers:
                    changed |= redirect(node.outputs[0], value)
        for value in list(model.graph.outputs):
            maker = value.producer()
            if value.dtype in OTHER_WIDTHS and maker is not None and is_op(maker, CAST):
                source = maker.inputs[0]
                if source is not None and source.dtype == ir.DataType.FLOAT:
                    changed |= redirect(value, source)
        return changed


def single_ports(model: ir.Model) -> ir.Model:
    """The Model itself where its ports have other types anyway, else a copy with float32 ones."""
    if not any(v.dtype in OTHER_WIDTHS for v in (*model.graph.inputs, *model.graph.outputs)):
        return model
    copy = model.clone(deep_copy=True)
    SinglePorts()(copy)
    return copy
