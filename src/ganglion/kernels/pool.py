"""Max and average pooling over [N, H, W, C]; float32 and int8."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ganglion.kernels.base import Cut, Family, Operand, Part, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, VNNI, Isa
from ganglion.kernels.split import pixels_under


@dataclass(frozen=True)
class PoolSpec:
    """`mode`: "max" or "average"; global pooling has a window of the whole image.

    x: [N, H, W, C]; y: [N, P, Q, C], `out_hw` = (P, Q) given (ceil mode included). Pixels outside x
    never win a maximum, NaN always does; they count for an average only with `count_include_pad`.
    `dtype`: "float32", "int8", "uint8". An int8 average: y = clamp(rint(float(Σ(x - x_zero_point))
    * (multiplier / count)) + zero_point), the factor computed in float32, one division per count.
    `multiplier` = x_scale / y_scale. An int8 maximum copies codes. Operands: x, y.
    """

    mode: str
    dtype: str
    n: int
    h: int
    w: int
    c: int
    kernel: tuple[int, int]
    out_hw: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    count_include_pad: bool = False
    multiplier: float = 1.0
    x_zero_point: int = 0
    zero_point: int = 0


def operands(spec: PoolSpec) -> list[Operand]:
    """x and y."""
    p, q = spec.out_hw
    return [Operand("x", spec.dtype, spec.n * spec.h * spec.w * spec.c),
            Operand("y", spec.dtype, spec.n * p * q * spec.c, "output")]


def taps(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> np.ndarray:
    """Position of every tap along one axis, [out, kernel]; outside [0, size) it does not count."""
    found: np.ndarray = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - pad
    return found


def counts(spec: PoolSpec) -> np.ndarray:
    """Divisor of an average at every output pixel, [P, Q]: at least 1.

    With `count_include_pad` all taps count, save those behind the padded image (as `pads` has no
    end, a window of `out_hw` is taken to lie within it).
    """
    if spec.count_include_pad:
        return np.full(spec.out_hw, spec.kernel[0] * spec.kernel[1])
    along = []
    for size, out, k, s, d, pad in zip((spec.h, spec.w), spec.out_hw, spec.kernel, spec.strides,
                                       spec.dilations, spec.pads):
        at = taps(size, out, k, s, d, pad)
        along.append(((at >= 0) & (at < size)).sum(1))
    return np.asarray(np.maximum(along[0][:, None] * along[1], 1))


def reference(spec: PoolSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pool in NumPy; float32 averages by sums in float64, 8-bit ones exactly."""
    x = arrays["x"].reshape(spec.n, spec.h, spec.w, spec.c)
    rows, columns = (taps(*a) for a in zip((spec.h, spec.w), spec.out_hw, spec.kernel, spec.strides,
                                           spec.dilations, spec.pads))
    inside = (((rows >= 0) & (rows < spec.h))[:, None, :, None]
              & ((columns >= 0) & (columns < spec.w))[None, :, None, :])[None, ..., None]
    seen = x[:, np.clip(rows, 0, spec.h - 1)[:, None, :, None],
             np.clip(columns, 0, spec.w - 1)[None, :, None, :]]
    exact = spec.dtype != "float32"
    if spec.mode == "max":
        least = np.iinfo(spec.dtype).min if exact else -np.inf
        y = np.where(inside, seen, np.asarray(least, spec.dtype)).max((3, 4))
    elif exact:
        sums = np.where(inside, seen.astype(np.int64) - spec.x_zero_point, 0).sum((3, 4))
        factor = np.float32(spec.multiplier) / counts(spec).astype(np.float32)
        info = np.iinfo(spec.dtype)
        y = np.rint(sums.astype(np.float32) * factor[..., None]) + np.float32(spec.zero_point)
        y = np.clip(y, info.min, info.max)
    else:
        sums = np.where(inside, seen.astype(np.float64), 0).sum((3, 4))
        y = sums / counts(spec)[..., None]
    return {"y": y.astype(spec.dtype).reshape(-1)}


def macs(spec: PoolSpec) -> int:
    """Pixels looked at."""
    p, q = spec.out_hw
    return spec.n * p * q * spec.c * spec.kernel[0] * spec.kernel[1]


def _variant(isa: Isa) -> Variant[PoolSpec]:
    def cost(spec: PoolSpec) -> float:
        p, q = spec.out_hw
        vectors = -(-spec.c // isa.lanes)
        return spec.n * p * q * (8.0 + vectors * (1.5 * spec.kernel[0] * spec.kernel[1] + 4.0))

    return Variant(f"pool_any_1x{isa.lanes}__{isa.name}", isa, "pool.c.j2", cost=cost)


def _inside(spec: PoolSpec) -> bool:
    """Whether every window lies within the image."""
    ends = [(out - 1) * s + (k - 1) * d + 1 for out, s, k, d in zip(
        spec.out_hw, spec.strides, spec.kernel, spec.dilations)]
    return spec.pads == (0, 0) and ends[0] <= spec.h and ends[1] <= spec.w


def _bytes_variant() -> Variant[PoolSpec]:
    """64 codes at a time: maxima of bytes, or sums of four by dot products with ones."""
    def accepts(spec: PoolSpec) -> bool:
        return spec.dtype != "float32" and spec.c >= 32 and _inside(spec)

    def cost(spec: PoolSpec) -> float:
        taps = spec.kernel[0] * spec.kernel[1]
        each = 0.7 * taps + 3 if spec.mode == "max" else 2.0 * taps + 20
        return spec.n * spec.out_hw[0] * spec.out_hw[1] * -(-spec.c // 64) * each

    return Variant("pool_q8_1x64__vnni", VNNI, "pool_bytes.c.j2", accepts=accepts, cost=cost)


def _pool_part(spec: PoolSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if spec.n > 1:
        return Part(replace(spec, n=stop - start),
                    {"x": start * spec.h * spec.w * spec.c, "y": start * p * q * spec.c})
    reach = (spec.kernel[0] - 1) * spec.dilations[0] + 1
    first, end, above, _ = pixels_under(start, stop, spec.h, spec.strides[0], reach, spec.pads[0])
    if end <= first:
        return None
    part = replace(spec, h=end - first, out_hw=(stop - start, q), pads=(above, spec.pads[1]))
    return Part(part, {"x": first * spec.w * spec.c, "y": start * q * spec.c})


VARIANTS = (Variant("pool_any__scalar", SCALAR, "pool_scalar.c.j2",
                    cost=lambda spec: 2.0 * macs(spec)),
            *(_variant(isa) for isa in (AVX2, AVX512, NEON, SIMD128)), _bytes_variant())
POOL: Family[PoolSpec] = Family("pool", operands, reference, VARIANTS, cut=Cut(
    lambda spec: spec.n if spec.n > 1 else spec.out_hw[0], _pool_part))
FAMILIES = (POOL,)
