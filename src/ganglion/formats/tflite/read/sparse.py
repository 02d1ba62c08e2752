"""Sparse tensors of TensorFlow Lite, written out.

A tensor is walked dimension by dimension in `traversal_order`; blocks of a dimension are dimensions
of their own behind the tensor's. Each one is dense, or holds for every position so far a segment of
the indices that are there. Source: the schema of TensorFlow Lite, SparsityParameters; Chou et al.,
"Format abstraction for sparse tensor algebra compilers" (2018).
"""

from collections.abc import Sequence

import numpy as np

from ganglion.errors import ModelError
from ganglion.formats.tflite.schema import Table

Array = np.ndarray
KINDS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
DENSE, CSR = 0, 1


def expanded(owner: str, table: Table, shape: tuple[int, ...], values: Array) -> Array:
    """The whole tensor, zeros where nothing is stored. Raises ModelError unless the parts fit."""
    order, blocks = table.integers("traversal_order"), table.integers("block_map")
    levels = table.tables("dim_metadata", "DimensionMetadata")
    count = len(shape) + len(blocks)
    if sorted(order) != list(range(count)) or len(levels) != count or any(
            not 0 <= b < len(shape) for b in blocks):
        raise ModelError(f"{owner} is stored sparse, by dimensions {list(order[:20])} with blocks "
                         f"of {list(blocks[:20])}, which does not fit its shape {list(shape)}")
    sizes = _block_sizes(owner, order, blocks, levels)
    coordinates: list[Array] = []
    positions = 1
    for level, dimension in zip(levels, order):
        wide = sizes.get(dimension) or shape[dimension] // _block_of(dimension, blocks, sizes)
        repeats, found = _walked(owner, level, positions, wide, len(values))
        coordinates = [np.repeat(c, repeats) for c in coordinates] + [found]
        positions = len(found)
    if positions != len(values):
        raise ModelError(f"{owner} is stored sparse with {len(values)} values for {positions} "
                         "places; the file is damaged")
    whole = np.zeros(shape, values.dtype)
    places = [np.zeros(positions, np.int64) for _ in shape]
    for dimension, found in zip(order, coordinates):
        if dimension < len(shape):
            places[dimension] += found * _block_of(dimension, blocks, sizes)
        else:
            places[blocks[dimension - len(shape)]] += found
    whole[tuple(places)] = values
    return whole


def _block_sizes(owner: str, order: Sequence[int], blocks: Sequence[int],
                 levels: Sequence[Table]) -> dict[int, int]:
    """The size of each dimension of blocks, by its number behind the tensor's own."""
    rank = len(order) - len(blocks)
    sizes = {d: level.integer("dense_size") for level, d in zip(levels, order) if d >= rank}
    if any(size < 1 for size in sizes.values()) or any(
            level.integer("format") != DENSE for level, d in zip(levels, order) if d >= rank):
        raise ModelError(f"{owner} is stored sparse with blocks that are not dense or have no size")
    return sizes


def _block_of(dimension: int, blocks: Sequence[int], sizes: dict[int, int]) -> int:
    """How many of a dimension's elements one of its steps stands for."""
    first = min(sizes, default=0)
    return int(np.prod([sizes[first + k] for k, b in enumerate(blocks) if b == dimension] or [1]))


def _walked(owner: str, level: Table, positions: int, wide: int, most: int
            ) -> tuple[Array | int, Array]:
    """How often each position so far goes on, and the index of every one that comes of it."""
    if level.integer("format") == DENSE:
        if positions * wide > most:
            raise ModelError(f"{owner} is stored sparse with more places than values")
        return wide, np.tile(np.arange(wide), positions)
    segments, indices = _vector(level, "array_segments"), _vector(level, "array_indices")
    counts = np.diff(segments)
    if (level.integer("format") != CSR or len(segments) != positions + 1 or (counts < 0).any()
            or segments[0] != 0 or segments[-1] != len(indices) or len(indices) > most
            or (indices.size and not 0 <= indices.min() <= indices.max() < wide)):
        raise ModelError(f"{owner} is stored sparse with segments that do not fit; the file is "
                         "damaged")
    return counts, indices


def _vector(level: Table, field: str) -> Array:
    name = KINDS.get(level.integer(f"{field}_type"), "")
    table = level.table(field, name) if name else None
    return np.zeros(1, np.int64) if table is None else table.array("values").astype(np.int64)
