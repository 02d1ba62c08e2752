"""Depthwise convolution over [N, H, W, C]: every channel has its own filter; float32 and int8.

The spec is `Conv2dSpec` with groups == c and o == c · multiplier; operands, reference and w's order
[O, kh, kw, 1] are the convolution's.
"""

import numpy as np

from ganglion.kernels import tiling
from ganglion.kernels.base import Family, Variant
from ganglion.kernels.conv2d import Conv2dSpec, macs, operands, reference
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa


def _vectorised(spec: Conv2dSpec) -> bool:
    """One filter a channel. Codes are multiplied in float32, which is exact below 2^24."""
    taps = spec.kernel[0] * spec.kernel[1]
    exact = spec.dtype == "float32" or (spec.w_const and taps * 255 * 128 < 2 ** 24)
    return spec.groups == spec.c == spec.o and exact


def _variant(isa: Isa) -> Variant[Conv2dSpec]:
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
        g = spec.geometry(1)
        image = g.image if g.copied or spec.dtype != "float32" else 0
        packed = 0 if spec.w_const else tiling.padded(spec.o, isa.lanes) * g.terms
        return 4 * (image + packed)

    def cost(spec: Conv2dSpec) -> float:
        vectors = spec.n * spec.out_hw[0] * spec.out_hw[1] * -(-spec.c // isa.lanes)
        copied = spec.n * spec.geometry(1).image / isa.lanes
        each = spec.kernel[0] * spec.kernel[1] * (2.0 if isa.lanes == 4 else 0.7) + 3
        return vectors * each + copied

    return Variant(f"depthwise_any_1x{isa.lanes}__{isa.name}", isa, "depthwise.c.j2",
                   accepts=_vectorised, cost=cost, pack=pack, scratch_bytes=scratch_bytes)


VARIANTS = (
    Variant("depthwise_any__scalar", SCALAR, "conv2d_scalar.c.j2",
            accepts=lambda spec: spec.groups == spec.c, cost=lambda spec: 2.5 * macs(spec)),
    *(_variant(isa) for isa in (AVX2, AVX512, NEON, SIMD128)),
)
DEPTHWISE: Family[Conv2dSpec] = Family("depthwise", operands, reference, VARIANTS, macs)
FAMILIES = (DEPTHWISE,)
