"""Elements picked, turned round and laid back by known places; pools by a norm. All made of other
operators."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_int, get_ints
from ganglion.ops.base import Array, Attrs, Dims, Made, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import constant_ints, from_front, rank, source
from ganglion.ops.values import attributes, dims, known_shape, numpy_dtype
from ganglion.ops.windows import POOL_READS


def _gather_nd(g: Builder, node: ir.Node) -> Made:
    """Rows of the flattened data, by the places that the indices make together."""
    data, indices = source(node, 0), source(node, 1)
    shape, of = known_shape(data), known_shape(indices)
    if shape is None or of is None:
        return None
    batch = get_int(attributes(node), "batch_dims", 0)
    sizes, rest = shape[batch:batch + of[-1]], shape[batch + of[-1]:]
    strides = [prod(sizes[k + 1:]) for k in range(len(sizes))]
    places = g.mul(from_front(g, indices, g.ints(*sizes)), g.ints(*strides))
    rows = g.op("ReduceSum", places, g.ints(-1), keepdims=0)
    if batch:
        ahead = np.arange(prod(shape[:batch])) * prod(sizes)
        ahead = ahead.reshape(*shape[:batch], *[1] * (len(of) - 1 - batch))
        rows = g.add(rows, g.constant(ahead.astype(np.int64)))
    flat = g.op("Reshape", data, g.ints(prod(shape[:batch + of[-1]]), *rest))
    return [g.op("Gather", flat, rows, axis=0)]


def _reverse_sequence(g: Builder, node: ir.Node) -> Made:
    """The first `sequence_lens` steps of each row in reverse, as rows of steps and batch."""
    x, lengths, attrs = source(node, 0), source(node, 1), attributes(node)
    shape = known_shape(x)
    if shape is None:
        return None
    first = get_int(attrs, "batch_axis", 1) == 0
    if {int(not first), get_int(attrs, "time_axis", 0)} != {0, 1}:
        raise ValueError("batch_axis and time_axis are 0 and 1 in some order")
    steps, batch = (shape[1], shape[0]) if first else shape[:2]
    t, b = np.arange(steps).reshape(-1, 1), np.arange(batch).reshape(1, -1)
    across = g.op("Unsqueeze", lengths, g.ints(1 if first else 0))
    here = g.constant(np.ascontiguousarray(t.T if first else t))
    other = g.sub(g.sub(across, 1), here)
    places = g.where(g.op("Less", here, across), other, here)
    rows = g.add(places, g.constant(np.ascontiguousarray(b.T * steps))) if first else \
        g.add(g.mul(places, batch), g.constant(b))
    flat = g.op("Reshape", x, g.ints(steps * batch, *shape[2:]))
    picked = g.op("Gather", flat, g.op("Reshape", rows, g.ints(-1)), axis=0)
    return [g.op("Reshape", picked, g.ints(*shape))]


def _compress_types(attrs: Attrs, inputs: Sequence[ir.Value | None]
                    ) -> list[tuple[ir.DataType, Dims]]:
    x, condition = inputs[:2]
    if x is None or x.dtype is None or condition is None:
        raise ValueError("the data or the condition is missing")
    known = condition.const_value
    count = None if known is None else int(known.numpy().sum())
    if "axis" not in attrs:
        return [(x.dtype, [count])]
    shape: list[int | str | None] = dims(x)
    shape[get_int(attrs, "axis", 0)] = count
    return [(x.dtype, shape)]


def _compress(g: Builder, node: ir.Node) -> Made:
    """By a condition that is constant; how much another one keeps is not known when building."""
    x, attrs = source(node, 0), attributes(node)
    chosen = [k for k, held in enumerate(constant_ints(node, 1)) if held]
    if "axis" not in attrs:
        x = g.op("Reshape", x, g.ints(-1))
    return [g.op("Gather", x, g.ints(*chosen), axis=get_int(attrs, "axis", 0))]


def _eye_like(g: Builder, node: ir.Node) -> Made:
    x, attrs = source(node, 0), attributes(node)
    shape = known_shape(x)
    if shape is None:
        return None
    dtype = ir.DataType(get_int(attrs, "dtype", (x.dtype or ir.DataType.FLOAT).value))
    rows, columns = shape
    eye = np.eye(rows, columns, get_int(attrs, "k", 0), dtype.numpy())
    return [g.op("Identity", g.constant(eye, "eye"))]


def _to_power(g: Builder, x: ir.Value, p: int) -> ir.Value:
    if p == 1:
        return g.op("Abs", x)
    return g.mul(x, x) if p == 2 else g.op("Pow", g.op("Abs", x), g.scalar(p, x))


def _root(g: Builder, x: ir.Value, p: int) -> ir.Value:
    if p == 1:
        return x
    return g.op("Sqrt", x) if p == 2 else g.op("Pow", x, g.scalar(1 / p, x))


def _norm_pool(g: Builder, node: ir.Node) -> Made:
    """The average of the powers times the window's size, padding counted as zeros."""
    x, attrs = source(node, 0), attributes(node)
    if get_int(attrs, "ceil_mode", 0):
        raise UnsupportedOp(f"node {node.name!r} (LpPool): ceil_mode=1, of which ONNX does not say "
                            "what the last window holds; pad the input in its place")
    p, window = get_int(attrs, "p", 2), prod(get_ints(attrs, "kernel_shape", []))
    kept = {k: v for k, v in attrs.items() if k != "p"}
    mean = g.op("AveragePool", _to_power(g, x, p), count_include_pad=1, attrs=kept)
    return [_root(g, g.mul(mean, window), p)]


def _global_norm_pool(g: Builder, node: ir.Node) -> Made:
    x, p = source(node, 0), get_int(attributes(node), "p", 2)
    return [_root(g, g.total(_to_power(g, x, p), range(2, rank(x))), p)]


def _global_norm_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """ONNX's own reference does not have it."""
    p, axes = get_int(attrs, "p", 2), tuple(range(2, x.ndim))
    return (np.asarray((np.abs(x) ** p).sum(axes, keepdims=True) ** (1 / p), x.dtype),)


def _columns_to_image(g: Builder, node: ir.Node) -> Made:
    """A transposed convolution of each channel with filters that hold a single 1."""
    x, attrs = source(node, 0), attributes(node)
    image, block = constant_ints(node, 1), constant_ints(node, 2)
    ones, count = [1] * len(block), prod(block)
    strides, dilations = get_ints(attrs, "strides", ones), get_ints(attrs, "dilations", ones)
    pads = get_ints(attrs, "pads", [0] * 2 * len(block))
    channels = dims(x)[1]
    if not isinstance(channels, int):
        return None
    reach = [d * (n - 1) + 1 for n, d in zip(block, dilations)]
    around = [n + pads[k] + pads[k + len(block)] for k, n in enumerate(image)]
    steps = [(n - r) // s + 1 for n, r, s in zip(around, reach, strides)]
    more = [(n - r) % s for n, r, s in zip(around, reach, strides)]
    filters = np.eye(count).reshape(count, 1, *block)
    columns = g.op("Reshape", x, g.ints(-1, count, *steps))
    y = g.op("ConvTranspose", columns, g.constant(filters.astype(numpy_dtype(x))),
             strides=strides, dilations=dilations, pads=pads, output_padding=more)
    return [g.op("Reshape", y, g.ints(-1, channels // count, *image))]


ROWS = (
    Op("GatherND", source="ONNX GatherND-13", reads=("batch_dims",), made_of=_gather_nd),
    Op("ReverseSequence", source="ONNX ReverseSequence-10", reads=("batch_axis", "time_axis"),
       made_of=_reverse_sequence),
    Op("Compress", source="ONNX Compress-11", reads=("axis",), made_of=_compress,
       infer=_compress_types),
    Op("EyeLike", source="ONNX EyeLike-9", reads=("dtype", "k"), made_of=_eye_like),
    Op("LpPool", source="ONNX LpPool-18", reads=("p", *POOL_READS), made_of=_norm_pool),
    Op("GlobalLpPool", source="ONNX GlobalLpPool-2", reads=("p",), made_of=_global_norm_pool,
       reference=_global_norm_reference),
    Op("Col2Im", source="ONNX Col2Im-18", reads=("dilations", "pads", "strides"),
       made_of=_columns_to_image),
)
