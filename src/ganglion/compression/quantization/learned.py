"""The codes that a network learned: its FakeQuantize nodes, read and taken out."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.scales import LEAST_SCALE, Scale
from ganglion.compression.quantization.sites import Place, Rounding, WeightRounding
from ganglion.errors import ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.fake_quantization import codes_of, is_fake_quantize
from ganglion.ops.named import EXP
from ganglion.ops.values import attributes
from ganglion.passes.base import sweep
from ganglion.passes.quantized.qdq import Editor, array_of, is_constant

_DTYPES = {(-128, 127): ir.DataType.INT8, (0, 255): ir.DataType.UINT8,
           (-32768, 32767): ir.DataType.INT16}
"""Codes of activations by their range; any part of int8's is int8 too."""


@dataclass(frozen=True)
class Learned:
    """Where activations are rounded, and the codes of the weights that are."""

    roundings: tuple[Rounding, ...]
    weights: dict[Place, tuple[WeightRounding, int | None]]

    def of_input(self, node: ir.Node) -> Scale | None:
        """The scale of the codes that a node's first input reads, None where it reads floats."""
        return next((r.scale for r in self.roundings
                     if (node, 0) in r.readers), None)


def is_aware(model: ir.Model) -> bool:
    """Whether the Model holds FakeQuantize nodes."""
    return any(is_fake_quantize(node) for node in model.graph)


def take_out(model: ir.Model) -> Learned:
    """Removes the FakeQuantize nodes from the Model; what they said.

    Raises ModelError for a scale that is not positive, not constant or of unknown codes.
    """
    edit = Editor.extending(model)
    roundings: list[Rounding] = []
    weights: dict[Place, tuple[WeightRounding, int | None]] = {}
    for node in [n for n in model.graph if is_fake_quantize(n)]:
        x, y = node.inputs[0], node.outputs[0]
        if x is None:
            raise ModelError(f"node {node.name!r} (FakeQuantize) rounds nothing: no input 0")
        scale = _scale_of(node)
        zero, low, high = codes_of(attributes(node))
        uses = tuple((u.node, u.idx) for u in y.uses())
        if is_constant(x):
            form = WeightRounding(scale.reshape(-1) if scale.size > 1 else scale.reshape(()), high)
            axis = next((i for i, d in enumerate(scale.shape) if d > 1), None)
            weights |= dict.fromkeys(uses, (form, axis))
        else:
            roundings.append(Rounding(x, Scale(float(scale.reshape(())), zero), uses,
                                      y.is_graph_output(), _dtype(node, low, high)))
        _bypass(edit, node, x, uses)
    sweep(model)
    return Learned(tuple(roundings), weights)


def _scale_of(node: ir.Node) -> np.ndarray:
    """The scale as float32: a constant, or the exponential of one."""
    value = node.inputs[1]
    maker = None if value is None else value.producer()
    if maker is not None and is_op(maker, EXP) and is_constant(maker.inputs[0]):
        logarithm = maker.inputs[0]
        scale = np.exp(array_of(logarithm)) if logarithm is not None else np.zeros(1)
    elif value is not None and is_constant(value):
        scale = array_of(value)
    else:
        raise ModelError(f"node {node.name!r} (FakeQuantize) has a computed scale; expected a "
                         "constant or the Exp of one")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelError(f"node {node.name!r} (FakeQuantize) has the scale {scale.ravel()[:4]}; "
                         "expected positive numbers, so train again with a lower learning rate")
    return np.maximum(scale, LEAST_SCALE).astype(np.float32)


def _dtype(node: ir.Node, low: int, high: int) -> ir.DataType:
    found = _DTYPES.get((low, high))
    if found is None and not (low >= -128 and high <= 127):
        raise ModelError(f"node {node.name!r} (FakeQuantize) has codes from {low} to {high}; "
                         "int8, uint8 and int16 can be stored")
    return found or ir.DataType.INT8


def _bypass(edit: Editor, node: ir.Node, x: ir.Value, uses: Iterable[Place]) -> None:
    y = node.outputs[0]
    for reader, place in uses:
        reader.replace_input_with(place, x)
    if y.is_graph_output():
        edit.take_output(y, x)
    edit.graph.remove(node, safe=True)
