"""Convolutions and matrix products of float32 by int8 weights, x quantised on the fly.

Each row of x (an image, or a row of a matrix) becomes codes of its own scale and zero point, which
hold [min(0, least), max(0, greatest)]; sums of products are int32, and

    y = epilogue(float(Σ (code - zero) · w) · (scale · w_scale[o]) + bias[o])

Every float operation is rounded once, so all variants give the same bits for finite x (an epilogue
of exact operations taken for granted). `ops.hybrid` has the steps and their sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels import tiling
from ganglion.kernels.base import Cut, Family, Operand, Variant
from ganglion.kernels.conv2d_spec import Conv2dSpec, macs, weights_by_group, windows
from ganglion.kernels.isa import AVX2, AVX512, AVXVNNI, NEON, SCALAR, SIMD128, VNNI, Isa
from ganglion.kernels.matmul import Epilogue, finish
from ganglion.kernels.split import rows_part

LEAST_RANGE = np.float32(1e-30)
STEPS = np.float32(255)


@dataclass(frozen=True)
class HybridConvSpec(Conv2dSpec):
    """As `Conv2dSpec` of float32; w int8, one image of x quantised at a time.

    Operands: x, w: int8, scale: float32 [O], [bias: float32 [O]], [r1...], y.
    """

    unsigned: bool = False
    """Whether x is known to hold nothing below 0, which saves the search for the least."""


@dataclass(frozen=True)
class HybridMatMulSpec:
    """y[m, n] = Σ_k a[m, k] · b[k, n] (+ bias[n]); one row of a quantised at a time.

    Operands: a: float32, b: int8 [K, N], scale: float32 [N], [bias: float32 [N]], [r1...], y.
    `unsigned`: whether a is known to hold nothing below 0.
    """

    m: int
    n: int
    k: int
    bias: bool = False
    unsigned: bool = False
    epilogue: Epilogue | None = None


Spec = HybridConvSpec | HybridMatMulSpec


def _operands(spec: Spec, names: tuple[str, str], sizes: tuple[int, int, int], columns: int
              ) -> list[Operand]:
    """`sizes`: elements of x, w and y."""
    extras = tuple(f"r{i + 1}" for i in range(spec.epilogue.extra if spec.epilogue else 0))
    return [Operand(names[0], "float32", sizes[0]), Operand(names[1], "int8", sizes[1], "const"),
            Operand("scale", "float32", columns, "const"),
            *([Operand("bias", "float32", columns)] if spec.bias else []),
            *(Operand(name, "float32", sizes[2]) for name in extras),
            Operand("y", "float32", sizes[2], "output", alias=extras)]


def conv_operands(spec: HybridConvSpec) -> list[Operand]:
    """The arrays of a convolution, in parameter order."""
    p, q = spec.out_hw
    weights = spec.o * spec.kernel[0] * spec.kernel[1] * (spec.c // spec.groups)
    return _operands(spec, ("x", "w"), (spec.n * spec.h * spec.w * spec.c, weights,
                                        spec.n * p * q * spec.o), spec.o)


def matmul_operands(spec: HybridMatMulSpec) -> list[Operand]:
    """The arrays of a product, in parameter order."""
    return _operands(spec, ("a", "b"), (spec.m * spec.k, spec.k * spec.n, spec.m * spec.n), spec.n)


def centred_codes(rows: np.ndarray, unsigned: bool) -> tuple[np.ndarray, np.ndarray]:
    """(code - zero as int64, float32 scale [rows]) of float32 [rows, n]."""
    found = [_one_row(row, np.float32(0) if unsigned else row.min(initial=0)) for row in rows]
    return np.stack([codes for codes, _ in found]), np.array([s for _, s in found], np.float32)


def _one_row(row: np.ndarray, lo: np.float32) -> tuple[np.ndarray, np.float32]:
    span = row.max(initial=0) - lo
    if not span >= LEAST_RANGE:
        return np.zeros(row.size, np.int64), np.float32(0)
    inverse = STEPS / span
    zero = min(np.rint(-lo * inverse), STEPS)
    return np.minimum(np.rint(row * inverse), STEPS - zero).astype(np.int64), span / STEPS


def _finished(spec: Spec, sums: np.ndarray, scale: np.ndarray, arrays: Mapping[str, np.ndarray]
              ) -> dict[str, np.ndarray]:
    """`sums`: [rows, ..., columns]; `scale`: of each row."""
    steps = scale.reshape(-1, *[1] * (sums.ndim - 1)) * arrays["scale"].reshape(-1)
    y = sums.astype(np.float32) * steps
    if spec.bias:
        y = y + arrays["bias"].reshape(-1)
    return {"y": finish(spec.epilogue, y, arrays).reshape(-1)}


def conv_reference(spec: HybridConvSpec, arrays: Mapping[str, np.ndarray]
                   ) -> dict[str, np.ndarray]:
    """The convolution in NumPy."""
    codes, scale = centred_codes(arrays["x"].reshape(spec.n, -1), spec.unsigned)
    g, p, q = spec.groups, *spec.out_hw
    taps = windows(codes, spec, 0).reshape(spec.n, p, q, -1, g, spec.c // g)
    w = arrays["w"].astype(np.int64).reshape(g, spec.o // g, -1, spec.c // g)
    sums = np.einsum("npqtgc,gotc->npqgo", taps, w).reshape(spec.n, p, q, spec.o)
    return _finished(spec, sums, scale, arrays)


def matmul_reference(spec: HybridMatMulSpec, arrays: Mapping[str, np.ndarray]
                     ) -> dict[str, np.ndarray]:
    """The product in NumPy."""
    codes, scale = centred_codes(arrays["a"].reshape(spec.m, spec.k), spec.unsigned)
    b = arrays["b"].astype(np.int64).reshape(spec.k, spec.n)
    return _finished(spec, codes @ b, scale, arrays)


def _heads(spec: Spec, group: int) -> bool:
    """Whether packed weights begin with their sums, by which zero points count: codes prepared for
    groups of four are unsigned, for pairs the zero point is gone."""
    return group == 4 and not spec.unsigned


def _packed(spec: Spec, isa: Isa, width: int, w: np.ndarray) -> list[np.ndarray]:
    """One group's weights [terms, columns]: [sums: int32], panels."""
    sums = tiling.padded_to(w.astype(np.int64).sum(0).astype(np.int32),
                            tiling.padded(w.shape[1], isa.lanes))
    return [*([sums.view(np.int8)] if _heads(spec, isa.terms) else []),
            tiling.groups(w, isa, width)]


def _quantise_cycles(count: int, isa: Isa, unsigned: bool) -> float:
    """Estimated cycles to find the range of `count` numbers and to quantise them."""
    return count / isa.lanes * (3.0 if unsigned else 4.0)


def _conv_variant(isa: Isa, rows: int, vectors: int) -> Variant[HybridConvSpec]:
    width, group = vectors * isa.lanes, isa.terms

    def pack(spec: HybridConvSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = [part for w in weights_by_group(spec, consts["w"], spec.geometry(group).run)
                 for part in _packed(spec, isa, width, w)]
        scales = consts["scale"].reshape(spec.groups, -1)
        wide = tiling.padded(spec.o // spec.groups, isa.lanes)
        return {**consts, "w": np.concatenate(parts),
                "scale": np.concatenate([tiling.padded_to(s, wide) for s in scales])}

    def cost(spec: HybridConvSpec) -> float:
        g = spec.geometry(group)
        one = tiling.pixel_cycles(g.p, g.q, spec.o // spec.groups, g.terms // group, rows, width,
                                  isa.lanes, isa.dots)
        return g.images * (spec.groups * one + _quantise_cycles(g.image, isa, spec.unsigned))

    def scratch_bytes(spec: HybridConvSpec) -> int:
        return (spec.geometry(group).image + group) * (1 if group == 4 else 2)

    return Variant(f"hybrid_conv2d_{rows}x{width}__{isa.name}", isa, "hybrid_conv2d.c.j2",
                   cost=cost, tile={"rows": rows, "vectors": vectors, "group": group}, pack=pack,
                   scratch_bytes=scratch_bytes)


def _matmul_variant(isa: Isa, rows: int, vectors: int) -> Variant[HybridMatMulSpec]:
    width, group = vectors * isa.lanes, isa.terms

    def pack(spec: HybridMatMulSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wide = tiling.padded(spec.n, isa.lanes)
        b = consts["b"].reshape(spec.k, spec.n)
        return {**consts, "b": np.concatenate(_packed(spec, isa, width, b)),
                "scale": tiling.padded_to(consts["scale"].reshape(-1), wide)}

    def cost(spec: HybridMatMulSpec) -> float:
        return _quantise_cycles(spec.m * spec.k, isa, spec.unsigned) + tiling.product_cycles(
            spec.m, spec.n, -(-spec.k // group), rows, width, isa.lanes,
            isa.dots)

    def scratch_bytes(spec: HybridMatMulSpec) -> int:
        return tiling.padded(spec.k, group) * min(rows, spec.m) * (1 if group == 4 else 2)

    return Variant(f"hybrid_matmul_{rows}x{width}__{isa.name}", isa, "hybrid_matmul.c.j2",
                   cost=cost, tile={"rows": rows, "vectors": vectors, "group": group}, pack=pack,
                   scratch_bytes=scratch_bytes)


CONV_TILES = {AVX2: ((4, 2), (8, 1)), VNNI: ((14, 2), (28, 1), (6, 4)), NEON: ((4, 4), (8, 2)),
              SIMD128: ((4, 2), (8, 1)), AVX512: ((12, 2), (24, 1), (6, 4)),
              AVXVNNI: ((6, 2), (12, 1), (4, 3))}
MATMUL_TILES = {AVX2: ((4, 2), (1, 8), (8, 1)), VNNI: ((14, 2), (1, 8), (6, 4), (28, 1)),
                NEON: ((4, 4), (1, 8), (8, 2)), SIMD128: ((4, 2), (1, 4)),
                AVX512: ((12, 2), (1, 8), (24, 1)), AVXVNNI: ((6, 2), (1, 6), (12, 1), (4, 3))}


def _results_of(spec: HybridConvSpec | HybridMatMulSpec) -> list[str]:
    """y, and what the epilogue reads in its shape."""
    return ["y", *(f"r{i + 1}" for i in range(spec.epilogue.extra if spec.epilogue else 0))]


def _hybrid_row(spec: HybridMatMulSpec) -> dict[str, int]:
    return {"a": spec.k} | dict.fromkeys(_results_of(spec), spec.n)


def _hybrid_image(spec: HybridConvSpec) -> dict[str, int]:
    """An image has one range: its rows stay together."""
    p, q = spec.out_hw
    return {"x": spec.h * spec.w * spec.c} | dict.fromkeys(_results_of(spec), p * q * spec.o)


HYBRID_CONV2D: Family[HybridConvSpec] = Family("hybrid_conv2d", conv_operands, conv_reference, (
    Variant("hybrid_conv2d_any__scalar", SCALAR, "hybrid_conv2d_scalar.c.j2",
            cost=lambda spec: 2.5 * macs(spec), scratch_bytes=lambda s: s.h * s.w * s.c),
    *(_conv_variant(isa, *tile) for isa, tiles in CONV_TILES.items()
      for tile in tiles)), macs,
    cut=Cut(lambda spec: spec.n, rows_part("n", _hybrid_image)))
HYBRID_MATMUL: Family[HybridMatMulSpec] = Family(
    "hybrid_matmul", matmul_operands, matmul_reference, (
        Variant("hybrid_matmul_any__scalar", SCALAR, "hybrid_matmul_scalar.c.j2",
                cost=lambda spec: 2.5 * spec.m * spec.n * spec.k,
                scratch_bytes=lambda spec: spec.k),
        *(_matmul_variant(isa, *tile) for isa, tiles in MATMUL_TILES.items()
          for tile in tiles)), lambda spec: spec.m * spec.n * spec.k,
    cut=Cut(lambda spec: spec.m, rows_part("m", _hybrid_row),
            lambda spec, variant: (1, variant.tile.get("rows", 1))))
FAMILIES = (HYBRID_CONV2D, HYBRID_MATMUL)
