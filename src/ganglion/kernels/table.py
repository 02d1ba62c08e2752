"""A function of one 8-bit code, written out as 256 results."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Cut, Family, Operand, Variant
from ganglion.kernels.isa import SCALAR
from ganglion.kernels.split import ELEMENTS, rows_part


@dataclass(frozen=True)
class TableSpec:
    """y[i] = table[x[i] - lowest code of x's dtype]; `x_dtype`, `y_dtype`: int8 or uint8.

    Operands: x [size], table [256] (const), y [size] (may share x's bytes).
    """

    x_dtype: str
    y_dtype: str
    size: int


def operands(spec: TableSpec) -> list[Operand]:
    """The arrays of a look-up, in parameter order."""
    return [Operand("x", spec.x_dtype, spec.size), Operand("table", spec.y_dtype, 256, "const"),
            Operand("y", spec.y_dtype, spec.size, "output", alias=("x",))]


def reference(spec: TableSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The look-up in NumPy."""
    lowest = np.iinfo(spec.x_dtype).min
    return {"y": arrays["table"][arrays["x"].astype(np.int64) - lowest]}


TABLE: Family[TableSpec] = Family("table", operands, reference,
               variants=(Variant("table_q8__scalar", SCALAR, "table.c.j2",
                                 cost=lambda spec: 2.0 * spec.size),),
               cut=Cut(lambda spec: spec.size,
                       rows_part("size", lambda spec: dict.fromkeys("xy", 1)),
                       lambda spec, variant: (ELEMENTS,)))
FAMILIES = (TABLE,)
