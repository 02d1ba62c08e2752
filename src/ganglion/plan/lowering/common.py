"""Pieces that several lowerings share."""

from collections.abc import Sequence

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.kernels.matmul import Epilogue
from ganglion.plan.lowerer import Fused, Lowerer
from ganglion.plan.views import View

CHANNELS_LAST = (0, 2, 3, 1)
"""Memory order of a logical [N, C, H, W], and of weights [O, C, kh, kw]."""


def result_of(node: ir.Node, fused: Fused | None) -> ir.Value:
    """The value that the kernel makes: the fused group's, or the node's own."""
    return fused.result if fused else node.outputs[0]


def epilogue(fused: Fused | None) -> Epilogue | None:
    """The kernel's epilogue; None when the group only added a bias."""
    if fused is None or len(fused.program) == 1:
        return None
    return Epilogue(fused.program, len(fused.extras))


def extras(lowerer: Lowerer, fused: Fused | None, order: Sequence[int],
           as_images: bool = False) -> list[View]:
    """The epilogue's other operands, dense in the order of the result."""
    if fused is None:
        return []
    views = [lowerer.view(v) for v in fused.extras]
    return [lowerer.dense(images(v) if as_images else v, order) for v in views]


def images(view: View) -> View:
    """[N, C, W] seen as [N, C, 1, W]: one-dimensional operators are two-dimensional ones."""
    if len(view.shape) == 4:
        return view
    if len(view.shape) != 3:
        raise ModelError(f"{view.storage.name!r} has shape {list(view.shape)}; convolutions and "
                         "pools of one to three spatial dimensions are supported, the Indices of "
                         "a pool of one or two: [N, C, W], [N, C, H, W] or [N, C, D, H, W]")
    shape = (*view.shape[:2], 1, view.shape[2])
    strides = (*view.strides[:2], view.strides[2] * view.shape[2], view.strides[2])
    return View(view.storage, shape, strides, view.offset)


def new_image(lowerer: Lowerer, value: ir.Value) -> View:
    """A fresh channels-last buffer for a result [N, C, W] or [N, C, H, W], seen as images."""
    rank = len(value.shape or ())
    return images(lowerer.new(value, (0, *range(2, rank), 1)))


def two(values: Sequence[int], fill: int) -> tuple[int, int]:
    """A spatial attribute of one or two dimensions as (height, width)."""
    return (values[0], values[1]) if len(values) == 2 else (fill, values[0])
