"""Islands around one matrix product or convolution ⇒ the integer operator. See `passes.integer`."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.convolution import transpose_window
from ganglion.ops.graph import attributes
from ganglion.passes.base import integer, only_reader
from ganglion.passes.qdq import (
    Codes,
    Editor,
    array_of,
    is_constant,
    producer,
)

INT32_MAX = 2 ** 31 - 1


@dataclass(frozen=True)
class Goal:
    """Where an island ends: its QuantizeLinear, what that writes, and the clamp before it."""

    node: ir.Node
    codes: Codes
    lo: int
    hi: int

    @property
    def output(self) -> ir.Value:
        return self.node.outputs[0]

    @property
    def clamps(self) -> bool:
        """Whether a fused ReLU or Clip narrows the dtype's own range."""
        return (self.lo, self.hi) != self.codes.limits


@dataclass(frozen=True)
class Weights:
    """Constant int8 weights with zero point 0. `scales`: float32, one or one an output channel."""

    value: ir.Value
    scale: ir.Value
    zero: ir.Value

    @property
    def scales(self) -> np.ndarray:
        return array_of(self.scale).reshape(-1)


def weights(edit: Editor, value: ir.Value | None, axis: int) -> Weights | None:
    """Weights behind a DequantizeLinear of a constant, scaled as a whole or along `axis`.

    Codes of another type or zero point are shifted to int8 with zero point 0 where they fit.
    """
    node = producer(value, "DequantizeLinear")
    if node is None or node.inputs[0] is None or not is_constant(node.inputs[0]):
        return None
    scale = node.inputs[1]
    if scale is None or not is_constant(scale) or integer(node, "block_size", 0):
        return None
    codes = array_of(node.inputs[0])
    if array_of(scale).size > 1 and integer(node, "axis", 1) % codes.ndim != axis:
        return None
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None and not is_constant(zero):
        return None
    return symmetric(edit, node.inputs[0], scale, zero, axis)


def symmetric(edit: Editor, value: ir.Value, scale: ir.Value, zero: ir.Value | None,
              axis: int) -> Weights | None:
    """The same weights as int8 with zero point 0, or None when they do not fit."""
    codes = array_of(value).astype(np.int64)
    shift = np.zeros((), np.int64) if zero is None else array_of(zero).astype(np.int64)
    if shift.size > 1:
        shift = shift.reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
    else:
        shift = shift.reshape(())
    centred = codes - shift
    if centred.size and (centred.min() < -128 or centred.max() > 127):
        return None
    if value.dtype != ir.DataType.INT8 or shift.any():
        value = edit.constant(centred.astype(np.int8), f"{value.name}_int8")
    return Weights(value, scale, edit.zero(ir.DataType.INT8))


def int_bias(edit: Editor, value: ir.Value | None, x: Codes, w: Weights) -> ir.Value | None:
    """The bias as int32 of scale x_scale · w_scale; None when it is not constant.

    A float bias, or one stored with another scale, is rounded to the nearest multiple.
    """
    if value is None:
        return None
    scale = np.asarray(x.step * w.scales.astype(np.float64))
    node = producer(value, "DequantizeLinear")
    if node is not None and node.inputs[0] is not None and is_constant(node.inputs[0]):
        given = node.inputs[1]
        if given is None or not is_constant(given):
            return None
        codes, step = array_of(node.inputs[0]).reshape(-1), array_of(given).reshape(-1)
        plain = node.inputs[0].dtype == ir.DataType.INT32
        if plain and np.all(step == scale.astype(np.float32)):
            return _flat(edit, node.inputs[0], codes)
        real = codes.astype(np.float64) * step
    elif is_constant(value):
        real = array_of(value).reshape(-1).astype(np.float64)
    else:
        return None
    codes = np.clip(np.rint(real / scale), -2.0 ** 40, 2.0 ** 40).astype(np.int64)
    if np.abs(codes).max(initial=0) > INT32_MAX:
        raise ModelError(
            f"bias {value.name!r}: {np.abs(real).max():.3g} is too large for an int32 of scale "
            f"{scale.min():.3g}; use a larger weight scale for that channel")
    return edit.constant(codes.astype(np.int32), f"{value.name}_int32")


def _flat(edit: Editor, value: ir.Value, codes: np.ndarray) -> ir.Value:
    return value if array_of(value).ndim == 1 else edit.constant(codes, f"{value.name}_flat")


def check_sums(node: ir.Node, per_output: np.ndarray, bias: ir.Value | None) -> None:
    """Proves that no sum leaves int32, whatever the input: 255 · Σ|w| + |bias| ≤ 2^31 - 1.

    `per_output`: the int8 weights as [outputs, products]. Raises ModelError.
    """
    bound = 255 * np.abs(per_output.astype(np.int64)).sum(axis=1)
    if bias is not None:
        bound = bound + np.abs(array_of(bias).astype(np.int64))
    worst = int(bound.max(initial=0))
    if worst > INT32_MAX:
        raise ModelError(
            f"node {node.name!r} ({node.op_type}): a sum of {per_output.shape[1]} products of "
            f"8-bit numbers can reach {worst}, above the largest int32 {INT32_MAX}; split the "
            "layer, or leave it out when quantising")


def convolution(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(x), DQ(w) → Conv → [Relu | Clip] → Q  ⇒  ai.ganglion::QLinearConv"""
    x = edit.codes(producer(node.inputs[0], "DequantizeLinear"))
    w = weights(edit, node.inputs[1], 0)
    if x is None or w is None:
        return None
    per_output = array_of(w.value).reshape(array_of(w.value).shape[0], -1)
    return _convolved(edit, node, goal, "QLinearConv", x, w, per_output,
                      list(node.attributes.values()))


def transposed(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(x), DQ(w) → ConvTranspose → [Relu | Clip] → Q  ⇒  ai.ganglion::QLinearConvTranspose"""
    x = edit.codes(producer(node.inputs[0], "DequantizeLinear"))
    w = weights(edit, node.inputs[1], 1)
    if x is None or w is None:
        return None
    codes, groups = array_of(w.value), integer(node, "group", 1)
    if groups > 1 and w.scales.size > 1:
        # ONNX's axis 1 counts channels within a group; the operator wants one scale a channel.
        w = Weights(w.value, edit.constant(np.tile(w.scales, groups), "weight_scale"), w.zero)
    split = codes.reshape(groups, codes.shape[0] // groups, codes.shape[1], -1)
    per_output = split.transpose(0, 2, 1, 3).reshape(groups * codes.shape[1], -1)
    return _convolved(edit, node, goal, "QLinearConvTranspose", x, w, per_output,
                      _explicit_pads(node, codes.shape[2:]))


def _explicit_pads(node: ir.Node, kernel: tuple[int, ...]) -> list[ir.Attr]:
    """A ConvTranspose's attributes with auto_pad and output_shape written as pads."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    spatial = [d for d in list(shape or ())[2:] if isinstance(d, int)]
    if len(spatial) != len(kernel):
        return list(node.attributes.values())
    pads = transpose_window(attributes(node), spatial, kernel).pads
    kept = [a for name, a in node.attributes.items()
            if name not in ("auto_pad", "output_shape", "pads")]
    return [*kept, ir.AttrInt64s("pads", list(pads))]


def _convolved(edit: Editor, node: ir.Node, goal: Goal, name: str, x: Codes, w: Weights,
               per_output: np.ndarray, attrs: list[ir.Attr]) -> ir.Value | None:
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = int_bias(edit, given, x, w)
    if given is not None and bias is None:
        return None
    check_sums(node, per_output, bias)
    return edit.own(goal.node, name, [x.value, *x.parameters, w.value, w.scale, w.zero,
                                      *goal.codes.parameters, bias],
                    goal.output, goal.codes.dtype, attrs, lo=goal.lo, hi=goal.hi)


def gemm(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(a), DQ(b) → Gemm (alpha = beta = 1) → [Relu | Clip] → Q  ⇒  ai.ganglion::QLinearGemm"""
    attrs = attributes(node)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if attrs.get("alpha", 1.0) != 1.0 or (bias is not None and attrs.get("beta", 1.0) != 1.0):
        return None
    return _product(edit, node, goal, bias, bool(attrs.get("transA", 0)),
                    bool(attrs.get("transB", 0)))


def matmul(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(a), DQ(b) → MatMul → Q  ⇒  ai.ganglion::QLinearGemm (b constant, [K, N]), QLinearMatMul

    Two activations need a second operand with zero point 0 and no fused activation.
    """
    done = _product(edit, node, goal, None, False, False)
    if done is not None:
        return done
    a = edit.codes(producer(node.inputs[0], "DequantizeLinear"))
    b = edit.codes(producer(node.inputs[1], "DequantizeLinear"))
    if a is None or b is None or goal.clamps or goal.codes.dtype != a.dtype:
        return None
    if b.zero_point != 0 or b.dtype != ir.DataType.INT8:
        return None
    depth = None if b.value is None or b.value.shape is None else b.value.shape[-2]
    if not isinstance(depth, int) or depth * 255 * 128 > INT32_MAX:
        return None
    return edit.insert(goal.node, "QLinearMatMul", [a.value, *a.parameters, b.value, *b.parameters,
                                                    *goal.codes.parameters],
                       goal.codes.dtype, goal.output.shape)


def biased_matmul(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(a), DQ(b) → MatMul → Add constant [N] → [Relu | Clip] → Q  ⇒  ai.ganglion::QLinearGemm"""
    for summand, bias in (node.inputs, reversed(node.inputs)):
        product = producer(summand, "MatMul")
        if product is None or only_reader(product.outputs[0]) is None:
            continue
        done = _product(edit, product, goal, bias, False, False)
        if done is not None:
            return done
    return None


def _product(edit: Editor, node: ir.Node, goal: Goal, bias: ir.Value | None, trans_a: bool,
             trans_b: bool) -> ir.Value | None:
    a = edit.codes(producer(node.inputs[0], "DequantizeLinear"))
    b = weights(edit, node.inputs[1], 0 if trans_b else 1)
    if a is None or b is None or array_of(b.value).ndim != 2:
        return None
    per_output = array_of(b.value) if trans_b else array_of(b.value).T
    shape = None if a.value is None or a.value.shape is None else a.value.shape
    if shape is None or len(shape) < 2:
        return None
    if bias is not None and not _one_a_column(bias, per_output.shape[0]):
        return None
    c = int_bias(edit, bias, a, b)
    if bias is not None and c is None:
        return None
    check_sums(node, per_output, c)
    return edit.own(goal.node, "QLinearGemm",
                    [a.value, *a.parameters, b.value, b.scale, b.zero, c, *goal.codes.parameters],
                    goal.output, goal.codes.dtype, transA=int(trans_a), transB=int(trans_b),
                    lo=goal.lo, hi=goal.hi)


def _one_a_column(bias: ir.Value, columns: int) -> bool:
    dims = [] if bias.shape is None else list(bias.shape)
    return bool(dims) and dims[-1] == columns and all(d == 1 for d in dims[:-1])


def adopt_convolution(edit: Editor, node: ir.Node) -> ir.Value | None:
    """ONNX's QLinearConv ⇒ ai.ganglion::QLinearConv; weights shifted to zero point 0"""
    x, w = node.inputs[0], node.inputs[3]
    scale, zero = node.inputs[4], node.inputs[5]
    y = node.outputs[0]
    if w is None or scale is None or not all(is_constant(v) for v in (w, scale, zero)):
        return None
    shifted = symmetric(edit, w, scale, zero, 0)
    if shifted is None or x is None or y.dtype is None:
        return None
    bias = node.inputs[8] if len(node.inputs) > 8 else None
    codes = array_of(shifted.value)
    if bias is not None and not is_constant(bias):
        return None
    check_sums(node, codes.reshape(codes.shape[0], -1), bias)
    info = np.iinfo(y.dtype.numpy())
    return edit.own(node, "QLinearConv", [*node.inputs[:3], shifted.value, shifted.scale,
                                          shifted.zero, *node.inputs[6:8], bias],
                    y, y.dtype, list(node.attributes.values()), lo=int(info.min),
                    hi=int(info.max))
