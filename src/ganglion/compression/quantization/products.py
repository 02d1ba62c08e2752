"""The codes of one product: its weights, and its bias in steps of the sum."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.scales import HIGH, Scale, quantized_weights, weight_scales
from ganglion.compression.quantization.sites import WeightRounding
from ganglion.errors import ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.named import MATMUL
from ganglion.passes.quantized.sums import INT32_MAX, by_output, steps

BIAS_STEPS = 2.0 ** 30
"""A bias stays below so many steps, so that sums keep clear of int32's end."""
MARGIN = 1.01
"""By how much more than its share a scale grows, for the rounding of the codes."""


@dataclass(frozen=True)
class Ends:
    """The codes that a product reads, and those that it gives (None where it gives floats)."""

    x: Scale
    y: Scale | None


@dataclass(frozen=True)
class ProductCodes:
    """`codes`: int8, as the weights lie; `scale`: float32, one or one a channel; `bias` [O]: int32
    in steps of x_scale · scale, or numbers in float32 where a single scale is too coarse for a
    channel without weights; None without one."""

    codes: np.ndarray
    scale: np.ndarray
    bias: np.ndarray | None


def product_codes(node: ir.Node, weights: np.ndarray, bias: np.ndarray | None, ends: Ends,
                  axis: int | None, form: WeightRounding) -> ProductCodes:
    """Symmetric weights with one scale, or one along `axis`, and the bias (float64 [1] or [O]).

    Scales follow from the largest weight, or are the learned ones; they are larger where a sum
    could leave int32. Where a channel has no weights, the bias decides (`passes.quantized.sums`).
    Raises ModelError for numbers that no float32 scale can hold.
    """
    natural = _natural(weights, axis, form)
    if weights.ndim > 2 and is_op(node, MATMUL):
        return ProductCodes(quantized_weights(weights, natural, axis, form.high), natural, None)
    outputs = by_output(node, weights)
    real = _reached(outputs, bias, natural, ends)
    scale = _float32(node, np.maximum(natural, _least(real, ends.x, axis)), ends.x)
    codes = quantized_weights(weights, scale, axis, form.high)
    while (growth := _growth(by_output(node, codes), axis)).max(initial=1.0) > 1:
        scale = _float32(node, scale * growth, ends.x)
        codes = quantized_weights(weights, scale, axis, form.high)
    own = 0.0 if real is None else float(np.abs(real).max(initial=0.0)) / HIGH
    y_step = ends.y.scale if ends.y else own or 1.0
    return _counted(codes, by_output(node, codes), scale, real, (ends.x.scale, y_step))


def _counted(codes: np.ndarray, outputs: np.ndarray, scale: np.ndarray, real: np.ndarray | None,
             ends: tuple[float, float]) -> ProductCodes:
    """The bias in steps of the sum; `outputs`: the codes as [O, terms]."""
    given = np.zeros(len(outputs)) if real is None else real
    found = steps(outputs, scale, given, *ends)
    if scale.size == 1 and not codes.any():
        scale = found.scales.min(keepdims=True).reshape(scale.shape)
        found = steps(outputs, scale, given, *ends)
    elif scale.size == len(outputs):
        scale = found.scales.reshape(scale.shape)
    if real is None:
        return ProductCodes(codes, scale, None)
    if (found.scales == scale).all():
        return ProductCodes(codes, scale, found.bias.astype(np.int32))
    counted = found.bias * (ends[0] * found.scales.astype(np.float64))
    return ProductCodes(codes, scale, np.asarray(counted, np.float32))


def _natural(weights: np.ndarray, axis: int | None, form: WeightRounding) -> np.ndarray:
    """The scales that the weights alone ask for, or the learned ones."""
    return (weight_scales(weights, axis, form.high) if form.scale is None
            else np.asarray(form.scale, np.float32))


def _reached(outputs: np.ndarray, bias: np.ndarray | None, natural: np.ndarray, ends: Ends
             ) -> np.ndarray | None:
    """The bias [O]; one that stands alone, or would make the weights coarser, is cut where the
    output is at the end of its codes anyway, whatever is read."""
    if bias is None or bias.size not in (1, len(outputs)):
        return None
    real = np.broadcast_to(bias, outputs.shape[:1])
    if ends.y is None:
        return real
    reach = np.abs(outputs.astype(np.float64)).sum(axis=1) * max(map(abs, ends.x.limits))
    low, high = ends.y.limits
    cut = np.clip(real, low - reach - ends.y.scale, high + reach + ends.y.scale)
    coarser = np.abs(real) > BIAS_STEPS * ends.x.scale * natural.reshape(-1)
    return np.asarray(np.where(coarser | (reach == 0), cut, real))


def _least(real: np.ndarray | None, x: Scale, axis: int | None) -> np.ndarray | float:
    """Scales are not below this, so that the bias stays below `BIAS_STEPS`."""
    if real is None:
        return 0.0
    needed = np.abs(real) / (BIAS_STEPS * x.scale)
    return needed if axis is not None else float(needed.max(initial=0.0))


def _growth(codes: np.ndarray, axis: int | None) -> np.ndarray:
    """By what scales must grow so that 255 · Σ|w| leaves room for the bias; 1 where they need
    not."""
    share = 255.0 * np.abs(codes.astype(np.int64)).sum(axis=1) / (INT32_MAX - BIAS_STEPS)
    growth = np.where(share > 1, share * MARGIN, 1.0)
    return growth if axis is not None else growth.max(initial=1.0)


def _float32(node: ir.Node, scale: np.ndarray, x: Scale) -> np.ndarray:
    if not np.max(scale, initial=0.0) * max(x.scale, 1.0) < np.finfo(np.float32).max:
        raise ModelError(f"node {node.name!r} ({node.op_type}): its weights and bias need the "
                         f"scale {float(np.max(scale)):.3g} behind inputs of the scale "
                         f"{x.scale:.3g}, more than float32 holds; normalise what the layer reads, "
                         "or calibrate with typical rows")
    return np.asarray(scale, np.float32)
