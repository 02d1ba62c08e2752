"""Convolution over [N, H, W, C] (channels last), 1-D as H = 1; float32 and int8.

Grouped too; depthwise (groups == channels) has variants of its own in `depthwise.py`.
"""

from dataclasses import replace

import numpy as np

from ganglion.kernels import dsp, tiling
from ganglion.kernels.base import Family, Variant
from ganglion.kernels.conv2d_spec import (
    CUT,
    Conv2dSpec,
    macs,
    operands,
    reference,
    weights_by_group,
)
from ganglion.kernels.isa import (
    AVX2,
    AVX512,
    AVXVNNI,
    DOTPROD,
    DSP,
    MVE,
    NEON,
    SCALAR,
    SIMD128,
    VNNI,
    Isa,
)


def _float_variant(isa: Isa, rows: int, vectors: int, chains: int = 1) -> Variant[Conv2dSpec]:
    width = vectors * isa.lanes

    def pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not spec.w_const:
            return consts
        each = weights_by_group(spec, consts["w"], spec.geometry(1).run)
        return {**consts, "w": np.concatenate([tiling.panels(w, width, isa.lanes) for w in each])}

    def scratch_bytes(spec: Conv2dSpec) -> int:
        g = spec.geometry(1)
        packed = spec.groups * g.terms * tiling.padded(spec.o // spec.groups, isa.lanes)
        return 4 * ((g.image if g.copied else 0) + (0 if spec.w_const else packed))

    def cost(spec: Conv2dSpec) -> float:
        g = spec.geometry(1)
        one = tiling.pixel_cycles(g.p, g.q, spec.o // spec.groups, g.terms, rows, width, isa.lanes,
                                  isa.multiplies)
        copied = g.images * g.image / isa.lanes if g.copied else 0.0
        packed = 0.0 if spec.w_const else 3.0 * spec.o * g.terms / isa.lanes
        return g.images * spec.groups * one + copied + packed

    return Variant(f"conv2d_f32_{rows}x{width}__{isa.name}", isa, "conv2d_float.c.j2",
                   accepts=lambda spec: spec.dtype == "float32", cost=cost,
                   tile={"rows": rows, "vectors": vectors, "chains": chains}, pack=pack,
                   scratch_bytes=scratch_bytes)


def _code_variant(isa: Isa, rows: int, vectors: int) -> Variant[Conv2dSpec]:
    width, group, packs = vectors * isa.lanes, isa.terms, isa.packs

    def pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert spec.requant is not None
        each = spec.o // spec.groups
        order = tiling.pack_order(each, vectors if packs else 1)
        weights = weights_by_group(spec, consts["w"], spec.geometry(group).run)[..., order]
        requant = spec.requant if packs else replace(spec.requant, fused=False)
        bias = consts["bias"].reshape(-1) if spec.bias else None
        start, factors = requant.begin(spec.dtype, consts["w"].reshape(spec.o, -1), bias,
                                       consts["multiplier"])
        start = start if bias is None else start + bias
        wide = tiling.padded(each, isa.lanes)
        parts = []
        for w, b in zip(weights, start.reshape(spec.groups, -1)[:, order]):
            sums = tiling.folded(spec.dtype, isa, spec.requant.x_zero_point, w, b)
            parts += [tiling.padded_to(sums, wide).view(np.int8),
                      tiling.groups(w, isa, width)]
        return {**consts, "w": np.concatenate(parts),
                "multiplier": np.concatenate([tiling.padded_to(f, wide) for f in
                                              factors.reshape(-1, each)[:, order]])}

    def cost(spec: Conv2dSpec) -> float:
        g = spec.geometry(group)
        columns = spec.o // spec.groups
        one = tiling.pixel_cycles(g.p, g.q, columns, g.terms // group, rows, width, isa.lanes,
                                  isa.dots, tiling.finish_cycles(columns, vectors, packs))
        copied = g.images * g.image / (2 * isa.lanes) if g.copied else 0.0
        return g.images * spec.groups * one + copied

    def scratch_bytes(spec: Conv2dSpec) -> int:
        g = spec.geometry(group)
        return (g.image + group) * (1 if group == 4 else 2) if g.copied else 0

    return Variant(f"conv2d_q8_{rows}x{width}__{isa.name}", isa, "conv2d_code.c.j2",
                   accepts=lambda spec: spec.dtype != "float32" and spec.w_const, cost=cost,
                   tile={"rows": rows, "vectors": vectors, "group": group}, pack=pack,
                   scratch_bytes=scratch_bytes)


def _folded_consts(spec: Conv2dSpec, consts: dict[str, np.ndarray], count: int
                   ) -> dict[str, np.ndarray]:
    """The constants of `spec.folded(count)`."""
    (kh, kw), step = spec.kernel, spec.strides[1]
    w = np.zeros((count, spec.o, kh, kw + (count - 1) * step, spec.c), np.int8)
    for column in range(count):
        w[column, :, :, column * step:column * step + kw] = consts["w"].reshape(
            spec.o, kh, kw, spec.c)
    return {name: w.reshape(-1) if name == "w" else np.tile(array.reshape(-1), count)
            for name, array in consts.items()}


def _folded_variant(isa: Isa, rows: int, count: int) -> Variant[Conv2dSpec]:
    """For few output channels: `count` columns fill a vector. See `Conv2dSpec.folded`."""
    plain = _code_variant(isa, rows, 1)
    assert plain.pack is not None
    pack = plain.pack

    def accepts(spec: Conv2dSpec) -> bool:
        fits = spec.o * count <= isa.lanes and spec.out_hw[1] % count == 0
        return plain.accepts(spec) and fits and spec.groups == spec.dilations[1] == 1

    return Variant(f"conv2d_q8_{count}_columns__{isa.name}", isa, "conv2d_folded.c.j2", accepts,
                   cost=lambda spec: plain.cost(spec.folded(count)),
                   tile={**plain.tile, "count": count},
                   pack=lambda spec, consts: pack(spec.folded(count),
                                                  _folded_consts(spec, consts, count)),
                   scratch_bytes=lambda spec: plain.scratch_bytes(spec.folded(count)))


def _winograd_accepts(spec: Conv2dSpec) -> bool:
    plain = spec.strides == spec.dilations == (1, 1) and spec.groups == 1
    return spec.dtype == "float32" and spec.kernel == (3, 3) and plain and spec.w_const


def _tiles(spec: Conv2dSpec) -> int:
    p, q = spec.out_hw
    return -(-p // 4) * -(-q // 4)


def _winograd_variant(isa: Isa, rows: int, vectors: int) -> Variant[Conv2dSpec]:
    """F(4×4, 3×3): a quarter of the multiplications, for twice the rounding error of a direct sum.

    `rows`: tiles transformed and multiplied together, by `vectors` of output channels.
    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
    """
    lanes = isa.lanes

    def pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        w = consts["w"].reshape(spec.o, 3, 3, spec.c).astype(np.float64)
        packed = np.zeros((6, 6, spec.c, tiling.padded(spec.o, lanes)), np.float32)
        g = tiling.winograd_weights()
        packed[..., :spec.o] = np.einsum("ai,bj,oijc->abco", g, g, w)
        return {**consts, "w": packed.reshape(-1)}

    def scratch_bytes(spec: Conv2dSpec) -> int:
        block = min(rows, _tiles(spec))
        each = tiling.padded(spec.c, lanes) + tiling.padded(spec.o, lanes)
        return 4 * (tiling.padded(spec.w * spec.c, 16) + 36 * block * each)

    def cost(spec: Conv2dSpec) -> float:
        tiles, c, o = _tiles(spec), -(-spec.c // lanes), -(-spec.o // lanes)
        moved = tiles * (260.0 * c + 210.0 * o) / isa.multiplies
        products = 36 * tiling.product_cycles(tiles, o * lanes, spec.c, rows, vectors * lanes,
                                              lanes, isa.multiplies)
        weights = -(-tiles // rows) * 36 * spec.c * o * lanes / 12
        return spec.n * (moved + max(products, weights))

    return Variant(f"conv2d_f32_winograd4_{rows}x{vectors * lanes}__{isa.name}", isa,
                   "conv2d_winograd.c.j2", accepts=_winograd_accepts, cost=cost, pack=pack,
                   scratch_bytes=scratch_bytes,
                   tile={"rows": rows, "vectors": vectors, "outputs": 4})


def _blocked_variant() -> Variant[Conv2dSpec]:
    def pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**consts, "w": tiling.by_fours(consts["w"].reshape(spec.o, -1))}

    def scratch_bytes(spec: Conv2dSpec) -> int:
        exact, direct = spec.dtype != "float32", spec.geometry(1).terms == spec.c
        return 2 * spec.geometry(1).terms if exact else (
            0 if direct and not any(spec.pads) else 4 * spec.geometry(1).terms)

    return Variant("conv2d_any_1x4__scalar", SCALAR, "conv2d_blocked.c.j2",
                   lambda spec: spec.w_const and spec.groups == 1,
                   lambda spec: 1.5 * macs(spec) * tiling.padded(spec.o, 4) / spec.o, pack=pack,
                   scratch_bytes=scratch_bytes)


def _dsp_pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert spec.requant is not None
    return dsp.packed(consts, "w", consts["w"].reshape(spec.o, -1), spec.requant.x_zero_point,
                      dsp.interleaved)


def _mve_variant() -> Variant[Conv2dSpec]:
    def pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert spec.requant is not None
        zero = dsp.signed(spec.dtype, spec.requant.x_zero_point)
        return dsp.packed(consts, "w", consts["w"].reshape(spec.o, -1), zero, dsp.by_sixteens, 4)

    return Variant("conv2d_q8_1x4__mve", MVE, "conv2d_mve.c.j2", _codes_in_one_group,
                   lambda spec: 0.2 * macs(spec) + 4.0 * macs(spec) / spec.geometry(1).terms,
                   pack=pack,
                   scratch_bytes=lambda spec: tiling.padded(spec.geometry(1).terms, 16))


def _codes_in_one_group(spec: Conv2dSpec) -> bool:
    return spec.dtype != "float32" and spec.w_const and spec.groups == 1


def _dsp_cost(spec: Conv2dSpec) -> float:
    terms = spec.geometry(1).terms
    return macs(spec) / (spec.o * terms) * (spec.o * (terms + 12.0) + 3.0 * terms)


VARIANTS = (
    Variant("conv2d_any__scalar", SCALAR, "conv2d_scalar.c.j2",
            cost=lambda spec: 2.5 * macs(spec)),
    _blocked_variant(),
    _mve_variant(),
    Variant("conv2d_q8_3x2__dsp", DSP, "conv2d_dsp.c.j2",
            _codes_in_one_group, _dsp_cost, pack=_dsp_pack,
            scratch_bytes=lambda spec: 14 * dsp.pairs(spec.geometry(1).terms)),
    *(_float_variant(AVX2, *tile) for tile in ((6, 2), (12, 1), (3, 4))),
    *(_float_variant(AVX512, *tile) for tile in ((14, 2), (28, 1), (6, 4))),
    *(_float_variant(NEON, *tile) for tile in ((6, 4), (8, 2), (12, 1))),
    *(_float_variant(SIMD128, *tile) for tile in ((4, 2), (8, 1))),
    *(_winograd_variant(AVX512, *tile) for tile in ((16, 1), (8, 2), (4, 4))),
    *(_winograd_variant(AVX2, *tile) for tile in ((6, 2), (12, 1), (4, 2))),
    *(_winograd_variant(NEON, *tile) for tile in ((8, 2), (4, 4))),
    *(_code_variant(AVX2, *tile) for tile in ((4, 2), (8, 1))),
    *(_code_variant(VNNI, *tile) for tile in ((14, 2), (28, 1), (6, 4))),
    *(_code_variant(AVX512, *tile) for tile in ((12, 2), (24, 1), (6, 4))),
    *(_code_variant(AVXVNNI, *tile) for tile in ((6, 2), (12, 1), (4, 3))),
    *(_code_variant(DOTPROD, *tile) for tile in ((8, 2), (12, 1), (6, 3))),
    *(_folded_variant(VNNI, 28, count) for count in (2, 4)),
    *(_code_variant(NEON, *tile) for tile in ((4, 4), (8, 2))),
    *(_code_variant(SIMD128, *tile) for tile in ((4, 2), (8, 1))),
)
CONV2D: Family[Conv2dSpec] = Family("conv2d", operands, reference, VARIANTS, macs, CUT)
FAMILIES = (CONV2D,)
