"""Quantised operators: ONNX's own, and those of `ai.ganglion` whose arithmetic is exactly defined.

Activations are int8 or uint8 with one scale and zero point a tensor (scalar inputs); weights int8
with zero point 0 and one scale, or one a output channel; biases int32 of scale x_scale · w_scale.
Requantisation: see `ops.integer`. Sums must fit int32, as `passes.quantized.integer` proves.
None of them has a gradient: networks learn through `ops.fake_quantization`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops import convolution, integer, pooling
from ganglion.ops.attr import get_int
from ganglion.ops.base import (
    GANGLION_DOMAIN,
    Array,
    Attrs,
    Axes,
    Dims,
    Infer,
    Kernel,
    Op,
    Points,
)
from ganglion.ops.inference import infer_by
from ganglion.ops.integer import requant_multiplier
from ganglion.ops.values import static_shape
from ganglion.ops.windows import AVERAGE_READS, CONV_READS, TRANSPOSED_READS

__all__ = ["ROWS", "requant_multiplier"]

Inputs = Sequence[ir.Value | None]
Types = list[tuple[ir.DataType, Dims]]


def _axis_shaped(parameter: Array, x: Array, attrs: Attrs) -> Array:
    """A scale or zero point, scalar, per axis or per block, shaped to broadcast against x."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = get_int(attrs, "axis", 1) % x.ndim
    block = get_int(attrs, "block_size", 0)
    if block:
        return np.take(np.repeat(parameter, block, axis), np.arange(x.shape[axis]), axis)
    return parameter.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def quantize_linear(attrs: Attrs, x: Array, scale: Array, zero_point: Array | None = None
              ) -> tuple[Array]:
    if zero_point is None:
        code = get_int(attrs, "output_dtype", 0) or int(ir.DataType.UINT8)
        zero_point = np.zeros(scale.shape, ir.DataType(code).numpy())
    if zero_point.dtype.kind not in "iu":
        raise UnsupportedOp(f"QuantizeLinear to {zero_point.dtype}: only integers are supported; "
                            "quantise to int8 or uint8")
    if x.dtype.kind != "f":
        x = x.astype(scale.dtype)
    return (integer.quantize_array(x, _axis_shaped(scale, x, attrs),
                                   _axis_shaped(zero_point, x, attrs), zero_point.dtype),)


def _dequantize(attrs: Attrs, x: Array, scale: Array, zero_point: Array | None = None
                ) -> tuple[Array]:
    if zero_point is None:
        zero_point = np.zeros((), x.dtype)
    return (integer.dequantize_array(x, _axis_shaped(scale, x, attrs),
                                     _axis_shaped(zero_point, x, attrs)),)


def _channels(parameter: Array, rank: int) -> Array:
    """A per-channel vector shaped to broadcast against [N, O, spatial...]."""
    return parameter.reshape(-1, *[1] * (rank - 2))


def _scalar(value: Array) -> int:
    return int(value.reshape(()))


def _convolution(sums: Callable[[Attrs, Array, Array], Array]) -> Callable[..., tuple[Array, ...]]:
    def reference(attrs: Attrs, x: Array, x_scale: Array, x_zp: Array, w: Array, w_scale: Array,
                  w_zp: Array, y_scale: Array, y_zp: Array, bias: Array | None = None
                  ) -> tuple[Array, ...]:
        centred = x.astype(np.int64) - _scalar(x_zp)
        per_output = [-1, *[1] * (w.ndim - 1)] if w_zp.size > 1 else []
        acc = sums(attrs, centred, w.astype(np.int64) - w_zp.astype(np.int64).reshape(per_output))
        if bias is not None:
            acc = acc + _channels(bias.astype(np.float64), x.ndim)
        multiplier = requant_multiplier(x_scale.reshape(()), w_scale.reshape(-1),
                                        y_scale.reshape(()))
        lo, hi = integer.clamp_range(attrs, y_zp.dtype)
        return (integer.requantize(acc, _channels(multiplier, x.ndim), _scalar(y_zp), lo, hi,
                                   y_zp.dtype),)

    return reference


def _gemm(attrs: Attrs, a: Array, a_scale: Array, a_zp: Array, b: Array, b_scale: Array,
          b_zp: Array, bias: Array | None, y_scale: Array, y_zp: Array) -> tuple[Array]:
    left = a.astype(np.float64) - _scalar(a_zp)
    right = b.astype(np.float64) - b_zp.astype(np.float64)
    if get_int(attrs, "transA", 0):
        left = left.swapaxes(-1, -2)
    if get_int(attrs, "transB", 0):
        right = (b.astype(np.float64) - b_zp.astype(np.float64).reshape(-1, 1)).T
    acc = left @ right
    if bias is not None:
        acc = acc + bias.astype(np.float64)
    multiplier = requant_multiplier(a_scale.reshape(()), b_scale.reshape(-1), y_scale.reshape(()))
    lo, hi = integer.clamp_range(attrs, y_zp.dtype)
    return (integer.requantize(acc, multiplier, _scalar(y_zp), lo, hi, y_zp.dtype),)


def _matmul(attrs: Attrs, a: Array, a_scale: Array, a_zp: Array, b: Array, b_scale: Array,
            b_zp: Array, y_scale: Array, y_zp: Array) -> tuple[Array]:
    acc = (a.astype(np.float64) - _scalar(a_zp)) @ (b.astype(np.float64) - b_zp.astype(np.float64))
    multiplier = requant_multiplier(a_scale.reshape(()), b_scale.reshape(-1), y_scale.reshape(()))
    lo, hi = integer.clamp_range(attrs, y_zp.dtype)
    return (integer.requantize(acc, multiplier, _scalar(y_zp), lo, hi, y_zp.dtype),)


def _average_pool(attrs: Attrs, x: Array, x_scale: Array, x_zp: Array, y_scale: Array,
                  y_zp: Array) -> tuple[Array]:
    multiplier = requant_multiplier(x_scale.reshape(()), 1.0, y_scale.reshape(()))
    return (integer.average_pool(attrs, x, _scalar(x_zp), multiplier, _scalar(y_zp)),)


def _global_average_pool(attrs: Attrs, x: Array, *parameters: Array) -> tuple[Array]:
    return _average_pool({}, x, *parameters)


def _softmax(attrs: Attrs, x: Array, x_scale: Array, x_zp: Array, y_scale: Array, y_zp: Array
             ) -> tuple[Array]:
    axis = get_int(attrs, "axis", -1)
    return (integer.softmax(x, float(x_scale.reshape(())), float(y_scale.reshape(())),
                            _scalar(y_zp), axis),)


def _table(attrs: Attrs, x: Array, table: Array) -> tuple[Array]:
    return (table[x.astype(np.int64) - np.iinfo(x.dtype).min],)


FLOAT = {row.name: row for row in (*convolution.ROWS, *pooling.ROWS)}


def like_float(name: str, operands: Sequence[int], keep: Sequence[str], dtype: int) -> Infer:
    """Shapes as ONNX infers them for the float operator `name`; dtype of input number `dtype`."""
    def infer(attrs: Attrs, inputs: Inputs) -> Types:
        floats = [_float_twin(inputs[i]) for i in operands]
        kept = {k: v for k, v in attrs.items() if k in keep}
        node = ir.node(name, floats, kept)  # type: ignore[arg-type]
        node.outputs[0].name = "y"
        infer_by(FLOAT[name].infer, node)
        return [(_dtype(inputs[dtype]), static_shape(node.outputs[0]))]

    return infer


def _float_twin(value: ir.Value | None) -> ir.Value:
    given = present(value)
    return ir.Value(name=given.name, type=ir.TensorType(ir.DataType.FLOAT),
                    shape=ir.Shape(static_shape(given)))


def present(value: ir.Value | None) -> ir.Value:
    """A required input. Raises UnsupportedOp when it is absent."""
    if value is None:
        raise UnsupportedOp("a quantised operator lacks an input that it needs; only the bias is "
                            "optional")
    return value


def _dtype(value: ir.Value | None) -> ir.DataType:
    return present(value).dtype or ir.DataType.INT8


def _same(dtype: int) -> Infer:
    """The first input's shape with the dtype of input number `dtype`."""
    return lambda attrs, inputs: [(_dtype(inputs[dtype]), static_shape(present(inputs[0])))]


def _infer_gemm(attrs: Attrs, inputs: Inputs) -> Types:
    a, b = static_shape(present(inputs[0])), static_shape(present(inputs[3]))
    n = b[0] if get_int(attrs, "transB", 0) else b[1]
    rows = (a[1],) if get_int(attrs, "transA", 0) else a[:-1]
    return [(_dtype(inputs[8]), (*rows, n))]


CLAMP_READS = ("lo", "hi")


def _own(name: str, family: str, reference: Callable[..., tuple[Array, ...]], infer: Infer,
         source: str, reads: tuple[str, ...] = (), points: Points | None = None,
         axes: Axes | None = None) -> Op:
    return Op(name, source=source, domain=GANGLION_DOMAIN, codes=True, reads=reads, points=points,
              axes=axes, lower=Kernel(family), reference=reference, infer=infer)


ROWS = (
    Op("QuantizeLinear", source="ONNX QuantizeLinear-21", codes=True, axes=Axes.ROUNDED,
       points=Points(None, 2), divides=True,
       reads=("axis", "block_size", "output_dtype"), lower=Kernel("quantize"),
       reference=quantize_linear),
    Op("DequantizeLinear", source="ONNX DequantizeLinear-21", codes=True, axes=Axes.ROUNDED,
       points=Points(2, None),
       reads=("axis", "block_size"), lower=Kernel("dequantize"), reference=_dequantize),
    Op("QLinearConv", source="ONNX QLinearConv-10", codes=True, reads=CONV_READS,
       lower=Kernel("qlinear_conv"),
       reference=_convolution(integer.conv_sums)),
    Op("QLinearMatMul", source="ONNX QLinearMatMul-21", codes=True, points=Points(2, 7),
       lower=Kernel("qlinear_matmul"), reference=_matmul),
    # (x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, [bias]); attributes of Conv, lo, hi.
    _own("QLinearConv", "qlinear_conv", _convolution(integer.conv_sums),
         like_float("Conv", (0, 3), CONV_READS, 7), "ONNX QLinearConv-10 with a clamp",
         (*CONV_READS, *CLAMP_READS), Points(2, 7)),
    # The same inputs; attributes of ConvTranspose, lo, hi; w_scale is one or one a channel of y.
    _own("QLinearConvTranspose", "qlinear_conv_transpose",
         _convolution(integer.conv_transpose_sums),
         like_float("ConvTranspose", (0, 3), TRANSPOSED_READS, 7),
         "ONNX ConvTranspose-11 on integers", (*TRANSPOSED_READS, *CLAMP_READS)),
    # (a, a_scale, a_zp, b, b_scale, b_zp, [bias], y_scale, y_zp); transA, transB, lo, hi.
    # a: [..., M, K] (transA: [K, M]); b: [K, N] (transB: [N, K]); b_scale: [N] or one.
    _own("QLinearGemm", "qlinear_gemm", _gemm, _infer_gemm, "ONNX Gemm-13 on integers",
         ("transA", "transB", *CLAMP_READS), Points(2, 8)),
    # (x, x_scale, x_zp, y_scale, y_zp) for the rest; attributes of the float operator.
    _own("QLinearAveragePool", "qlinear_pool", _average_pool,
         like_float("AveragePool", (0,), AVERAGE_READS, 4), "ONNX AveragePool-22 on integers",
         AVERAGE_READS, Points(2, 4, tied=True)),
    _own("QLinearGlobalAveragePool", "qlinear_pool", _global_average_pool,
         like_float("GlobalAveragePool", (0,), (), 4), "ONNX GlobalAveragePool-22 on integers",
         points=Points(2, 4, tied=True)),
    _own("QLinearSoftmax", "qlinear_softmax", _softmax, _same(4), "ONNX Softmax-13 on integers",
         ("axis",), Points(2, 4, tied=True)),
    # (x, table [256]): y = table[x - lowest code of x's dtype].
    _own("Table", "table", _table, _same(1), "a function of one 8-bit code, written out",
         axes=Axes.SAME),
)
