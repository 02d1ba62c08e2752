"""All rows, found by (domain, name). A family file is listed here once; rows are never edited."""

from functools import cache

from ganglion.ops import (
    activation,
    arithmetic,
    compound,
    convolution,
    einsum,
    fake_quantization,
    grid_sample,
    hybrid,
    indexing,
    inverse,
    linear,
    movement,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    selecting,
    softmax,
    spectrum,
)
from ganglion.ops.base import Op


@cache
def rows() -> dict[tuple[str, str], Op]:
    """Every operator row. Raises ValueError when two families claim one operator."""
    table: dict[tuple[str, str], Op] = {}
    for family in (activation, arithmetic, compound, linear, einsum, convolution, pooling,
                   normalization, reduction, softmax, movement, indexing, resize, recurrent,
                   random, quantization, fake_quantization, hybrid, grid_sample,
                   inverse, selecting, spectrum):
        for row in family.ROWS:
            if row.key in table:
                raise ValueError(f"two rows for {row.key}")
            table[row.key] = row
    return table


def find(domain: str, name: str) -> Op | None:
    """The row of an operator, or None when the project does not know it."""
    return rows().get(("" if domain == "ai.onnx" else domain, name))
