"""Convolutions and pools, forward and backward, over channels-last images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.conv2d_spec import Conv2dSpec
from ganglion.kernels.conv_grad import ConvWeightGradSpec
from ganglion.kernels.conv_transpose import ConvTransposeSpec
from ganglion.kernels.grid_sample import GridSampleSpec
from ganglion.kernels.pool import PoolSpec
from ganglion.kernels.pool_grad import PoolGradSpec
from ganglion.ops import windows
from ganglion.ops.attr import get_int, get_ints
from ganglion.ops.convolution import transpose_window
from ganglion.ops.facts import kind_of
from ganglion.ops.grid_sample import settings
from ganglion.ops.values import attributes, static_shape
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.lowering.common import (
    CHANNELS_LAST,
    epilogue,
    extras,
    images,
    new_image,
    result_of,
    two,
)
from ganglion.plan.lowering.moves import fill
from ganglion.plan.views import View

Pads = tuple[int, int, int, int]


def window(node: ir.Node, kernel: Sequence[int], size: Sequence[int]
           ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], Pads]:
    """(kernel, strides, dilations, pads (top, left, bottom, right)) of a convolution or a pool over
    an input of this spatial size, in 2-D."""
    return _in_plane(windows.window(attributes(node), size, kernel))


def _in_plane(found: windows.Window
              ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], Pads]:
    return (two(found.kernel, 1), two(found.strides, 1), two(found.dilations, 1),
            (*two(found.begin, 0), *two(found.end, 0)))


def lower_conv(lowerer: Lowerer, node: ir.Node) -> None:
    """Conv-22."""
    fused = lowerer.fused.get(node)
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    w = lowerer.dense(images(lowerer.view(node.inputs[1])), CHANNELS_LAST)
    spatial = static_shape(node.inputs[0])[2:]
    kernel, strides, dilations, pads = window(node, static_shape(node.inputs[1])[2:], spatial)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    program = epilogue(fused)
    if fused and fused.bias is not None:
        bias = fused.bias
    bias_view = None if bias is None else lowerer.dense(lowerer.view(bias))
    constant = w.storage.array is not None and (
        bias_view is None or bias_view.storage.array is not None)
    n, c, h, width = x.shape
    spec = Conv2dSpec("float32", n, h, width, c, w.shape[0], kernel, strides, dilations, pads,
                      get_int(attributes(node), "group", 1),
                      bias_view is not None, constant, epilogue=program)
    others = extras(lowerer, fused, CHANNELS_LAST, as_images=True)
    y = new_image(lowerer, result_of(node, fused))
    lowerer.emit(node, conv_family(spec), spec,
                 [x, w, *([bias_view] if bias_view else []), *others, y])


def conv_family(spec: Conv2dSpec) -> str:
    """Depthwise convolutions have kernels of their own."""
    return "depthwise" if spec.groups == spec.c and spec.groups > 1 else "conv2d"


def lower_conv_transpose(lowerer: Lowerer, node: ir.Node) -> None:
    """ConvTranspose-22; the output's size is the inferred one."""
    fused = lowerer.fused.get(node)
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    w = lowerer.dense(images(lowerer.view(node.inputs[1])), CHANNELS_LAST)
    spec = transpose_spec(node, x, w, "float32")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if fused and fused.bias is not None:
        bias = fused.bias
    bias_view = None if bias is None else lowerer.dense(lowerer.view(bias))
    constant = w.storage.array is not None and (
        bias_view is None or bias_view.storage.array is not None)
    spec = ConvTransposeSpec(**{**vars(spec), "bias": bias_view is not None,
                                "w_const": constant, "epilogue": epilogue(fused)})
    others = extras(lowerer, fused, CHANNELS_LAST, as_images=True)
    y = new_image(lowerer, result_of(node, fused))
    lowerer.emit(node, "conv_transpose", spec,
                 [x, w, *([bias_view] if bias_view else []), *others, y])


def transpose_spec(node: ir.Node, x: View, w: View, dtype: str) -> ConvTransposeSpec:
    """The numbers of a transposed convolution; bias and epilogue are the caller's."""
    attrs = attributes(node)
    rank = len(node.outputs[0].shape or ()) - 2
    groups = get_int(attrs, "group", 1)
    kernel = w.shape[2:] if rank == 2 else w.shape[3:]
    kernel, strides, dilations, pads = _in_plane(
        transpose_window(attrs, x.shape[4 - rank:], kernel))
    out = two(static_shape(node.outputs[0])[2:], 1)
    n, c, h, width = x.shape
    return ConvTransposeSpec(dtype, n, h, width, c, w.shape[1] * groups, kernel, out, strides,
                             dilations, pads[:2], groups)


def lower_conv_weight_grad(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion ConvWeightGrad: the result lies channels-last, as the weight itself does."""
    x, dy = (lowerer.dense(images(lowerer.view(v)), CHANNELS_LAST) for v in node.inputs[:2])
    dw = new_image(lowerer, node.outputs[0])
    kernel, strides, dilations, pads = window(
        node, static_shape(node.outputs[0])[2:], static_shape(node.inputs[0])[2:])
    n, c, h, width = x.shape
    spec = ConvWeightGradSpec(n, h, width, c, dw.shape[0], kernel, strides, dilations, pads,
                              get_int(attributes(node), "group", 1))
    lowerer.emit(node, "conv_weight_grad", spec, [x, dy, dw])


def pool_spec(node: ir.Node, mode: str, shape: Sequence[int], out: Sequence[int],
              dtype: str = "float32", **quantised: float | int) -> PoolSpec:
    """A pooling window over [N, C, W] or [N, C, H, W]; global pools cover the whole image."""
    attrs = attributes(node)
    size = tuple(shape[2:])
    kernel = get_ints(attrs, "kernel_shape", size)
    window_2d, strides, dilations, pads = window(node, kernel, size)
    if "kernel_shape" not in attrs:
        strides = (1, 1)
    h, w = two(size, 1)
    counted = bool(get_int(attrs, "count_include_pad", 0)) and any(pads)
    return PoolSpec(mode, dtype, shape[0], h, w, shape[1], window_2d, two(tuple(out[2:]), 1),
                    strides, dilations, pads[:2], counted, **quantised)  # type: ignore[arg-type]


def _behind_padding(node: ir.Node, spec: PoolSpec, size: Sequence[int]) -> Pads | None:
    """The pads of an average that counts them, where a window reaches even beyond (ceil_mode)."""
    if spec.mode != "average" or not spec.count_include_pad:
        return None
    pads = window(node, get_ints(attributes(node), "kernel_shape", size), size)[3]
    ends = [(out - 1) * s + (k - 1) * d + 1 for out, s, k, d in zip(
        spec.out_hw, spec.strides, spec.kernel, spec.dilations)]
    sizes = (pads[0] + spec.h + pads[2], pads[1] + spec.w + pads[3])
    return pads if any(end > size for end, size in zip(ends, sizes)) else None


def _padded(lowerer: Lowerer, node: ir.Node, x: View, pads: Pads) -> View:
    """Images [N, C, H, W], channels-last, with zeros around."""
    n, c, h, w = x.shape
    top, left, bottom, right = pads
    shape = (n, c, top + h + bottom, left + w + right)
    wide = lowerer.buffer(f"{node.name}_padded", x.dtype, shape, CHANNELS_LAST)
    fill(lowerer, node, wide, 0.0)
    offset = top * wide.strides[2] + left * wide.strides[3]
    lowerer.copy(x, View(wide.storage, x.shape, wide.strides, offset), str(node.name))
    return wide


def lower_pool(lowerer: Lowerer, node: ir.Node) -> None:
    """MaxPool-22, AveragePool-22, GlobalMaxPool, GlobalAveragePool; MaxPool of int8 too."""
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        raise UnsupportedOp(f"node {node.name!r} (MaxPool): the Indices output is not computed")
    x = lowerer.dense(images(lowerer.view(node.inputs[0])), CHANNELS_LAST)
    mode = kind_of(node)
    spec = pool_spec(node, mode, static_shape(node.inputs[0]), static_shape(node.outputs[0]),
                     x.dtype)
    pads = _behind_padding(node, spec, static_shape(node.inputs[0])[2:])
    if pads is not None:
        x = _padded(lowerer, node, x, pads)
        spec = replace(spec, h=x.shape[2], w=x.shape[3], pads=(0, 0), count_include_pad=False)
    lowerer.emit(node, "pool", spec, [x, new_image(lowerer, node.outputs[0])])


def lower_pool_grad(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion MaxPoolGrad(x, dy) and AveragePoolGrad(dy)."""
    mode = kind_of(node)
    operands = [lowerer.dense(images(lowerer.view(v)), CHANNELS_LAST) for v in node.inputs
                if v is not None]
    dx = node.outputs[0]
    spec = pool_spec(node, mode, static_shape(dx), static_shape(node.inputs[-1]))
    if _behind_padding(node, spec, static_shape(dx)[2:]) is not None:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): count_include_pad with windows "
                            "beyond the padding (ceil_mode) has no gradient here; pad explicitly")
    lowerer.emit(node, "pool_grad", PoolGradSpec(spec), [*operands, new_image(lowerer, dx)])


def lower_grid_sample(lowerer: Lowerer, node: ir.Node) -> None:
    """GridSample-20 of images."""
    x, grid = (lowerer.dense(lowerer.view(v)) for v in node.inputs)
    if len(x.shape) != 4:
        raise UnsupportedOp(f"node {node.name!r} (GridSample): the input is {list(x.shape)}; "
                            "expected images [N, C, H, W]")
    mode, padding, align = settings(attributes(node))
    y = lowerer.new(node.outputs[0])
    spec = GridSampleSpec(*x.shape, prod(grid.shape[1:3]), mode, padding, align)
    lowerer.emit(node, "grid_sample", spec, [x, grid, y])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "conv": lower_conv, "conv_transpose": lower_conv_transpose,
    "conv_weight_grad": lower_conv_weight_grad, "pool": lower_pool, "global_pool": lower_pool,
    "pool_grad": lower_pool_grad, "grid_sample": lower_grid_sample}
