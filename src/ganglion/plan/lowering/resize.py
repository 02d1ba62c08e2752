"""Resizing by the nearest pixel."""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.move import GatherSpec
from ganglion.ops.attr import get_str
from ganglion.ops.resize import nearest, repeats, resize_plan
from ganglion.ops.values import attributes
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.views import View, row_major


def lower_resize(lowerer: Lowerer, node: ir.Node) -> None:
    """Resize-19 by the nearest pixel: a copy through repeated axes where factors are whole, else
    one gather an axis. Interpolation is products by then (`passes.simplify.split_resize`)."""
    view, mode = lowerer.view(node.inputs[0]), get_str(attributes(node), "mode", "nearest")
    if mode != "nearest":
        raise UnsupportedOp(f"node {node.name!r} (Resize): mode {mode!r} of {view.dtype} "
                            f"{list(view.shape)} is not compiled; interpolate float32, with "
                            "constant sizes")
    times = repeats(node)
    if times is None:
        _gather_pixels(lowerer, node, view)
        return
    paired = [d for pair in zip(view.shape, times) for d in pair]
    strides = [s for stride in view.strides for s in (stride, 0)]
    target = lowerer.new(node.outputs[0], view.order())
    steps = [s for n, stride in zip(times, target.strides) for s in (stride * n, stride)]
    lowerer.copy(View(view.storage, tuple(paired), tuple(strides), view.offset),
                 View(target.storage, tuple(paired), tuple(steps)), str(node.name))


def _gather_pixels(lowerer: Lowerer, node: ir.Node, view: View) -> None:
    """The nearest pixels, one axis after the other, in the input's own memory order."""
    attrs, plan = attributes(node), resize_plan(node)
    order = view.order() if view.dense_in(view.order()) else row_major(len(view.shape))
    view = lowerer.dense(view, order)
    moved = [k for k, axis in enumerate(plan) if not axis.kept]
    for k in moved:
        shape = [plan[k].count if i == k else n for i, n in enumerate(view.shape)]
        index = lowerer.constant(f"{node.name}_{k}", np.array(nearest(attrs, plan[k]), np.int32))
        target = (lowerer.new(node.outputs[0], order) if k == moved[-1]
                  else lowerer.buffer(f"{node.name}_{k}_pixels", view.dtype, shape, order))
        place = order.index(k)
        sizes = [view.shape[a] for a in order]
        spec = GatherSpec(view.dtype, "int32", prod(sizes[:place]), sizes[place],
                          prod(sizes[place + 1:]), plan[k].count)
        lowerer.emit(node, "gather", spec, [view, index, target])
        view = target


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "resize": lower_resize}
