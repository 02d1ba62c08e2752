"""Maximum and average pooling, windowed and global, and their gradients."""

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.attr import get_int, get_ints
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs, Axes, Dims, Kernel, Moves, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import source, target
from ganglion.ops.values import attributes, static_shape
from ganglion.ops.windows import (
    AVERAGE_READS,
    POOL_READS,
    Window,
    cropped,
    offsets,
    padded,
    window,
    windows,
)


def pool_window(attrs: Attrs, spatial: Sequence[int]) -> Window:
    """The window of a pool over an input with these spatial sizes.

    Raises ModelError where one could lie in the padding as a whole, which has no maximum and no
    average."""
    win = window(attrs, spatial, get_ints(attrs, "kernel_shape", []))
    if any(max(b, e) >= width for b, e, width in zip(win.begin, win.end, win.extent)):
        raise ModelError(f"padding {list(win.pads)} is as wide as the window of "
                         f"{list(win.extent)} pixels; a pool needs less")
    return win


CODES = (ir.DataType.INT8, ir.DataType.UINT8)


def _lowest(dtype: np.dtype) -> float:
    return np.iinfo(dtype).min if np.issubdtype(dtype, np.integer) else -np.inf


def max_pool(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """x: [N, C, *spatial]; y: [N, C, *out]. Pixels outside x never win."""
    win = pool_window(attrs, x.shape[2:])
    view = windows(padded(x, win, _lowest(x.dtype)), win)
    return (view.max(axis=tuple(range(-len(win.kernel), 0))),)


def max_pool_grad(attrs: Attrs, x: Array, dy: Array) -> tuple[Array, ...]:
    """dx, shaped as x: [N, C, *spatial]; dy: [N, C, *out] goes to each window's first maximum."""
    win = pool_window(attrs, x.shape[2:])
    wide = padded(x, win, _lowest(x.dtype))
    view = windows(wide, win)
    winner = view.reshape(*dy.shape, -1).argmax(axis=-1)
    dx = np.zeros_like(wide)
    for k, (_, pixels) in enumerate(offsets(win)):
        dx[(slice(None), slice(None), *pixels)] += np.where(winner == k, dy, 0)
    return (cropped(dx, win, x.shape[2:]),)


def counts(attrs: Attrs, spatial: Sequence[int], win: Window) -> Array:
    """[*out]: the pixels that each average is taken over; padding counts with
    count_include_pad, what ceil_mode adds behind it never does."""
    ones = np.ones((1, 1, *spatial))
    if get_int(attrs, "count_include_pad", 0):
        ones = np.pad(ones, [(0, 0), (0, 0), *zip(win.begin, win.end)], constant_values=1)
        win = Window(win.kernel, win.strides, win.dilations, (0,) * len(spatial),
                     (0,) * len(spatial), win.out)
    view = windows(padded(ones, win, 0), win)
    found: Array = view.sum(axis=tuple(range(-len(win.kernel), 0)))[0, 0]
    return np.asarray(np.maximum(found, 1))


def average_pool(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """x: [N, C, *spatial]; y: [N, C, *out]."""
    win = pool_window(attrs, x.shape[2:])
    sums = windows(padded(x, win, 0), win).sum(axis=tuple(range(-len(win.kernel), 0)))
    return ((sums / counts(attrs, x.shape[2:], win)).astype(x.dtype),)


def average_pool_grad(attrs: Attrs, dy: Array) -> tuple[Array, ...]:
    """dx of shape `input_shape` [N, C, *spatial]: each counted pixel gets dy / count."""
    shape = get_ints(attrs, "input_shape", [])
    win = pool_window(attrs, shape[2:])
    share = (dy / counts(attrs, shape[2:], win)).astype(dy.dtype)
    dx = padded(np.zeros(shape, dy.dtype), win, 0)
    for _, pixels in offsets(win):
        dx[(slice(None), slice(None), *pixels)] += share
    return (cropped(dx, win, shape[2:]),)


def _pool_attrs(node: ir.Node) -> dict[str, int | list[int]]:
    """The pool's attributes with auto_pad resolved to pads."""
    attrs = attributes(node)
    win = pool_window(attrs, static_shape(source(node, 0))[2:])
    found: dict[str, int | list[int]] = {
        "kernel_shape": list(win.kernel), "strides": list(win.strides), "pads": list(win.pads),
        "dilations": list(win.dilations), "ceil_mode": get_int(attrs, "ceil_mode", 0)}
    if node.op_type == "AveragePool":
        found["count_include_pad"] = get_int(attrs, "count_include_pad", 0)
    return found


def _max_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
             ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None]
    return [g.op("MaxPoolGrad", source(node, 0), dy, domain=GANGLION_DOMAIN,
                 attrs=_pool_attrs(node))]


def _average_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                 ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None]
    shape = list(static_shape(source(node, 0)))
    return [g.op("AveragePoolGrad", dy, domain=GANGLION_DOMAIN, input_shape=shape,
                 attrs=_pool_attrs(node))]


def _global_max_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                    ) -> list[ir.Value | None]:
    x, dy = source(node, 0), dys[0]
    if dy is None:
        return [None]
    return [g.op("MaxPoolGrad", x, dy, domain=GANGLION_DOMAIN,
                 kernel_shape=list(static_shape(x)[2:]))]


def _global_average_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                        ) -> list[ir.Value | None]:
    x, dy = source(node, 0), dys[0]
    if dy is None:
        return [None]
    return [g.op("Expand", g.mul(dy, 1 / prod(static_shape(x)[2:])), target(g, x))]


def _like_first(attrs: Attrs, inputs: Sequence[ir.Value | None]
                ) -> list[tuple[ir.DataType, Dims]]:
    x = inputs[0]
    if x is None or x.dtype is None or x.shape is None:
        raise ModelError("MaxPoolGrad needs x and dy")
    return [(x.dtype, tuple(x.shape))]


def _like_attribute(attrs: Attrs, inputs: Sequence[ir.Value | None]
                    ) -> list[tuple[ir.DataType, Dims]]:
    dy = inputs[0]
    if dy is None or dy.dtype is None:
        raise ModelError("AveragePoolGrad needs dy")
    return [(dy.dtype, tuple(get_ints(attrs, "input_shape", [])))]


def _pool_types(attrs: Attrs, inputs: Sequence[ir.Value | None], codes: bool = False
                ) -> list[tuple[ir.DataType, Dims]]:
    """ONNX's own inference keeps the window that ceil_mode drops when it would start in the
    padding behind the image. `codes`: whether it also takes int8 and uint8."""
    x = inputs[0]
    if x is None or x.dtype is None or x.shape is None:
        raise ModelError("a pool needs an input with a known shape")
    if not (x.dtype.is_floating_point() or (codes and x.dtype in CODES)):
        raise ModelError(f"a pool takes floats, and a maximum int8 and uint8 too, not {x.dtype} "
                         f"as {x.name!r} is; cast it to float32")
    spatial = [d for d in x.shape[2:] if isinstance(d, int)]
    known = len(spatial) == len(x.shape) - 2
    out: Dims = pool_window(attrs, spatial).out if known else [None] * (len(x.shape) - 2)
    return [(x.dtype, (*x.shape[:2], *out))]


def _global_max(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


def _global_average(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return (x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),)


ROWS = (
    Op("MaxPool", source="ONNX MaxPool-12", axes=Axes.POOLED, reads=POOL_READS,
       lower=Kernel("pool", "max"), vjp=_max_vjp, moves=Moves.PICK, even=True,
       reference=max_pool, infer=partial(_pool_types, codes=True)),
    Op("AveragePool", source="ONNX AveragePool-19", axes=Axes.POOLED, reads=AVERAGE_READS,
       lower=Kernel("pool", "average"), vjp=_average_vjp, even=True,
       reference=average_pool, infer=_pool_types),
    Op("GlobalMaxPool", source="ONNX GlobalMaxPool-1", axes=Axes.POOLED,
       lower=Kernel("global_pool", "max"),
       moves=Moves.PICK, even=True, vjp=_global_max_vjp, reference=_global_max),
    Op("GlobalAveragePool", source="ONNX GlobalAveragePool-1", axes=Axes.POOLED,
       lower=Kernel("global_pool", "average"), even=True, vjp=_global_average_vjp,
       reference=_global_average),
    Op("MaxPoolGrad", source="inputs x, dy; attributes as MaxPool's; output dx",
       domain=GANGLION_DOMAIN, reads=POOL_READS, lower=Kernel("pool_grad", "max"),
       reference=max_pool_grad,
       infer=_like_first),
    Op("AveragePoolGrad", source="input dy; attributes as AveragePool's and input_shape; output dx",
       domain=GANGLION_DOMAIN, reads=(*AVERAGE_READS, "input_shape"),
       lower=Kernel("pool_grad", "average"),
       reference=average_pool_grad,
       infer=_like_attribute),
)
