"""Where a network is rounded: the one description that quantising and training towards it share."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.scales import HIGH, Scale
from ganglion.compression.quantization.selection import weight_axis
from ganglion.ops.facts import indices_of, is_product, is_recurrent, learned_by, weights_of
from ganglion.passes.quantized.qdq import array_of, is_constant

LEAST_COMPRESSED_BYTES = 256
"""Smaller constants of operators that stay float are left as they are."""


Place = tuple[ir.Node, int]
"""An input of a node."""


@dataclass(frozen=True)
class Rounding:
    """The codes of one activation: those `readers` read `value` rounded, the caller of the graph
    too where `output` holds."""

    value: ir.Value
    scale: Scale
    readers: tuple[Place, ...]
    output: bool
    dtype: ir.DataType = ir.DataType.INT8


@dataclass(frozen=True)
class WeightRounding:
    """The codes -high .. high of a weight. `scale`: one or one a channel; None: by its range."""

    scale: np.ndarray | None = None
    high: int = HIGH


def roundings(scales: Mapping[ir.Value, Scale], chosen: Mapping[ir.Node, None],
              io: str) -> list[Rounding]:
    """Those readers that compute on codes read codes, and all readers of what an integer node
    makes, the graph's outputs among them."""
    found = []
    for value, scale in scales.items():
        codes = value.producer() in chosen or io == "int8"
        readers = tuple((u.node, u.idx) for u in value.uses() if u.node in chosen or codes)
        found.append(Rounding(value, scale, readers, value.is_graph_output() and codes))
    return found


def stored_places(node: ir.Node, product: bool) -> list[tuple[int, int | None]]:
    """Constants of a node computing in float32 that are worth storing as codes: (input, axis).

    `product`: a matrix product's or convolution's weights too.
    """
    if node.domain != "":
        return []
    places: tuple[tuple[int, int | None], ...] = ()
    if is_recurrent(node):
        places = tuple((place, 1) for place in weights_of(node))
    elif indices_of(node) is not None:
        places = tuple((place, None) for place in learned_by(node))
    elif product and is_product(node):
        places = ((1, weight_axis(node)),)
    return [(place, axis) for place, axis in places if _large(node.inputs[place])]


def _large(value: ir.Value | None) -> bool:
    return (value is not None and is_constant(value) and value.dtype == ir.DataType.FLOAT
            and array_of(value).nbytes >= LEAST_COMPRESSED_BYTES)


def weight_of(node: ir.Node) -> ir.Value | None:
    """The constant weights of a product that computes on codes."""
    value = node.inputs[1] if is_product(node) else None
    return value if value is not None and is_constant(value) else None
