"""Batch normalisation that no weight can hold is one product and one sum."""

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder
from ganglion.passes.base import Pass, before, integer, redirect, standard


class SplitBatchNorm(Pass):
    """BatchNormalization(x)  ⇒  Add(Mul(x, s), beta − mean·s)

    s = gamma / sqrt(var + epsilon), shape [C, 1, ...], both constants computed in float64. For
    inference, after `FoldBatchNorm` has taken what a linear operator can hold; the statistics must
    be constant. Changes rounding. Source: ONNX BatchNormalization-15.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if standard(node, "BatchNormalization") and not integer(node, "training_mode", 0):
                changed |= self._split(model, node)
        return changed

    def _split(self, model: ir.Model, node: ir.Node) -> bool:
        x = node.inputs[0]
        found = [self.constant(v) for v in node.inputs[1:5]]
        known = [a.astype(np.float64) for a in found if a is not None]
        if len(known) != 4 or x is None or x.shape is None:
            return False
        gamma, beta, mean, var = known
        epsilon = node.attributes.get("epsilon")
        scale = gamma / np.sqrt(var + (1e-5 if epsilon is None else epsilon.as_float()))
        along = (-1, *[1] * (len(x.shape) - 2))
        g, name = GraphBuilder.extending(model), node.name or "batch_norm"
        factor, shift = (
            g.constant(a.astype(np.float32).reshape(along), f"{name}_{role}", share=False)
            for a, role in ((scale, "scale"), (beta - mean * scale, "shift")))
        product = before(node, g.op("Mul", x, factor, hint=name))
        return redirect(node.outputs[0], before(node, g.op("Add", product, shift, hint=name)))
