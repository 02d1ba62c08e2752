"""Batch normalisation with fixed statistics is a scale and a shift, which a weight can hold."""

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import ADD, BATCH_NORMALIZATION, MATMUL
from ganglion.ops.values import known_shape
from ganglion.passes.base import Pass, before, only_reader, put, redirect
from ganglion.passes.simplify.affine import Linear, linear_before


class FoldBatchNorm(Pass):
    """Conv(x, w, b) → BatchNormalization  ⇒  Conv(x, w·s, (b − mean)·s + beta)

    s = gamma / sqrt(var + epsilon), shape [O], along the output channels of w; ConvTranspose,
    Gemm, MatMul and MatMul + Add alike. Inference only: a training BatchNormalization, or one
    whose statistics are not constant, stays. Needs the linear operator's result read by the
    BatchNormalization alone. Computed in float64; changes rounding.
    Raises ModelError when the channel counts differ. Source: ONNX BatchNormalization-15.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if not is_op(node, BATCH_NORMALIZATION) \
                    or node.attributes.get_int("training_mode", 0) != 0:
                continue
            linear = linear_before(node.inputs[0], self)
            if linear is not None and linear.axis == 1:
                changed |= self._fold(model, node, linear)
        return changed

    def _fold(self, model: ir.Model, node: ir.Node, linear: Linear) -> bool:
        known = _affine(self, node)
        if known is None:
            return False
        scale, shift = known
        if scale.shape != (linear.channels,):
            raise ModelError(f"node {node.name!r} (BatchNormalization) has statistics of shape "
                             f"{scale.shape}, expected ({linear.channels},) as "
                             f"{linear.node.name!r} gives")
        return replace_linear(model, linear, node, linear.scaled(scale),
                              linear.bias * scale + shift)


class SplitBatchNorm(Pass):
    """BatchNormalization(x)  ⇒  x · s + t;   s = gamma / sqrt(var + epsilon), t = beta − mean · s

    For what `FoldBatchNorm` leaves, and after it: s and t [C, 1, 1] are constants of element-wise
    operators, which fuse and let Transposes pass. Inference only. Changes rounding.
    """

    def rewrite(self, model: ir.Model) -> bool:
        g, changed = GraphBuilder.extending(model), False
        for node in list(model.graph):
            if not is_op(node, BATCH_NORMALIZATION) \
                    or node.attributes.get_int("training_mode", 0) != 0:
                continue
            known, shape = _affine(self, node), node.outputs[0].shape
            if known is None or shape is None or len(shape) < 2:
                continue
            scale, shift = (g.constant(a.astype(np.float32).reshape(-1, *[1] * (len(shape) - 2)),
                                       f"{node.name}_{n}", share=False)
                            for a, n in zip(known, ("scale", "shift")))
            scaled = before(node, g.op("Mul", node.inputs[0], scale, hint=node.name))
            shifted = before(node, g.op("Add", scaled, shift, hint=node.name))
            changed |= redirect(node.outputs[0], shifted)
        return changed


def _affine(reads: Pass, node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift [C] in float64 of a BatchNormalization; None unless all is constant."""
    known = [a.astype(np.float64) for v in node.inputs[1:5]
             if (a := reads.constant(v)) is not None]
    if len(known) != 4:
        return None
    gamma, beta, mean, var = known
    if len({a.shape for a in known}) > 1:
        raise ModelError(f"node {node.name!r} (BatchNormalization) has statistics of the shapes "
                         f"{[a.shape for a in known]}, expected four alike")
    epsilon = node.attributes.get("epsilon")
    scale = gamma / np.sqrt(var + (1e-5 if epsilon is None else epsilon.as_float()))
    return scale, beta - mean * scale


class FoldBias(Pass):
    """Conv(x, w, b) → Add(·, c [O, 1, 1])  ⇒  Conv(x, w, b + c)

    ConvTranspose and Gemm alike, c constant and the same for all pixels. MatMul + Add stays, the
    planner fuses that. Needs the result read by the Add alone. Changes rounding when there is a b.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if is_op(node, ADD):
                changed |= self._fold(model, node, 0) or self._fold(model, node, 1)
        return changed

    def _fold(self, model: ir.Model, node: ir.Node, k: int) -> bool:
        """Folds the Add when its operand k is the linear operator's result."""
        linear = linear_before(node.inputs[k], self)
        constant = self.constant(node.inputs[1 - k])
        if linear is None or constant is None or is_op(linear.node, MATMUL):
            return False
        shape = known_shape(node.outputs[0])
        if shape is None or shape != known_shape(node.inputs[k]):
            return False
        lined_up = (*[1] * (len(shape) - constant.ndim), *constant.shape)
        if constant.size != 1 and lined_up != (1, linear.channels, *[1] * (len(shape) - 2)):
            return False
        shift = linear.bias.astype(np.float64) + constant.reshape(-1)
        return replace_linear(model, linear, node, linear.weight, shift)


def replace_linear(model: ir.Model, linear: Linear, last: ir.Node, weight: np.ndarray,
                   bias: np.ndarray) -> bool:
    """Puts the linear operator with other constants in the place of everything up to `last`."""
    if only_reader(linear.end.outputs[0]) is not last:
        return False
    g = GraphBuilder.extending(model)
    node, name = linear.node, linear.node.name or "linear"
    kept = linear.weight is weight
    w = node.inputs[1] if kept else g.constant(weight.astype(np.float32), f"{name}_w", share=False)
    b = g.constant(bias.astype(np.float32), f"{name}_b", share=False)
    if is_op(node, MATMUL):
        product = before(last, g.op("MatMul", node.inputs[0], w, hint=name))
        total = before(last, g.op("Add", product, b))
        for new, old in ((product.producer(), node), (total.producer(), linear.end)):
            if new is not None:
                new.metadata_props.update(old.metadata_props)
        return redirect(last.outputs[0], total)
    made = ir.node(node.op_type, [node.inputs[0], w, b], dict(node.attributes), name=g.fresh(name))
    made.metadata_props.update(node.metadata_props)
    return redirect(last.outputs[0], put(g, last, made).outputs[0])
