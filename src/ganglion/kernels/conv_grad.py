"""The gradient of a convolution's weights, float32; the input's is in `conv_transpose.py`.

It is a matrix product, [patch elements, output pixels] · [output pixels, output channels], whose
left side never exists: the rows of one pixel's patch lie at constant distances in the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa


@dataclass(frozen=True)
class ConvWeightGradSpec:
    """dw[o, i, j, c] = Σ_{n,p,q} dy[n, p, q, o] · x[n, p·sh + i·dh - top, q·sw + j·dw - left, c']

    c' = o // (O / G) · C / G + c. x: [N, H, W, C]; dy: [N, P, Q, O]; dw: [O, kh, kw, C / G];
    pixels outside x are 0; `pads` = (top, left, bottom, right). Fields as in Conv2dSpec.
    Operands: x, dy, dw.
    """

    n: int
    h: int
    w: int
    c: int
    o: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    @property
    def out_hw(self) -> tuple[int, int]:
        """(P, Q), the height and width of dy."""
        top, left, bottom, right = self.pads
        p = self.h + top + bottom - (self.kernel[0] - 1) * self.dilations[0] - 1
        q = self.w + left + right - (self.kernel[1] - 1) * self.dilations[1] - 1
        return p // self.strides[0] + 1, q // self.strides[1] + 1

    @property
    def patch(self) -> int:
        """Elements of x that meet one output: kh · kw · C / G."""
        return self.kernel[0] * self.kernel[1] * self.c // self.groups

    @property
    def direct(self) -> bool:
        """Whether every patch lies within x, so that no copy with a border is needed."""
        return not any(self.pads)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the image that the vector kernels read: x, or x with its border."""
        if self.direct:
            return self.h, self.w
        (p, q), (sh, sw), (dh, dw) = self.out_hw, self.strides, self.dilations
        return ((p - 1) * sh + (self.kernel[0] - 1) * dh + 1,
                (q - 1) * sw + (self.kernel[1] - 1) * dw + 1)

    @property
    def copied(self) -> tuple[int, int]:
        """Rows and columns of x that fall into the frame."""
        return (max(0, min(self.h, self.frame[0] - self.pads[0])),
                max(0, min(self.w, self.frame[1] - self.pads[1])))

    @property
    def depthwise(self) -> bool:
        """One input channel for one output channel: lanes run along both at once."""
        return self.groups == self.c == self.o

    def blocks(self, lanes: int, accumulators: int) -> "Blocks":
        """How a vector kernel with so many registers for sums cuts the work."""
        return _blocks(self, lanes, accumulators)


@dataclass(frozen=True)
class Body:
    """A piece of code for a tile of patch rows at fixed distances, used at several places.

    `offsets`: of its rows in the image, from the first. `places`: (patch row, offset of it).
    """

    offsets: tuple[int, ...]
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Blocks:
    """`images` of one pass; `vectors` of output channels in a tile, `channels` to cover (of one
    group), `padded` to whole vectors; `bodies` cover the patch; `cost`: cycles of the whole.

    `walk`: loops over output pixels: (count, step in the image, step in dy), outermost first.
    """

    images: int
    vectors: int
    channels: int
    padded: int
    bodies: tuple[Body, ...]
    walk: tuple[tuple[int, int, int], ...]
    cost: float


def _patch_offsets(spec: ConvWeightGradSpec) -> list[int]:
    (kh, kw), (dh, dw), width = spec.kernel, spec.dilations, spec.frame[1]
    return [(i * dh * width + j * dw) * spec.c + c for i in range(kh) for j in range(kw)
            for c in range(spec.c // spec.groups)]


def _bodies(offsets: list[int], rows: int) -> tuple[Body, ...]:
    """Runs of `rows` patch rows; those with the same distances share one body."""
    found: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for first in range(0, len(offsets), rows):
        chunk = offsets[first:first + rows]
        found.setdefault(tuple(o - chunk[0] for o in chunk), []).append((first, chunk[0]))
    return tuple(Body(distances, tuple(places)) for distances, places in found.items())


def _walk(spec: ConvWeightGradSpec, images: int) -> tuple[tuple[int, int, int], ...]:
    (p, q), (height, width) = spec.out_hw, spec.frame
    loops = [(images, height * width * spec.c, p * q * spec.o),
             (p, spec.strides[0] * width * spec.c, q * spec.o),
             (q, spec.strides[1] * spec.c, spec.o)]
    merged: list[tuple[int, int, int]] = []
    for count, step, slope_step in loops:
        if merged and merged[-1][1] == count * step:
            count *= merged.pop()[0]
        merged.append((count, step, slope_step))
    return (*(loop for loop in merged[:-1] if loop[0] != 1), merged[-1])


ENOUGH_PIXELS = 128
"""Output pixels in a pass: many against the stores of the sums, few against the cache."""


@cache
def _blocks(spec: ConvWeightGradSpec, lanes: int, accumulators: int) -> Blocks:
    """The cheapest tile by the count of multiply-adds and loads, two of each a cycle."""
    p, q = spec.out_hw
    images = next((i for i in range(1, spec.n) if spec.n % i == 0 and i * p * q >= ENOUGH_PIXELS),
                  spec.n)
    channels = spec.c if spec.depthwise else spec.o // spec.groups
    groups = 1 if spec.depthwise else spec.groups
    needed = -(-channels // lanes)
    offsets = _patch_offsets(spec)
    best: tuple[float, int, tuple[Body, ...]] | None = None
    for vectors in (1,) if spec.depthwise else (1, 2, 4):
        if vectors > needed or (vectors == 4 and accumulators < 24):
            continue
        most = min(len(offsets), accumulators // vectors)
        for rows in range(most, most // 2, -1):
            bodies = _bodies(offsets, rows)
            if len(bodies) > 8:
                continue
            cycles = 0.01 * len(bodies)
            for body in bodies:
                r = len(body.offsets)
                cycles += len(body.places) * max(r * vectors, r + vectors, 8) / 2 + 0.5
            cycles *= -(-needed // vectors) * (1 + 0.01 * vectors)
            if best is None or cycles < best[0]:
                best = cycles, vectors, bodies
    if best is None:
        best = len(offsets) * needed * 4.0, 1, _bodies(offsets, 1)
    cycles, vectors, bodies = best
    padded = needed * lanes
    cost = spec.n * p * q * groups * cycles + 2.0 * len(offsets) * groups * padded
    return Blocks(images, vectors, channels, padded, bodies, _walk(spec, images), cost)


def operands(spec: ConvWeightGradSpec) -> list[Operand]:
    """The arrays of a weight gradient, in parameter order."""
    p, q = spec.out_hw
    return [Operand("x", "float32", spec.n * spec.h * spec.w * spec.c),
            Operand("dy", "float32", spec.n * p * q * spec.o),
            Operand("dw", "float32", spec.o * spec.patch, "output")]


def reference(spec: ConvWeightGradSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One product for every kernel position, in float64."""
    (p, q), (kh, kw), (sh, sw), (dh, dw) = spec.out_hw, spec.kernel, spec.strides, spec.dilations
    top, left, bottom, right = spec.pads
    groups = spec.groups
    x = arrays["x"].reshape(spec.n, spec.h, spec.w, groups, -1).astype(np.float64)
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0), (0, 0)))
    dy = arrays["dy"].reshape(spec.n, p, q, groups, -1).astype(np.float64)
    grad = np.empty((groups, spec.o // groups, kh, kw, spec.c // groups))
    for i in range(kh):
        for j in range(kw):
            seen = x[:, i * dh:i * dh + (p - 1) * sh + 1:sh, j * dw:j * dw + (q - 1) * sw + 1:sw]
            grad[:, :, i, j] = np.einsum("npqgo,npqgc->goc", dy, seen)
    return {"dw": grad.astype(np.float32)}


def _macs(spec: ConvWeightGradSpec) -> int:
    p, q = spec.out_hw
    return spec.n * p * q * spec.o * spec.patch


def _vector(isa: Isa, accumulators: int) -> Variant[ConvWeightGradSpec]:
    lanes = isa.lanes

    def scratch_bytes(spec: ConvWeightGradSpec) -> int:
        blocks = spec.blocks(lanes, accumulators)
        groups = 1 if spec.depthwise else spec.groups
        kernel = spec.patch * groups * blocks.padded
        frame = 0 if spec.direct else blocks.images * spec.frame[0] * spec.frame[1] * spec.c
        return 4 * (kernel + frame)

    return Variant(f"conv_weight_grad_f32__{isa.name}", isa, "conv_weight_grad.c.j2",
                   cost=lambda spec: spec.blocks(lanes, accumulators).cost,
                   scratch_bytes=scratch_bytes, tile={"accumulators": accumulators})


CONV_WEIGHT_GRAD: Family[ConvWeightGradSpec] = Family(
    "conv_weight_grad", operands, reference,
    variants=(Variant("conv_weight_grad_f32__scalar", SCALAR, "conv_weight_grad_scalar.c.j2",
                      cost=lambda spec: 2.0 * _macs(spec)),
              _vector(AVX2, 12), _vector(AVX512, 24), _vector(NEON, 24), _vector(SIMD128, 12)),
    macs=_macs)
FAMILIES = (CONV_WEIGHT_GRAD,)
