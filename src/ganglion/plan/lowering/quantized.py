"""Integer operators: the same shapes as the float ones, with a requantisation behind the sum."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.conv2d_spec import Conv2dSpec
from ganglion.kernels.matmul import MatMulSpec, Requant
from ganglion.kernels.rescale import ISAS as RESCALED
from ganglion.kernels.softmax import SoftmaxSpec
from ganglion.kernels.table import TableSpec
from ganglion.ops.attr import get_int
from ganglion.ops.integer import clamp_range, requant_multiplier, softmax_table
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.lowering.common import CHANNELS_LAST, images, new_image
from ganglion.plan.lowering.linear import matrix, product
from ganglion.plan.lowering.spatial import conv_family, pool_spec, transpose_spec, window
from ganglion.plan.views import View


def scale_of(lowerer: Lowerer, node: ir.Node, index: int) -> np.ndarray:
    """A constant scale, [1] or [channels]."""
    return lowerer.array(node.inputs[index], node, "scale").reshape(-1)


def zero_point_of(lowerer: Lowerer, node: ir.Node, index: int) -> int:
    """A constant zero point, one a tensor."""
    zero = lowerer.array(node.inputs[index], node, "zero point").reshape(-1)
    if (zero != zero[0]).any():
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): zero points differ along a "
                            "channel; quantise weights symmetrically")
    return int(zero[0])


def requant(lowerer: Lowerer, node: ir.Node, scales: tuple[int, int, int],
            zero_points: tuple[int, int, int], channels: int) -> tuple[Requant, View]:
    """The requantisation of a sum and its multipliers [channels].

    `scales`, `zero_points`: input numbers of those of x, w and y. Weights must be symmetric.
    """
    x_scale, w_scale, y_scale = (scale_of(lowerer, node, i) for i in scales)
    x_zero, w_zero, y_zero = (zero_point_of(lowerer, node, i) for i in zero_points)
    if w_zero:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): weights have the zero point "
                            f"{w_zero}; quantise weights symmetrically (zero point 0)")
    multiplier = requant_multiplier(x_scale, w_scale, y_scale)
    multiplier = np.broadcast_to(multiplier.reshape(-1), (channels,)).astype(np.float32)
    dtype = lowerer.array(node.inputs[zero_points[2]], node, "zero point").dtype
    lo, hi = clamp_range(attributes(node), dtype)
    given = lowerer.array(node.inputs[zero_points[0]], node, "zero point").dtype
    return (Requant(x_zero, y_zero, lo, hi, "" if given == dtype else str(dtype),
                    bool((multiplier < 1).all())),
            lowerer.constant(f"{node.name}_multiplier", multiplier))


def _fused(lowerer: Lowerer, after: Requant, dtype: str, weights: np.ndarray, bias: list[View],
           multiplier: View) -> Requant:
    """The requantisation told whether its kernels may do it in one step (`kernels.rescale`).

    `weights`: [O, terms]. Looked for only where some variant makes use of it.
    """
    if not after.below_one or not set(RESCALED) & set(lowerer.isas):
        return after
    known = [lowerer.values(b).reshape(-1) for b in bias if b.storage.array is not None]
    if len(known) != len(bias):
        return after
    found = after.rescale(dtype, weights, known[0] if known else None,
                          lowerer.values(multiplier).reshape(-1))
    return replace(after, fused=found is not None)


def _bias(lowerer: Lowerer, node: ir.Node, index: int) -> list[View]:
    value = node.inputs[index] if len(node.inputs) > index else None
    return [] if value is None else [lowerer.dense(lowerer.view(value))]


def lower_qlinear_conv(lowerer: Lowerer, node: ir.Node) -> None:
    """QLinearConv-10, and ai.ganglion's with a clamp."""
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    w = lowerer.dense(images(lowerer.view(node.inputs[3])), CHANNELS_LAST)
    kernel, strides, dilations, pads = window(
        node, static_shape(node.inputs[3])[2:], static_shape(node.inputs[0])[2:])
    after, multiplier = requant(lowerer, node, (1, 4, 6), (2, 5, 7), w.shape[0])
    bias = _bias(lowerer, node, 8)
    weights = lowerer.values(w).reshape(w.shape[0], -1)
    after = _fused(lowerer, after, x.dtype, weights, bias, multiplier)
    n, c, h, width = x.shape
    spec = Conv2dSpec(x.dtype, n, h, width, c, w.shape[0], kernel, strides, dilations, pads,
                      get_int(attributes(node), "group", 1), bool(bias), requant=after)
    y = new_image(lowerer, node.outputs[0])
    lowerer.emit(node, conv_family(spec), spec, [x, w, *bias, multiplier, y])


def lower_qlinear_conv_transpose(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion QLinearConvTranspose."""
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    w = lowerer.dense(images(lowerer.view(node.inputs[3])), CHANNELS_LAST)
    spec = transpose_spec(node, x, w, x.dtype)
    after, multiplier = requant(lowerer, node, (1, 4, 6), (2, 5, 7), spec.o)
    bias = _bias(lowerer, node, 8)
    y = new_image(lowerer, node.outputs[0])
    lowerer.emit(node, "conv_transpose", replace(spec, bias=bool(bias), requant=after),
                 [x, w, *bias, multiplier, y])


def lower_qlinear_gemm(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion QLinearGemm: [..., M, K] · [K, N]."""
    a, b = lowerer.view(node.inputs[0]), lowerer.view(node.inputs[3])
    attrs = attributes(node)
    a = a.transposed((1, 0)) if get_int(attrs, "transA", 0) else a
    b = b.transposed((1, 0)) if get_int(attrs, "transB", 0) else b
    _emit_product(lowerer, node, a, b, (1, 4, 7), (2, 5, 8), _bias(lowerer, node, 6))


def lower_qlinear_matmul(lowerer: Lowerer, node: ir.Node) -> None:
    """QLinearMatMul-21 of symmetric int8 right sides."""
    a, b = lowerer.view(node.inputs[0]), lowerer.view(node.inputs[3])
    _emit_product(lowerer, node, a, b, (1, 4, 6), (2, 5, 7), [])


def _emit_product(lowerer: Lowerer, node: ir.Node, a: View, b: View,
                  scales: tuple[int, int, int], zero_points: tuple[int, int, int],
                  bias: list[View]) -> None:
    factors = product(lowerer, a, b)
    left, trans_a = matrix(lowerer, factors.a)
    right, trans_b = matrix(lowerer, factors.b)
    m, n, k = factors.mnk
    after, multiplier = requant(lowerer, node, scales, zero_points, n)
    many = factors.batch > 1
    if right.storage.array is not None and len(factors.b.shape) == 2:
        weights = lowerer.values(factors.b).T
        after = _fused(lowerer, after, left.dtype, weights, bias, multiplier)
    spec = MatMulSpec(left.dtype, factors.batch, m, n, k, trans_a, trans_b,
                      m * k if many and not factors.a_repeats else 0,
                      k * n if many and not factors.b_repeats else 0,
                      right.storage.array is not None, bool(bias), after)
    y = lowerer.new(node.outputs[0])
    lowerer.emit(node, "matmul", spec, [left, right, *bias, multiplier, y])


def lower_qlinear_pool(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion QLinearAveragePool and QLinearGlobalAveragePool."""
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    multiplier = requant_multiplier(scale_of(lowerer, node, 1), 1.0, scale_of(lowerer, node, 3))
    spec = pool_spec(node, "average", static_shape(node.inputs[0]),
                     static_shape(node.outputs[0]), x.dtype,
                     multiplier=float(multiplier.reshape(())),
                     x_zero_point=zero_point_of(lowerer, node, 2),
                     zero_point=zero_point_of(lowerer, node, 4))
    lowerer.emit(node, "pool", spec, [x, new_image(lowerer, node.outputs[0])])


def lower_qlinear_softmax(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion QLinearSoftmax."""
    x, y = lowerer.dense(lowerer.view(node.inputs[0])), lowerer.new(node.outputs[0])
    axis = get_int(attributes(node), "axis", -1) % len(x.shape)
    x_scale = float(scale_of(lowerer, node, 1)[0])
    spec = SoftmaxSpec(x.dtype, prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1:]),
                       x_scale=x_scale, y_scale=float(scale_of(lowerer, node, 3)[0]),
                       zero_point=zero_point_of(lowerer, node, 4))
    table = lowerer.constant(f"{node.name}_table", softmax_table(x_scale))
    lowerer.emit(node, "softmax", spec, [x, table, y])


def lower_table(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion Table: the elements stay in the order in which they lie."""
    view = lowerer.view(node.inputs[0])
    order = view.order()
    x, y = lowerer.dense(view, order), lowerer.new(node.outputs[0], order)
    table = lowerer.view(node.inputs[1])
    lowerer.emit(node, "table", TableSpec(x.dtype, y.dtype, x.size), [x, table, y])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "qlinear_conv": lower_qlinear_conv, "qlinear_conv_transpose": lower_qlinear_conv_transpose,
    "qlinear_gemm": lower_qlinear_gemm, "qlinear_matmul": lower_qlinear_matmul,
    "qlinear_pool": lower_qlinear_pool, "qlinear_softmax": lower_qlinear_softmax,
    "table": lower_table}
