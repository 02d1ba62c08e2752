"""Depthwise convolution over [N, H, W, C]: every channel has its own filter; float32 and int8.

The spec is `Conv2dSpec` with groups == c and o == c · multiplier; operands, reference and w's order
[O, kh, kw, 1] are the convolution's.
"""

import numpy as np

from ganglion.kernels import borders, bytewise, dsp, tiling
from ganglion.kernels.base import Family, Variant
from ganglion.kernels.conv2d_spec import CUT, Conv2dSpec, macs, operands, reference
from ganglion.kernels.isa import AVX2, AVX512, DSP, MVE, NEON, SCALAR, SIMD128, VNNI, Isa


def _vectorised(spec: Conv2dSpec) -> bool:
    """One filter a channel. Codes are multiplied in float32, which is exact below 2^24."""
    taps = spec.kernel[0] * spec.kernel[1]
    exact = spec.dtype == "float32" or (spec.w_const and taps * 255 * 128 < 2 ** 24)
    return spec.groups == spec.c == spec.o and exact


def _variant(isa: Isa, pixels: int) -> Variant[Conv2dSpec]:
    def pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wide = tiling.padded(spec.o, isa.lanes)
        found = dict(consts)
        if spec.w_const:
            taps = consts["w"].reshape(spec.o, -1).T.astype(np.float32)
            packed = np.concatenate([tiling.padded_to(tap, wide) for tap in taps])
            found["w"] = packed if spec.dtype == "float32" else packed.view(np.int8)
        for name in ("bias", "multiplier"):
            if name in found:
                found[name] = tiling.padded_to(found[name].reshape(-1), wide)
        return found

    def scratch_bytes(spec: Conv2dSpec) -> int:
        packed = 0 if spec.w_const else tiling.padded(spec.o, isa.lanes) * spec.geometry(1).terms
        return 4 * (borders.walk(spec, spec.dtype != "float32").scratch + packed)

    def cost(spec: Conv2dSpec) -> float:
        walked = borders.walk(spec, spec.dtype != "float32")
        vectors = spec.n * spec.out_hw[0] * spec.out_hw[1] * -(-spec.c // isa.lanes)
        copied = spec.n * walked.image / isa.lanes if walked.copied else 0.0
        each = spec.kernel[0] * spec.kernel[1] * (0.2 + 0.8 / isa.multiplies)
        each += 2.0 if spec.dtype == "float32" else 9.0
        return vectors * each + copied

    return Variant(f"depthwise_any_{pixels}x{isa.lanes}__{isa.name}", isa, "depthwise.c.j2",
                   accepts=_vectorised, cost=cost, pack=pack, scratch_bytes=scratch_bytes,
                   tile={"pixels": pixels})


def _lanes_apart(values: np.ndarray) -> np.ndarray:
    """[C, ...] to [C / 64, vector, lane, 4, ...], as interleaved bytes lie; C padded to 64."""
    chunks = -(-values.shape[0] // 64)
    full = np.zeros((chunks * 64, *values.shape[1:]), values.dtype)
    full[:values.shape[0]] = values
    return full.reshape(chunks, 4, 4, 4, *values.shape[1:]).swapaxes(1, 2)


def _vnni_pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """w: of each 64 bytes the folded biases, then the groups of taps for each of the output rows
    computed together; all in lane order."""
    assert spec.requant is not None
    many = bytewise.pixels(spec)
    w = consts["w"].reshape(spec.o, -1)
    bias = consts["bias"].reshape(-1) if spec.bias else None
    start, factors = spec.requant.begin(spec.dtype, w, bias, consts["multiplier"])
    start = start if bias is None else start + bias
    sums = tiling.folded(spec.dtype, VNNI, spec.requant.x_zero_point, w.T, start)
    kh, kw = spec.kernel
    together = bytewise.rows(spec)
    groups = [(row, members) for row in range(together) for members in bytewise.taps(spec)]
    grouped = np.zeros((spec.o, len(groups), 4), np.int8)
    for g, (row, members) in enumerate(groups):
        for at, (i, k) in enumerate(members):
            if 0 <= i - row < kh:
                grouped[:, g, at] = w[:, (i - row) * kw + k]
    apart = _lanes_apart(np.tile(grouped, (many, 1, 1)))
    weights = np.moveaxis(apart, 4, 1).reshape(apart.shape[0], -1)
    heads = _lanes_apart(np.tile(sums, many)).reshape(apart.shape[0], 64).view(np.int8)
    return {**consts, "w": np.concatenate([heads, weights], axis=1).reshape(-1),
            "multiplier": np.concatenate([_lanes_apart(np.tile(each, many)).reshape(-1)
                                          for each in factors])}


def _vnni_accepts(spec: Conv2dSpec) -> bool:
    if not (spec.groups == spec.c == spec.o and spec.w_const and spec.dtype != "float32"):
        return False
    columns = sum(spec.kernel[1] for _ in bytewise.blocks(spec, 1, 1))
    return spec.kernel[0] * columns < 3 * borders.MOST_TAPS


def _vnni_scratch_bytes(spec: Conv2dSpec) -> int:
    row = spec.w * spec.c + bytewise.beyond(spec)
    return row * (borders.outside(spec) + (bytewise.beyond(spec) > 0))


def _vnni_variant(vectors: int) -> Variant[Conv2dSpec]:
    """`vectors`: of 64 codes, at once."""
    def cost(spec: Conv2dSpec) -> float:
        p, q = spec.out_hw
        along, groups = -(-q // bytewise.pixels(spec)), len(bytewise.taps(spec))
        # columns are shared by neighbours where a vector is one pixel
        columns = 1 if bytewise.pixels(spec) > 1 else spec.kernel[1]
        reads = along + (columns - 1) * -(-along // vectors)
        each = along * (8.0 + 2.0 * groups) + 4.0 * reads * groups / columns / bytewise.rows(spec)
        return spec.n * p * -(-spec.c // 64) * each

    return Variant(f"depthwise_q8_{vectors}x64__vnni", VNNI, "depthwise_vnni.c.j2",
                   accepts=_vnni_accepts, cost=cost, pack=_vnni_pack,
                   scratch_bytes=_vnni_scratch_bytes, tile={"vectors": vectors})


def _dsp_pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert spec.requant is not None
    return dsp.packed(consts, "w", consts["w"].reshape(spec.o, -1), spec.requant.x_zero_point,
                      dsp.by_channel)


def _dsp_accepts(spec: Conv2dSpec) -> bool:
    one_each = spec.groups == spec.c == spec.o and spec.kernel[0] * spec.kernel[1] <= 64
    return one_each and spec.w_const and spec.dtype != "float32"


def _mve_pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert spec.requant is not None
    return dsp.packed(consts, "w", consts["w"].reshape(spec.o, -1), spec.requant.x_zero_point,
                      tiling.by_fours, 4)


VARIANTS = (
    Variant("depthwise_any__scalar", SCALAR, "conv2d_scalar.c.j2",
            accepts=lambda spec: spec.groups == spec.c, cost=lambda spec: 2.5 * macs(spec)),
    Variant("depthwise_q8_1x4__dsp", DSP, "depthwise_dsp.c.j2", accepts=_dsp_accepts,
            cost=lambda spec: macs(spec) * 2.3, pack=_dsp_pack,
            scratch_bytes=lambda spec: spec.c if any(spec.pads) else 0),
    Variant("depthwise_q8_1x4__mve", MVE, "depthwise_mve.c.j2", accepts=_dsp_accepts,
            cost=lambda spec: macs(spec) * 1.4, pack=_mve_pack,
            scratch_bytes=lambda spec: spec.c if any(spec.pads) else 0),
    *(_variant(isa, 4) for isa in (AVX2, AVX512, NEON, SIMD128)),
    *(_vnni_variant(vectors) for vectors in (3, 5)),
)
DEPTHWISE: Family[Conv2dSpec] = Family("depthwise", operands, reference, VARIANTS, macs, CUT)
FAMILIES = (DEPTHWISE,)
