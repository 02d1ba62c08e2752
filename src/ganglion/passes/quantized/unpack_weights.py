"""Weights that are stored as integers and multiplied as floats."""

import onnx_ir as ir

from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_op, is_recurrent
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import DEQUANTIZE_LINEAR
from ganglion.passes.base import Pass, redirect


class UnpackWeights(Pass):
    """w = DequantizeLinear(codes, scale)  ⇒  w = (codes - zero_point) · scale

    For constant codes, once no integer operator takes them: a float kernel wants its weights packed
    beforehand, and unpacking at every call would cost the time and a layer's weights of memory.
    Weights of recurrent layers stay, as their kernels unpack what they read. Exact.
    """

    def rewrite(self, model: ir.Model) -> bool:
        g = GraphBuilder.extending(model)
        changed = False
        for node in list(model.graph):
            value = node.outputs[0]
            if not is_op(node, DEQUANTIZE_LINEAR) or value.is_graph_output() or any(
                    is_recurrent(use.node) for use in value.uses()):
                continue
            arrays = [self.constant(v) for v in node.inputs]
            if any(a is None and v is not None for a, v in zip(arrays, node.inputs)):
                continue
            constant = g.constant(evaluate_node(node, arrays)[0], f"{value.name}_unpacked",
                                  share=False)
            changed |= redirect(value, constant)
        return changed
