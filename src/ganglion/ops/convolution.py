"""Convolution, transposed convolution and the weight gradient of both."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.attr import get_int, get_ints
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs, Axes, Dims, Kernel, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import optional, rank, source
from ganglion.ops.values import attributes, static_shape
from ganglion.ops.windows import (
    CONV_READS,
    TRANSPOSED_READS,
    Window,
    cropped,
    offsets,
    padded,
    padding_mode,
    window,
    windows,
)


def _columns(x: Array, w: Window, group: int) -> Array:
    """Every window as a column: [N, group, positions, C / group * kernel]."""
    n, c = x.shape[:2]
    size = len(w.kernel)
    view = windows(padded(x, w, 0), w)
    view = view.reshape(n, group, c // group, *w.out, *w.kernel)
    order = (0, 1, *range(3, 3 + size), 2, *range(3 + size, 3 + 2 * size))
    return view.transpose(order).reshape(n, group, prod(w.out), -1)


def conv(attrs: Attrs, x: Array, w: Array, b: Array | None = None) -> tuple[Array, ...]:
    """x: [N, C, *spatial]; w: [O, C / group, *kernel]; b: [O]; y: [N, O, *out]."""
    win = window(attrs, x.shape[2:], w.shape[2:])
    group = get_int(attrs, "group", 1)
    if x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise ModelError(f"{x.shape[1]} channels and weights {list(w.shape)} do not make "
                         f"{group} groups")
    weights = w.reshape(group, w.shape[0] // group, -1)
    y = np.matmul(weights, _columns(x, win, group).swapaxes(2, 3))
    y = y.reshape(x.shape[0], w.shape[0], *win.out)
    if b is not None:
        y = y + b.reshape(-1, *[1] * len(win.out))
    return (y,)


def conv_weight_grad(attrs: Attrs, x: Array, dy: Array) -> tuple[Array, ...]:
    """dw: [O, C / group, *kernel_shape] for x: [N, C, *spatial], dy: [N, O, *out]."""
    win = window(attrs, x.shape[2:], get_ints(attrs, "kernel_shape", []))
    group = get_int(attrs, "group", 1)
    n, o = dy.shape[:2]
    rows = dy.reshape(n, group, o // group, -1)
    dw = np.matmul(rows, _columns(x, win, group)).sum(axis=0)
    return (dw.reshape(o, x.shape[1] // group, *win.kernel),)


def transpose_window(attrs: Attrs, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of a ConvTranspose over an input with these spatial sizes.

    It is that of the convolution whose input gradient this is: `out` is the number of windows
    (the input's own spatial size). The output's size is `transpose_size`.
    """
    size = len(spatial)
    strides = get_ints(attrs, "strides", [1] * size)
    dilations = get_ints(attrs, "dilations", [1] * size)
    extra = get_ints(attrs, "output_padding", [0] * size)
    full = [s * (n - 1) + p + (k - 1) * d + 1
            for s, n, p, k, d in zip(strides, spatial, extra, kernel, dilations)]
    mode = padding_mode(attrs)
    if mode in ("NOTSET", "VALID") and "output_shape" not in attrs:
        pads = get_ints(attrs, "pads", [0] * (2 * size)) if mode == "NOTSET" else [0] * (2 * size)
        begin, end = pads[:size], pads[size:]
    else:
        wanted = get_ints(attrs, "output_shape", [n * s for n, s in zip(spatial, strides)])
        # Where more is wanted than the windows reach, the end is longer: its padding is negative.
        total = [f - o for f, o in zip(full, wanted[-size:])]
        if mode.startswith("SAME") and "output_shape" in attrs and min(total) < 0:
            raise UnsupportedOp(f"output_shape {wanted} is more than the windows reach, {full}; "
                                f"with auto_pad={mode} ONNX does not say where the rest lies. "
                                "Leave auto_pad out and give output_padding")
        upper = mode == "SAME_UPPER"
        begin = [max(t // 2 if upper else t - t // 2, 0) for t in total]
        end = [t - b for t, b in zip(total, begin)]
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end),
                  tuple(spatial))


def transpose_size(attrs: Attrs, w: Window) -> tuple[int, ...]:
    """The spatial size of a ConvTranspose's output."""
    extra = get_ints(attrs, "output_padding", [0] * len(w.out))
    return tuple(s * (n - 1) + p + width - b - e for s, n, p, width, b, e in
                 zip(w.strides, w.out, extra, w.extent, w.begin, w.end))


def conv_transpose(attrs: Attrs, x: Array, w: Array, b: Array | None = None) -> tuple[Array, ...]:
    """x: [N, C, *spatial]; w: [C, O / group, *kernel]; b: [O]; y: [N, O, *out]."""
    win = transpose_window(attrs, x.shape[2:], w.shape[2:])
    size = transpose_size(attrs, win)
    group, n = get_int(attrs, "group", 1), x.shape[0]
    if x.shape[1] != w.shape[0] or x.shape[1] % group:
        raise ModelError(f"{x.shape[1]} channels and weights {list(w.shape)} do not make "
                         f"{group} groups")
    weights = w.reshape(group, w.shape[0] // group, -1).swapaxes(1, 2)
    parts = np.matmul(weights, x.reshape(n, group, x.shape[1] // group, -1))
    outputs = w.shape[1] * group
    parts = parts.reshape(n, outputs, *win.kernel, *win.out)
    room = [max(s + b_ + max(e, 0), (c - 1) * step + width) for s, b_, e, c, step, width in
            zip(size, win.begin, win.end, win.out, win.strides, win.extent)]
    y = np.zeros((n, outputs, *room), x.dtype)
    for position, pixels in offsets(win):
        y[(slice(None), slice(None), *pixels)] += parts[(slice(None), slice(None), *position)]
    y = cropped(y, win, size)
    if b is not None:
        y = y + b.reshape(-1, *[1] * len(size))
    return (y,)


def _explicit(win: Window, group: int) -> dict[str, int | list[int]]:
    """A window as Conv's attributes."""
    return {"kernel_shape": list(win.kernel), "strides": list(win.strides), "group": group,
            "dilations": list(win.dilations), "pads": list(win.pads)}


def _bias_grad(g: Builder, node: ir.Node, dy: ir.Value) -> list[ir.Value | None]:
    if optional(node, 2) is None:
        return [None] * (len(node.inputs) - 2)
    return [g.total(dy, [0, *range(2, rank(dy))], keepdims=False)]


def _conv_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
              ) -> list[ir.Value | None]:
    x, w, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    attrs = attributes(node)
    spatial = static_shape(x)[2:]
    win = window(attrs, spatial, static_shape(w)[2:])
    plain = _explicit(win, get_int(attrs, "group", 1))
    rest = [s + b + e - width - step * (n - 1) for s, b, e, width, step, n in
            zip(spatial, win.begin, win.end, win.extent, win.strides, win.out)]
    dx = g.op("ConvTranspose", dy, w, output_padding=rest, attrs=plain)
    dw = g.op("ConvWeightGrad", x, dy, domain=GANGLION_DOMAIN, attrs=plain)
    return [dx, dw, *_bias_grad(g, node, dy)]


def _conv_transpose_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                        ) -> list[ir.Value | None]:
    x, w, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    attrs = attributes(node)
    win = transpose_window(attrs, static_shape(x)[2:], static_shape(w)[2:])
    extra = get_ints(attrs, "output_padding", [0] * len(win.out))
    if any(p >= s for p, s in zip(extra, win.strides)):
        raise UnsupportedOp(f"node {node.name!r} (ConvTranspose): gradient with output_padding "
                            f"{extra} not below strides {list(win.strides)}")
    reached = _reached(g, dy, win)
    plain = _explicit(replace(win, end=tuple(max(e, 0) for e in win.end)),
                      get_int(attrs, "group", 1))
    dx = g.op("Conv", reached, w, attrs=plain)
    dw = g.op("ConvWeightGrad", reached, x, domain=GANGLION_DOMAIN, attrs=plain)
    return [dx, dw, *_bias_grad(g, node, dy)]


def _reached(g: Builder, dy: ir.Value, win: Window) -> ir.Value:
    """The gradient without the rows at the end that no window reaches."""
    axes = [k for k, e in enumerate(win.end) if e < 0]
    if not axes:
        return dy
    return g.op("Slice", dy, g.ints(*[0] * len(axes)), g.ints(*[win.end[k] for k in axes]),
                g.ints(*[k + 2 for k in axes]))


def _weight_grad_types(attrs: Attrs, inputs: Sequence[ir.Value | None]
                       ) -> list[tuple[ir.DataType, Dims]]:
    x, dy = inputs
    if x is None or dy is None or x.dtype is None:
        raise ModelError("ConvWeightGrad needs x and dy")
    channels = static_shape(x)[1] // get_int(attrs, "group", 1)
    return [(x.dtype, (static_shape(dy)[1], channels, *get_ints(attrs, "kernel_shape", [])))]


ROWS = (
    Op("Conv", source="ONNX Conv-11", reads=CONV_READS, lower=Kernel("conv"), weights=(1,),
       axes=Axes.CONVOLVED, units=lambda attrs: 0, added=(2,), learned=(1, 2), even=True,
       vjp=_conv_vjp, reference=conv),
    Op("ConvTranspose", source="ONNX ConvTranspose-11", reads=TRANSPOSED_READS,
       lower=Kernel("conv_transpose"), weights=(1,), added=(2,), learned=(1, 2), even=True,
       axes=Axes.SPREAD, units=lambda attrs: 1,
       vjp=_conv_transpose_vjp, reference=conv_transpose),
    Op("ConvWeightGrad", source="inputs x, dy; attributes as Conv's, kernel_shape given; output dw",
       domain=GANGLION_DOMAIN, reads=CONV_READS, lower=Kernel("conv_weight_grad"),
       reference=conv_weight_grad, infer=_weight_grad_types),
)
