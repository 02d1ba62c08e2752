"""Transposed convolution over [N, H, W, C], float32 and int8; also a convolution's input gradient.

With strides (sh, sw) the output pixels fall into sh · sw phases; within one, the kernel positions
that meet an output pixel are always the same, at constant distances in x. So each phase is a plain
convolution with stride 1, and the vector kernels gather one output tile after another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ganglion.kernels.base import Cut, Family, Operand, Part, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.matmul import Epilogue, Requant, finish, requantize
from ganglion.kernels.split import results


@dataclass(frozen=True)
class ConvTransposeSpec:
    """y[n, p·sh + i·dh - top, q·sw + j·dw - left, o] += Σ_c x[n, p, q, c] · w[c, i, j, o'], + bias

    x: [N, H, W, C]; w: [C, kh, kw, O / G] (o' counts within the group of c); y: [N, P, Q, O] with
    (P, Q) = `out_hw` given. Operands: x, w, [bias [O]], [multiplier [O]], [r1...], y; y may not
    share r1's bytes, as the vector kernels compute some pixels twice.
    """

    dtype: str
    n: int
    h: int
    w: int
    c: int
    o: int
    kernel: tuple[int, int]
    out_hw: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    bias: bool = True
    w_const: bool = True
    requant: Requant | None = None
    epilogue: Epilogue | None = None

    @property
    def depthwise(self) -> bool:
        """One input channel for one output channel: lanes run along both at once."""
        return self.groups == self.c == self.o

    def blocks(self, lanes: int, accumulators: int) -> "Blocks":
        """How a vector kernel with so many registers for sums cuts the work."""
        return _blocks(self, lanes, accumulators)


@dataclass(frozen=True)
class Axis:
    """One phase along one axis: output pixels first, first + stride, ..., `count` of them.

    `taps`: (kernel position, distance of the input pixel from the output's number in the phase).
    """

    first: int
    count: int
    taps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Blocks:
    """`pixels` (of one row of a phase) by `vectors` of channels in a tile; `channels` to cover in
    each of `groups`, `padded` to whole vectors; `depth` input channels of one group.

    The image that is read starts at `origin` of x and has `frame` pixels; `direct`: it is x itself.
    `positions`: the kernel positions in the order of `taps`; a tap is the offset of its pixel in
    the frame. `phases`: (first row, first column, rows, columns, first tap, number of taps).
    """

    pixels: int
    vectors: int
    groups: int
    channels: int
    padded: int
    depth: int
    origin: tuple[int, int]
    frame: tuple[int, int]
    direct: bool
    positions: tuple[tuple[int, int], ...]
    taps: tuple[int, ...]
    phases: tuple[tuple[int, int, int, int, int, int], ...]
    cost: float

    @property
    def weight_size(self) -> int:
        """Elements of the packed weights: [groups, taps, depth, padded]."""
        return self.groups * len(self.taps) * self.depth * self.padded


def _axis(size: int, stride: int, dilation: int, pad: int, kernel: int) -> list[Axis]:
    """The phases of an output axis that have pixels; those without taps too."""
    found = []
    for first in range(min(stride, size)):
        taps = tuple((i, (first + pad - i * dilation) // stride) for i in range(kernel)
                     if (first + pad - i * dilation) % stride == 0)
        found.append(Axis(first, -(-(size - first) // stride), taps))
    return found


def _span(phases: list[Axis], size: int) -> tuple[int, int]:
    """First input pixel and number of pixels that the phases read, at least those of one."""
    reads = [(d, a.count - 1 + d) for a in phases for _, d in a.taps] or [(0, 0)]
    low, high = min(r[0] for r in reads), max(r[1] for r in reads)
    return (0, size) if low >= 0 and high < size else (low, high - low + 1)


@cache
def _blocks(spec: ConvTransposeSpec, lanes: int, accumulators: int) -> Blocks:
    rows, columns = (
        _axis(*args) for args in zip(spec.out_hw, spec.strides, spec.dilations, spec.pads,
                                     spec.kernel))
    (top, height), (left, width) = _span(rows, spec.h), _span(columns, spec.w)
    positions: list[tuple[int, int]] = []
    taps: list[int] = []
    phases = []
    for r in rows:
        for c in columns:
            first = len(taps)
            positions += [(i, j) for i, _ in r.taps for j, _ in c.taps]
            taps += [((di - top) * width + dj - left) * spec.c for _, di in r.taps
                     for _, dj in c.taps]
            phases.append((r.first, c.first, r.count, c.count, first, len(taps) - first))
    depthwise = spec.depthwise
    groups, depth = (1, 1) if depthwise else (spec.groups, spec.c // spec.groups)
    channels = spec.c if depthwise else spec.o // spec.groups
    needed = -(-channels // lanes)
    best = (float("inf"), 1, 1)
    for vectors in (1,) if depthwise else (1, 2, 4):
        if vectors > needed or (vectors == 4 and accumulators < 24):
            continue
        for pixels in range(1, min(accumulators // vectors, *(c.count for c in columns)) + 1):
            work = sum(p[2] * -(-p[3] // pixels) * (p[5] * depth + 2) for p in phases)
            loads = pixels * (2 if depthwise else 1) + vectors
            cycles = work * -(-needed // vectors) * max(pixels * vectors, loads, 8) / 2
            best = min(best, (cycles, vectors, pixels))
    cycles, vectors, pixels = best
    padded = needed * lanes
    packing = 0.0 if spec.w_const else 2.0 * groups * len(taps) * depth * padded
    return Blocks(pixels, vectors, groups, channels, padded, depth, (top, left), (height, width),
                  (top, left, height, width) == (0, 0, spec.h, spec.w), tuple(positions),
                  tuple(taps), tuple(phases), spec.n * groups * cycles + packing)


def operands(spec: ConvTransposeSpec) -> list[Operand]:
    """The arrays of a transposed convolution, in parameter order."""
    weight, total = ("float32", "float32") if spec.dtype == "float32" else ("int8", "int32")
    kernel = spec.c * spec.kernel[0] * spec.kernel[1] * (spec.o // spec.groups)
    out = spec.n * spec.out_hw[0] * spec.out_hw[1] * spec.o
    role = "const" if spec.w_const else "input"
    found = [Operand("x", spec.dtype, spec.n * spec.h * spec.w * spec.c),
             Operand("w", weight, kernel, role)]
    if spec.bias:
        found.append(Operand("bias", total, spec.o, role))
    if spec.requant:
        found.append(Operand("multiplier", "float32", spec.o, "const"))
    extra = spec.epilogue.extra if spec.epilogue else 0
    found += [Operand(f"r{i + 1}", "float32", out) for i in range(extra)]
    return [*found, Operand("y", spec.dtype, out, "output")]


def _sums(spec: ConvTransposeSpec, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The sums with bias, [N, P, Q, O], float64 (exact for integers)."""
    (kh, kw), (sh, sw), (dh, dw), (top, left) = spec.kernel, spec.strides, spec.dilations, spec.pads
    p, q = spec.out_hw
    zero = spec.requant.x_zero_point if spec.requant else 0
    x = arrays["x"].astype(np.float64).reshape(spec.n, spec.h, spec.w, spec.groups, -1) - zero
    w = arrays["w"].astype(np.float64).reshape(spec.groups, -1, kh, kw, spec.o // spec.groups)
    full = np.zeros((spec.n, max((spec.h - 1) * sh + (kh - 1) * dh + 1, top + p),
                     max((spec.w - 1) * sw + (kw - 1) * dw + 1, left + q), spec.o))
    for i in range(kh):
        for j in range(kw):
            part = np.einsum("nhwgc,gco->nhwgo", x, w[:, :, i, j])
            full[:, i * dh:i * dh + (spec.h - 1) * sh + 1:sh,
                 j * dw:j * dw + (spec.w - 1) * sw + 1:sw] += part.reshape(*part.shape[:3], -1)
    y = full[:, top:top + p, left:left + q]
    return y + arrays["bias"].astype(np.float64).reshape(-1) if spec.bias else y


def reference(spec: ConvTransposeSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sums in float64, rounded once; integers exactly, requantised in float32."""
    sums = _sums(spec, arrays)
    if spec.requant is None:
        return {"y": finish(spec.epilogue, sums, arrays)}
    return {"y": requantize(spec.requant, sums, arrays["multiplier"].reshape(-1), spec.dtype)}


def _macs(spec: ConvTransposeSpec) -> int:
    return (spec.n * spec.h * spec.w * spec.c * spec.kernel[0] * spec.kernel[1]
            * spec.o // spec.groups)


def _scalar_accepts(spec: ConvTransposeSpec) -> bool:
    return (spec.dtype == "float32") == (spec.requant is None)


def _vector(isa: Isa, accumulators: int) -> Variant[ConvTransposeSpec]:
    lanes = isa.lanes

    def scratch_bytes(spec: ConvTransposeSpec) -> int:
        blocks = spec.blocks(lanes, accumulators)
        frame = 0 if blocks.direct else blocks.frame[0] * blocks.frame[1] * spec.c
        return 4 * (frame + (0 if spec.w_const else blocks.weight_size))

    def pack(spec: ConvTransposeSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not spec.w_const:
            return consts
        blocks = spec.blocks(lanes, accumulators)
        w = consts["w"].reshape(blocks.groups, -1, *spec.kernel, spec.o // spec.groups)
        if spec.depthwise:
            w = w.reshape(1, spec.c, *spec.kernel, 1).transpose(0, 4, 2, 3, 1)
        packed = np.zeros((blocks.groups, len(blocks.taps), blocks.depth, blocks.padded),
                          np.float32)
        for k, (i, j) in enumerate(blocks.positions):
            packed[:, k, :, :blocks.channels] = w[:, :, i, j]
        return {**consts, "w": packed}

    def accepts(spec: ConvTransposeSpec) -> bool:
        return spec.dtype == "float32" and spec.requant is None

    return Variant(f"conv_transpose_f32__{isa.name}", isa, "conv_transpose.c.j2", accepts=accepts,
                   cost=lambda spec: spec.blocks(lanes, accumulators).cost, pack=pack,
                   scratch_bytes=scratch_bytes, tile={"accumulators": accumulators})


def _transpose_part(spec: ConvTransposeSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if spec.n > 1:
        part = replace(spec, n=stop - start)
        return Part(part, results(spec, start * spec.h * spec.w * spec.c, start * p * q * spec.o))
    stride, top = spec.strides[0], spec.pads[0]
    reach = (spec.kernel[0] - 1) * spec.dilations[0]
    first = max(-((reach - start - top) // stride), 0)
    end = min((stop - 1 + top) // stride + 1, spec.h)
    pads = (start + top - first * stride, spec.pads[1])
    if end <= first or pads[0] < 0:
        return None
    part = replace(spec, h=end - first, out_hw=(stop - start, q), pads=pads)
    return Part(part, results(spec, first * spec.w * spec.c, start * q * spec.o))


CONV_TRANSPOSE: Family[ConvTransposeSpec] = Family(
    "conv_transpose", operands, reference,
    variants=(Variant("conv_transpose_any__scalar", SCALAR, "conv_transpose_scalar.c.j2",
                      accepts=_scalar_accepts, cost=lambda spec: 3.0 * _macs(spec)),
              _vector(AVX2, 12), _vector(AVX512, 24), _vector(NEON, 24), _vector(SIMD128, 12)),
    macs=_macs,
    cut=Cut(lambda spec: 1 if not spec.w_const else spec.n if spec.n > 1 else spec.out_hw[0],
            _transpose_part, lambda spec, variant: (spec.strides[0] if spec.n == 1 else 1,)))
FAMILIES = (CONV_TRANSPOSE,)
