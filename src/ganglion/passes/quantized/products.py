"""Islands around one matrix product or convolution ⇒ the integer operator.

See `passes.quantized.integer`.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.convolution import transpose_window
from ganglion.ops.integer import requant_multiplier
from ganglion.ops.named import DEQUANTIZE_LINEAR, MATMUL
from ganglion.ops.values import attributes
from ganglion.passes.base import only_reader
from ganglion.passes.quantized.qdq import (
    Codes,
    Editor,
    array_of,
    is_constant,
    producer,
)
from ganglion.passes.quantized.sums import (
    INT32_MAX,
    Steps,
    by_output,
    held,
    steps,
)


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
    node = producer(value, DEQUANTIZE_LINEAR)
    if node is None or node.inputs[0] is None or not is_constant(node.inputs[0]):
        return None
    scale = node.inputs[1]
    if scale is None or not is_constant(scale) or node.attributes.get_int("block_size", 0) != 0:
        return None
    codes = array_of(node.inputs[0])
    if array_of(scale).size > 1 and node.attributes.get_int("axis", 1) % codes.ndim != axis:
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


@dataclass(frozen=True)
class Factors:
    """What an integer product multiplies by, and adds: int32 in steps of x_scale · w_scale."""

    weights: Weights
    bias: ir.Value | None


def factors(edit: Editor, node: ir.Node, given: ir.Value | None, x: Codes, w: Weights, goal: Goal
            ) -> Factors | None:
    """The weights and the bias of a product; None when the bias is not constant, or would be
    rounded to another answer.

    A float bias, or one stored with another scale, is rounded to the nearest step; a channel
    without weights gets one that is fine enough (`passes.quantized.sums`). Raises ModelError where
    a sum could leave int32.
    """
    codes = by_output(node, array_of(w.value))
    if given is None:
        _held(node, codes, np.zeros(len(codes), np.int64), x, w, goal)
        return Factors(w, None)
    kept = _stored_bias(given, x, w)
    if kept is None:
        real = _real_bias(given)
        if real is None or real.size != len(codes):
            return None
        found = steps(codes, w.scales, real, x.step, goal.codes.step)
        if found.lose(real, x.step, goal.codes.step):
            return None
        w, kept = _counted(edit, w, found), found.bias
    bias = _held(node, codes, kept.astype(np.int64), x, w, goal)
    return Factors(w, _bias_value(edit, given, bias))


def _stored_bias(given: ir.Value, x: Codes, w: Weights) -> np.ndarray | None:
    """The codes of a bias that is stored in steps of x_scale · w_scale already."""
    node = producer(given, DEQUANTIZE_LINEAR)
    if node is None or not all(is_constant(v) for v in node.inputs[:2]):
        return None
    codes, scale = node.inputs[0], node.inputs[1]
    if codes is None or scale is None or codes.dtype != ir.DataType.INT32:
        return None
    step = np.asarray(x.step * w.scales.astype(np.float64)).astype(np.float32)
    same = np.all(array_of(scale).reshape(-1) == step)
    return array_of(codes).reshape(-1) if same else None


def _real_bias(given: ir.Value) -> np.ndarray | None:
    """The numbers of a bias that is constant, or stored as codes."""
    node = producer(given, DEQUANTIZE_LINEAR)
    if is_constant(given):
        return array_of(given).reshape(-1).astype(np.float64)
    if node is None or not all(v is None or is_constant(v) for v in node.inputs):
        return None
    arrays = [None if v is None else array_of(v).reshape(-1) for v in node.inputs]
    codes, scale, zero = [*arrays, None][:3]
    if codes is None or scale is None:
        return None
    centred = codes.astype(np.float64) - (0 if zero is None else zero.astype(np.float64))
    return np.asarray(centred * scale)


def _counted(edit: Editor, w: Weights, found: Steps) -> Weights:
    """The weights in the steps that were found, the given ones where these are the same."""
    if np.all(found.scales == w.scales):
        return w
    return Weights(w.value, edit.constant(found.scales, f"{w.scale.name}_finer"), w.zero)


def _bias_value(edit: Editor, given: ir.Value, codes: np.ndarray) -> ir.Value:
    """The bias as a constant int32 [O]: the stored one where it is that."""
    node = producer(given, DEQUANTIZE_LINEAR)
    stored = None if node is None else node.inputs[0]
    if (stored is not None and stored.dtype == ir.DataType.INT32
            and np.array_equal(array_of(stored).reshape(-1), codes)):
        flat = array_of(stored).ndim == 1
        return stored if flat else edit.constant(codes.astype(np.int32), f"{stored.name}_flat")
    return edit.constant(codes.astype(np.int32), f"{given.name}_int32")


def _held(node: ir.Node, codes: np.ndarray, bias: np.ndarray, x: Codes, w: Weights, goal: Goal
          ) -> np.ndarray:
    """The bias with which no sum leaves int32, whatever the input; ModelError where none does."""
    y = goal.codes
    multiplier = requant_multiplier(x.step, w.scales, y.step).astype(np.float64)
    found = held(codes, bias, multiplier, (x.limits[0] - x.zero_point, x.limits[1] - x.zero_point),
                 (goal.lo - y.zero_point, goal.hi - y.zero_point))
    if found is None:
        bound = 255 * np.abs(codes.astype(np.int64)).sum(axis=1) + np.abs(bias)
        raise ModelError(
            f"node {node.name!r} ({node.op_type}): a sum of {codes.shape[1]} products of 8-bit "
            f"numbers and the bias can reach {int(bound.max(initial=0))}, above the largest int32 "
            f"{INT32_MAX}; quantise the float network with ganglion.quantize, which chooses larger "
            "weight scales, or split the layer")
    return found


def convolution(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(x), DQ(w) → Conv → [Relu | Clip] → Q  ⇒  ai.ganglion::QLinearConv"""
    x = edit.codes(producer(node.inputs[0], DEQUANTIZE_LINEAR))
    w = weights(edit, node.inputs[1], 0)
    if x is None or w is None:
        return None
    return _convolved(edit, node, goal, "QLinearConv", x, w, list(node.attributes.values()))


def transposed(edit: Editor, node: ir.Node, goal: Goal) -> ir.Value | None:
    """DQ(x), DQ(w) → ConvTranspose → [Relu | Clip] → Q  ⇒  ai.ganglion::QLinearConvTranspose"""
    x = edit.codes(producer(node.inputs[0], DEQUANTIZE_LINEAR))
    w = weights(edit, node.inputs[1], 1)
    if x is None or w is None:
        return None
    groups = node.attributes.get_int("group", 1)
    if groups > 1 and w.scales.size > 1:
        # ONNX's axis 1 counts channels within a group; the operator wants one scale a channel.
        w = Weights(w.value, edit.constant(np.tile(w.scales, groups), "weight_scale"), w.zero)
    return _convolved(edit, node, goal, "QLinearConvTranspose", x, w,
                      _explicit_pads(node, array_of(w.value).shape[2:]))


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
               attrs: list[ir.Attr]) -> ir.Value | None:
    given = node.inputs[2] if len(node.inputs) > 2 else None
    made = factors(edit, node, given, x, w, goal)
    if made is None:
        return None
    w = made.weights
    return edit.own(goal.node, name, [x.value, *x.parameters, w.value, w.scale, w.zero,
                                      *goal.codes.parameters, made.bias],
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
    a = edit.codes(producer(node.inputs[0], DEQUANTIZE_LINEAR))
    b = edit.codes(producer(node.inputs[1], DEQUANTIZE_LINEAR))
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
        product = producer(summand, MATMUL)
        if product is None or only_reader(product.outputs[0]) is None:
            continue
        done = _product(edit, product, goal, bias, False, False)
        if done is not None:
            return done
    return None


def _product(edit: Editor, node: ir.Node, goal: Goal, bias: ir.Value | None, trans_a: bool,
             trans_b: bool) -> ir.Value | None:
    a = edit.codes(producer(node.inputs[0], DEQUANTIZE_LINEAR))
    b = weights(edit, node.inputs[1], 0 if trans_b else 1)
    if a is None or b is None or array_of(b.value).ndim != 2:
        return None
    shape = None if a.value is None or a.value.shape is None else a.value.shape
    if shape is None or len(shape) < 2:
        return None
    if bias is not None and not _one_a_column(bias, array_of(b.value).shape[0 if trans_b else 1]):
        return None
    made = factors(edit, node, bias, a, b, goal)
    if made is None:
        return None
    b = made.weights
    return edit.own(goal.node, "QLinearGemm",
                    [a.value, *a.parameters, b.value, b.scale, b.zero, made.bias,
                     *goal.codes.parameters],
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
    given = node.inputs[8] if len(node.inputs) > 8 else None
    if given is not None and not is_constant(given):
        return None
    source, goal = _codes_at(node, 1, x.dtype), _codes_at(node, 6, y.dtype)
    if source is None or goal is None:
        return None
    codes = array_of(shifted.value)
    codes = codes.reshape(codes.shape[0], -1)
    before = np.zeros(len(codes), np.int64) if given is None else array_of(given).astype(np.int64)
    after = _held(node, codes, before, source, shifted, Goal(node, goal, *goal.limits))
    bias = given if given is None or (after == before).all() else edit.constant(
        after.astype(np.int32), f"{given.name}_int32")
    return edit.own(node, "QLinearConv", [*node.inputs[:3], shifted.value, shifted.scale,
                                          shifted.zero, *node.inputs[6:8], bias],
                    y, y.dtype, list(node.attributes.values()), lo=goal.limits[0],
                    hi=goal.limits[1])


def _codes_at(node: ir.Node, k: int, dtype: ir.DataType | None) -> Codes | None:
    """The codes that an operator's constant inputs k (scale) and k + 1 (zero point) speak of."""
    scale, zero = node.inputs[k], node.inputs[k + 1]
    if scale is None or zero is None or not (is_constant(scale) and is_constant(zero)):
        return None
    if dtype is None or array_of(scale).size != 1:
        return None
    return Codes(None, scale, zero, dtype)
