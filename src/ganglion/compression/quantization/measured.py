"""A float Model made ready for rounding: simplified, its activations' scales measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.calibrate import Arrays, Ranges, ranges
from ganglion.compression.quantization.scales import Scale, asymmetric, symmetric, within
from ganglion.compression.quantization.selection import (
    Group,
    carriers,
    groups,
    integer_nodes,
    is_activation,
)
from ganglion.errors import DataError, ModelError
from ganglion.ops.facts import is_coding
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.passes.base import Pass, run
from ganglion.passes.infer import InferShapes
from ganglion.passes.pipeline import inference_passes
from ganglion.passes.simplify.fold_batch_norm import SplitBatchNorm
from ganglion.passes.simplify.split_gemm import SplitGemm


@dataclass(frozen=True)
class Measured:
    """The nodes that will compute on codes, and the groups of values with their scales."""

    chosen: dict[ir.Node, None]
    groups: tuple[tuple[Group, Scale], ...]

    @property
    def scales(self) -> dict[ir.Value, Scale]:
        """The scale of every value that becomes codes."""
        return {value: scale for group, scale in self.groups for value in group.values}


def require_float(model: ir.Model, who: str) -> None:
    """Raises ModelError for a Model that is not float32, or rounded already."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.dtype in (ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16):
            raise ModelError(f"{value.name!r} is {value.dtype}; {who} expects a float32 model, "
                             "convert it first")
    if any(is_coding(n) or is_fake_quantize(n)
           for n in model.graph):
        raise ModelError(f"model {model.graph.name!r} is quantised already; give the float model")


def simplified(model: ir.Model, passes: Sequence[Pass] | None = None) -> ir.Model:
    """A copy with constants folded and batch normalisation in the weights; batch as it is.

    A Gemm that is more than a product and a row comes in pieces, which are quantised one by one.
    """
    copy = model.clone(deep_copy=True)
    InferShapes()(copy)
    chosen = inference_passes() if passes is None else passes
    run(copy, chosen)
    run(copy, (SplitBatchNorm(), SplitGemm(), *chosen))
    return copy


def measure(model: ir.Model, calibration: Arrays | None, method: str, percentile: float, io: str,
            who: str = "quantize") -> Measured:
    """What of a simplified Model computes on codes, and on which. Raises DataError without
    calibration, and what `ranges` raises."""
    if calibration is None:
        raise DataError(f"{who} needs calibration rows for the activations' ranges; give 100 to "
                        "500 typical inputs"
                        + (", or weights_only=True" if who == "quantize" else ""))
    chosen = integer_nodes(model.graph)
    wanted = _with_ports(model, carriers(chosen), io)
    found = ranges(model, calibration, {v.name or "" for v in wanted}, method, percentile)
    return Measured(chosen, tuple((g, _scale(g, found)) for g in groups(wanted, chosen)))


def _with_ports(model: ir.Model, values: list[ir.Value], io: str) -> list[ir.Value]:
    """With io="int8" also the float inputs and outputs that no integer node touches."""
    if io == "float":
        return values
    ports = [v for v in (*model.graph.inputs, *model.graph.outputs) if is_activation(v)]
    return list(dict.fromkeys([*values, *ports]))


def _scale(group: Group, measured: Ranges) -> Scale:
    found = [measured[v.name or ""] for v in group.values]
    lo, hi = min(r[0] for r in found), max(r[1] for r in found)
    if group.symmetric:
        lo, hi = max(lo, group.bounds[0]), min(hi, group.bounds[1])
        return symmetric(*((0.0, 1.0) if group.fixed and group.fixed.zero_point else (lo, hi)))
    if group.fixed is not None:
        return group.fixed
    if np.isinf(group.bounds).all():
        return asymmetric(lo, hi)
    return within(lo, hi, group.bounds)
