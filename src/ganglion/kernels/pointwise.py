"""Element-by-element programs over broadcast streams, one loop nest, any number of outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod

import numpy as np

from ganglion.kernels import affine, typed
from ganglion.kernels.base import Cut, Family, Operand, Part, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, VNNI, Isa
from ganglion.kernels.literal import BITS
from ganglion.kernels.program import Instr, Program, cycles, evaluate
from ganglion.kernels.split import ELEMENTS

__all__ = ["FAMILIES", "POINTWISE", "Instr", "PointwiseSpec", "Program", "Stream"]


@dataclass(frozen=True)
class Stream:
    """How one operand is walked: elements per step of each loop dimension, 0 where broadcast.

    `size`: elements in memory. With `scale` the element is quantised: an input loads as
    float(q - zero_point) * scale, an output stores sat(rint(y / scale) + zero_point).
    Without, elements that float32 instructions read or give are converted (float to integer cuts
    and saturates, NaN becomes the least integer; float16 and bfloat16 round half to even; masks
    are 0 / 1), and typed instructions read and give elements of their own type.
    """

    dtype: str
    strides: tuple[int, ...]
    size: int
    scale: float | None = None
    zero_point: int = 0

    @property
    def reciprocal(self) -> float:
        """1 / scale, rounded to float32 once."""
        return float(np.float32(1) / np.float32(self.scale))


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

    def reads(self, k: int, exact: bool) -> bool:
        """Whether operand k is read as an element of its own type, or (too) as float32."""
        return k in (typed.exact_inputs if exact else typed.float_inputs)(self.program)

    def is_exact(self, root: int) -> bool:
        """Whether the value of an instruction is typed: lanes of that very dtype."""
        return typed.is_lanes(self.program[root]) or typed.is_constant(self.program[root])

    @property
    def fitted(self) -> affine.Affine | None:
        """Two multiply-adds with the very results, where one tensor of codes is made of two that
        lie alike; None where that is not so, or where there are no such numbers."""
        streams = (*self.inputs, *self.outputs)
        alike = all(s.strides == (1,) and s.dtype in ("int8", "uint8") for s in streams)
        if not alike or (len(self.inputs), len(self.outputs)) != (2, 1):
            return None
        if self.outputs[0].scale is None:
            return None
        return _fitted(replace(self, dims=(65536,)))


def operands(spec: PointwiseSpec) -> list[Operand]:
    """The streams. An output may share the bytes of inputs that are walked exactly as it is."""
    found = [Operand(f"x{i}", s.dtype, s.size) for i, s in enumerate(spec.inputs)]
    for k, out in enumerate(spec.outputs):
        width = np.dtype(out.dtype).itemsize
        alias = tuple(f"x{i}" for i, s in enumerate(spec.inputs)
                      if (s.strides, s.size) == (out.strides, out.size)
                      and np.dtype(s.dtype).itemsize == width)
        found.append(Operand(f"y{k}", out.dtype, out.size, "output", alias))
    return found


def _indices(spec: PointwiseSpec, stream: Stream) -> np.ndarray:
    """Element of `stream` at every step of the loop nest, [dims]."""
    steps = np.indices(spec.dims, sparse=True) if spec.dims else []
    index = np.zeros(spec.dims, np.int64)
    for step, stride in zip(steps, stream.strides):
        index = index + step * stride
    return index


def _loaded(stream: Stream, array: np.ndarray) -> np.ndarray:
    """The elements as they are; those with a scale as float32."""
    if stream.scale is None:
        return array
    real = (array.astype(np.int64) - stream.zero_point).astype(np.float32)
    return np.asarray(real * np.float32(stream.scale))


def _stored(stream: Stream, values: np.ndarray) -> np.ndarray:
    if stream.dtype == "bool":
        return np.asarray(values != 0)
    dtype = np.dtype(BITS.get(stream.dtype, stream.dtype))
    if stream.dtype.startswith(("float", "bfloat")) or values.dtype == dtype:
        with np.errstate(all="ignore"):
            return values.astype(dtype)
    if stream.scale is None:
        return typed.cut(values, stream.dtype)
    with np.errstate(all="ignore"):
        steps = np.rint(values.astype(np.float32) / np.float32(stream.scale))
        return typed.cut(steps.astype(np.float64) + stream.zero_point, stream.dtype)


def reference(spec: PointwiseSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every instruction rounded to float32 (see `program.evaluate`). An element that no step
    writes is 0xA5 in every byte."""
    inputs = [_loaded(s, arrays[f"x{i}"].reshape(-1))[_indices(spec, s)]
              for i, s in enumerate(spec.inputs)]
    values = evaluate(spec.program, inputs)
    found = {}
    for k, (stream, root) in enumerate(zip(spec.outputs, spec.roots)):
        out = np.full(stream.size * np.dtype(stream.dtype).itemsize, 0xA5, np.uint8)
        flat = out.view(stream.dtype)
        value = np.broadcast_to(values[root], spec.dims)
        flat[_indices(spec, stream)] = _stored(stream, value)
        found[f"y{k}"] = flat
    return found


VECTOR_DTYPES = ("float32", "int8", "uint8", "bool", "int32")


def vector_streams(spec: PointwiseSpec) -> bool:
    """Whether the innermost dimension is worth a vector: some streams run through it."""
    streams = (*spec.inputs, *spec.outputs)
    return bool(spec.dims) and spec.dims[-1] > 1 and any(s.strides[-1] == 1 for s in streams)


def _cost(lanes: int) -> "_Cost":
    return _Cost(lanes)


@dataclass(frozen=True)
class _Cost:
    """Cycles: a vector through the program, plus a cycle a stream, slow streams lane by lane."""

    lanes: int

    def __call__(self, spec: PointwiseSpec) -> float:
        lanes = self.lanes
        inner = spec.dims[-1] if spec.dims else 1
        vectors = prod(spec.dims[:-1]) * (-(-inner // lanes))
        each = cycles(spec.program) + 1.0
        for s in (*spec.inputs, *spec.outputs):
            fast = s.dtype in VECTOR_DTYPES and s.strides and s.strides[-1] in (0, 1)
            each += 1.0 if fast else 2.0 * lanes
        return vectors * each


def _variant(isa: Isa) -> Variant[PointwiseSpec]:
    return Variant(f"pointwise_any__{isa.name}", isa, "pointwise.c.j2",
                   accepts=vector_streams if isa.lanes > 1 else lambda spec: True,
                   cost=_cost(isa.lanes))


@cache
def _fitted(spec: PointwiseSpec) -> affine.Affine | None:
    """`dims`: every pair of codes. Cached: planning asks for each layer and each variant."""
    first, second = (np.iinfo(s.dtype).min for s in spec.inputs)
    a, b = (x.reshape(-1) for x in np.mgrid[first:first + 256, second:second + 256])
    inputs = [_loaded(s, x) for s, x in zip(spec.inputs, (a, b))]
    real = np.broadcast_to(evaluate(spec.program, inputs)[spec.roots[0]], spec.dims)
    out = spec.outputs[0]
    codes = _stored(out, real).astype(np.int64)
    return affine.fit(a, b, real.astype(np.float64) / (out.scale or 1.0) + out.zero_point, codes)


def _codes_variant() -> Variant[PointwiseSpec]:
    return Variant("pointwise_codes_64__vnni", VNNI, "pointwise_codes.c.j2",
                   accepts=lambda spec: spec.fitted is not None,
                   cost=lambda spec: 10.0 + spec.dims[0] / 4)


def _stretched(dims: tuple[int, ...], stream: Stream) -> Stream:
    """A stream over fewer steps: as much memory as it reaches."""
    size = 1 + sum((d - 1) * s for d, s in zip(dims, stream.strides))
    return replace(stream, size=size)


def _pointwise_part(spec: PointwiseSpec, start: int, stop: int) -> Part:
    dims = (stop - start, *spec.dims[1:])
    starts = {f"x{i}": start * s.strides[0] for i, s in enumerate(spec.inputs)}
    starts |= {f"y{i}": start * s.strides[0] for i, s in enumerate(spec.outputs)}
    return Part(replace(spec, dims=dims, inputs=tuple(_stretched(dims, s) for s in spec.inputs),
                        outputs=tuple(_stretched(dims, s) for s in spec.outputs)), starts)


def _pointwise_extent(spec: PointwiseSpec) -> int:
    """Only where every step has a result of its own."""
    apart = spec.dims and all(s.strides[0] > 0 for s in spec.outputs)
    return spec.dims[0] if apart else 1


def _pointwise_units(spec: PointwiseSpec, variant: Variant[PointwiseSpec]) -> tuple[int, ...]:
    return (ELEMENTS,) if len(spec.dims) == 1 else (1,)


VARIANTS = (*(_variant(isa) for isa in (SCALAR, AVX2, AVX512, NEON, SIMD128)), _codes_variant())
POINTWISE: Family[PointwiseSpec] = Family("pointwise", operands, reference, VARIANTS,
                                          cut=Cut(_pointwise_extent, _pointwise_part,
                                                  _pointwise_units))
FAMILIES = (POINTWISE,)
