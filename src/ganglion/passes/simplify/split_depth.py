"""Convolutions and pools over volumes are ones over images."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import onnx_ir as ir

from ganglion.ops.attr import get_int, get_ints
from ganglion.ops.base import Attrs
from ganglion.ops.building import Builder
from ganglion.ops.convolution import transpose_size, transpose_window
from ganglion.ops.facts import row_of
from ganglion.ops.gradients import optional, source
from ganglion.ops.named import (
    AVERAGE_POOL,
    CONV,
    CONV_TRANSPOSE,
    GLOBAL_AVERAGE_POOL,
    GLOBAL_MAX_POOL,
    MAX_POOL,
)
from ganglion.ops.pooling import pool_window
from ganglion.ops.values import attributes, known_shape
from ganglion.ops.windows import Window, padding_mode, window
from ganglion.passes.base import Pass
from ganglion.passes.simplify.lay_open import write_out

Splits = Callable[[Builder, ir.Node], ir.Value]


class SplitDepth(Pass):
    """Conv(x [N, C, D, H, W], w [O, C, k, ...])  ⇒  Conv(the k slices of every window as channels
    [N·D', k·C, H, W], w [O, k·C, ...])

    ConvTranspose: one over images gives k parts, which are added where they overlap. A pool: one of
    every image, then one along the depth; a global one sees D·H rows. Needs known sizes but the
    batch's, and a pool's Indices that nobody reads. Exact for maxima; the rest changes rounding.
    """

    def rewrite(self, model: ir.Model) -> bool:
        return sum(write_out(model, node, _over_images) for node in list(model.graph)) > 0


def _over_images(g: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    row = row_of(node)
    split = None if row is None else SPLITS.get(row.key)
    if split is None or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return None
    x, *weights = [source(node, k) for k in range(min(len(node.inputs), 2))]
    if x.shape is None or len(x.shape) != 5 or not all(isinstance(d, int) for d in x.shape[1:]):
        return None
    if any(known_shape(w) is None for w in weights):
        return None
    return [split(g, node)]


def _sizes(x: ir.Value) -> tuple[int, ...]:
    """[C, D, H, W]."""
    return tuple(d for d in list(x.shape or ())[1:] if isinstance(d, int))


def _flat(w: Window, **more: object) -> Attrs:
    """The attributes of the same window within an image."""
    return {"strides": list(w.strides[1:]), "dilations": list(w.dilations[1:]),
            "pads": [*w.begin[1:], *w.end[1:]], **more}


def _images(g: Builder, x: ir.Value) -> ir.Value:
    """[N, C, D, H, W] as [N·D, C, H, W]."""
    c, _, h, w = _sizes(x)
    return g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1, 3, 4]), g.ints(-1, c, h, w))


def _along(g: Builder, x: ir.Value, axis: int, front: int, back: int) -> ir.Value:
    """Zeros before and behind an axis."""
    rank = len(x.shape or ())
    pads = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = front, back
    return g.op("Pad", x, g.ints(*pads)) if front or back else x


def _cut(g: Builder, x: ir.Value, axis: int, start: int, count: int, step: int = 1) -> ir.Value:
    """`count` elements along an axis."""
    end = start + (count - 1) * step + 1
    return g.op("Slice", x, g.ints(start), g.ints(end), g.ints(axis), g.ints(step))


def _conv(g: Builder, node: ir.Node) -> ir.Value:
    """Channels stand last while the slices are gathered, as the convolution reads them."""
    x, w, bias = source(node, 0), source(node, 1), optional(node, 2)
    attrs, (c, *spatial), (o, inner, *kernel) = (
        attributes(node), _sizes(x), known_shape(w) or ())
    win, groups = window(attrs, spatial, kernel), get_int(attrs, "group", 1)
    depth = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 3, 4, 1]),
                 g.ints(-1, *spatial, groups, inner))
    depth = _along(g, depth, 1, win.begin[0], win.end[0])
    taps = [_cut(g, depth, 1, k * win.dilations[0], win.out[0], win.strides[0])
            for k in range(kernel[0])]
    columns = taps[0] if len(taps) == 1 else g.op("Concat", *taps, axis=5)
    columns = g.op("Transpose", columns, perm=[0, 1, 4, 5, 2, 3])
    columns = g.op("Reshape", columns, g.ints(-1, kernel[0] * c, *spatial[1:]))
    flat = g.op("Reshape", g.op("Transpose", w, perm=[0, 2, 1, 3, 4]),
                g.ints(o, kernel[0] * inner, *kernel[1:]))
    more = [] if bias is None else [bias]
    y = g.op("Conv", columns, flat, *more, attrs=_flat(win, group=groups))
    return g.op("Transpose", g.op("Reshape", y, g.ints(-1, win.out[0], o, *win.out[1:])),
                perm=[0, 2, 1, 3, 4])


def _conv_transpose(g: Builder, node: ir.Node) -> ir.Value:
    """Slice d of part k belongs to slice d · stride + k · dilation of the result."""
    x, w, bias = source(node, 0), source(node, 1), optional(node, 2)
    attrs, (c, *spatial), (_, inner, *kernel) = (
        attributes(node), _sizes(x), known_shape(w) or ())
    win, groups = transpose_window(attrs, spatial, kernel), get_int(attrs, "group", 1)
    size, d, step = transpose_size(attrs, win), spatial[0], win.strides[0]
    flat = g.op("Reshape", g.op("Transpose", w, perm=[0, 2, 1, 3, 4]),
                g.ints(c, kernel[0] * inner, *kernel[1:]))
    inside = dict(_flat(win, group=groups),
                  output_padding=get_ints(attrs, "output_padding", [0, 0, 0])[1:])
    if "output_shape" in attrs:  # may end beyond the windows, which no pads say
        inside.update(output_shape=list(size[1:]), auto_pad=padding_mode(attrs), pads=[0] * 4)
    parts = g.op("ConvTranspose", _images(g, x), flat, attrs=inside)
    parts = g.op("Reshape", parts, g.ints(-1, d, groups, kernel[0], inner, *size[1:]))
    length = max(d * step + win.extent[0] - 1, win.begin[0] + size[0])
    total: ir.Value | None = None
    for k in range(kernel[0]):
        part = g.op("Reshape", _cut(g, parts, 3, k, 1),
                    g.ints(-1, d, 1, groups * inner, *size[1:]))
        part = g.op("Reshape", _along(g, part, 2, 0, step - 1),
                    g.ints(-1, d * step, groups * inner, *size[1:]))
        front = k * win.dilations[0]
        part = _along(g, part, 1, front, length - d * step - front)
        total = part if total is None else g.add(total, part)
    assert total is not None
    y = _cut(g, total, 1, win.begin[0], size[0])
    y = g.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    return y if bias is None else g.add(y, g.op("Unsqueeze", bias, g.ints(1, 2, 3)))


def _pool(g: Builder, node: ir.Node) -> ir.Value:
    x, attrs = source(node, 0), attributes(node)
    c, d, *flat = _sizes(x)
    win = pool_window(attrs, [d, *flat])
    counted: dict[str, object] = {
        k: attrs[k] for k in ("ceil_mode", "count_include_pad") if k in attrs}
    y = g.op(node.op_type, _images(g, x), attrs={
        "kernel_shape": list(win.kernel[1:]), **_flat(win, **counted)})
    y = g.op("Reshape", y, g.ints(-1, d, c, prod(win.out[1:])))
    y = g.op(node.op_type, g.op("Transpose", y, perm=[0, 2, 1, 3]), attrs={
        "kernel_shape": [win.kernel[0], 1], "strides": [win.strides[0], 1],
        "dilations": [win.dilations[0], 1], "pads": [win.begin[0], 0, win.end[0], 0], **counted})
    return g.op("Reshape", y, g.ints(-1, c, *win.out))


def _global_pool(g: Builder, node: ir.Node) -> ir.Value:
    x = source(node, 0)
    c, d, h, w = _sizes(x)
    y = g.op(node.op_type, g.op("Reshape", x, g.ints(-1, c, d * h, w)))
    return g.op("Reshape", y, g.ints(-1, c, 1, 1, 1))


SPLITS: Mapping[tuple[str, str], Splits] = {row.key: split for row, split in (
    (CONV, _conv), (CONV_TRANSPOSE, _conv_transpose), (MAX_POOL, _pool), (AVERAGE_POOL, _pool),
    (GLOBAL_AVERAGE_POOL, _global_pool), (GLOBAL_MAX_POOL, _global_pool))}
