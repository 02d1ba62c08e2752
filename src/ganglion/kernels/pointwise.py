"""Element-by-element programs over broadcast streams, one loop nest, any number of outputs."""

from dataclasses import dataclass

Instr = tuple[str | int | float, ...]
Program = tuple[Instr, ...]
"""Straight-line code as `ops.pointwise` describes it: ("input", i), ("const", v), (name, *args)."""


@dataclass(frozen=True)
class Stream:
    """How one operand is walked: elements per step of each loop dimension, 0 where broadcast.

    `size`: elements in memory. With `scale` the element is quantised: an input loads as
    float(q - zero_point) * scale, an output stores sat(rint(y / scale) + zero_point).
    Without, other dtypes than float32 are converted (float to integer truncates; masks are 0 / 1).
    """

    dtype: str
    strides: tuple[int, ...]
    size: int
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class PointwiseSpec:
    """Loop over `dims` (outermost first; neighbours that walk alike are merged by the planner).

    `roots[k]` is the index of the instruction whose value output k stores.
    Operands: x0, x1, ... then y0, y1, ...
    """

    dims: tuple[int, ...]
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    program: Program
    roots: tuple[int, ...]
