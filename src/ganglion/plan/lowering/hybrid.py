"""Hybrid operators: float activations quantised on the fly, int8 weights, a float epilogue."""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.kernels.hybrid import HybridConvSpec, HybridMatMulSpec
from ganglion.ops.attr import get_int
from ganglion.ops.base import Moves
from ganglion.ops.facts import is_average, is_op, limits_of, movement
from ganglion.ops.named import CLIP
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.lowerer import Fused, Lowerer
from ganglion.plan.lowering.common import (
    CHANNELS_LAST,
    epilogue,
    extras,
    images,
    new_image,
    result_of,
)
from ganglion.plan.lowering.linear import bias_row
from ganglion.plan.lowering.spatial import window
from ganglion.plan.views import View, row_major


def never_negative(value: ir.Value | None) -> bool:
    """Whether nothing below 0 can stand in `value`, by the operator that makes it."""
    node = None if value is None else value.producer()
    if node is None or node.domain != "":
        return False
    if is_op(node, CLIP):
        least = node.inputs[1] if len(node.inputs) > 1 else None
        known = None if least is None or least.is_graph_input() else least.const_value
        return known is not None and bool((known.numpy() >= 0).all())
    moved = movement(node)
    if (moved is not None and moved is not Moves.FILL) or is_average(node):
        read = node.inputs if moved is Moves.JOIN else node.inputs[:1]
        return all(never_negative(v) for v in read)
    return limits_of(node)[0] >= 0


def _scale(lowerer: Lowerer, node: ir.Node, columns: int) -> View:
    """The weights' scales, one an output channel."""
    given = lowerer.array(node.inputs[2], node, "scale").reshape(-1)
    return lowerer.constant(f"{node.name}_scale", np.broadcast_to(given, (columns,)))


def _bias(lowerer: Lowerer, node: ir.Node, fused: Fused | None, columns: int) -> list[View]:
    given = node.inputs[3] if len(node.inputs) > 3 else None
    given = fused.bias if fused is not None and fused.bias is not None else given
    row = None if given is None else bias_row(lowerer, lowerer.view(given), columns)
    return [] if row is None else [row]


def lower_hybrid_conv(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion HybridConv; the pixels of one that mixes channels only are rows of a matrix."""
    fused = lowerer.fused.get(node)
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    w = images(lowerer.view(node.inputs[1]))
    kernel, strides, dilations, pads = window(
        node, static_shape(node.inputs[1])[2:], static_shape(node.inputs[0])[2:])
    groups = get_int(attributes(node), "group", 1)
    (n, c, h, width), o = x.shape, w.shape[0]
    bias = _bias(lowerer, node, fused, o)
    unsigned = never_negative(node.inputs[0])
    spec: HybridConvSpec | HybridMatMulSpec
    if kernel == strides == (1, 1) and not any(pads) and groups == 1:
        family, w = "hybrid_matmul", lowerer.dense(w, (1, 2, 3, 0))
        spec = HybridMatMulSpec(n * h * width, o, c, bool(bias), unsigned, epilogue(fused))
    else:
        family, w = "hybrid_conv2d", lowerer.dense(w, CHANNELS_LAST)
        spec = HybridConvSpec("float32", n, h, width, c, o, kernel, strides, dilations, pads,
                              groups, bool(bias), epilogue=epilogue(fused), unsigned=unsigned)
    others = extras(lowerer, fused, CHANNELS_LAST, as_images=True)
    y = new_image(lowerer, result_of(node, fused))
    lowerer.emit(node, family, spec,
                 [x, w, _scale(lowerer, node, o), *bias, *others, y])


def lower_hybrid_gemm(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion HybridGemm: all rows of a, whatever its rank, are one matrix."""
    fused = lowerer.fused.get(node)
    a, b = (lowerer.dense(lowerer.view(v)) for v in node.inputs[:2])
    k, n = b.shape
    bias = _bias(lowerer, node, fused, n)
    result = result_of(node, fused)
    others = extras(lowerer, fused, row_major(len(result.shape or ())))
    y = lowerer.new(result)
    spec = HybridMatMulSpec(prod(a.shape[:-1]), n, k, bool(bias),
                            never_negative(node.inputs[0]), epilogue(fused))
    lowerer.emit(node, "hybrid_matmul", spec,
                 [a, b, _scale(lowerer, node, n), *bias, *others, y])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "hybrid_conv": lower_hybrid_conv, "hybrid_gemm": lower_hybrid_gemm}
