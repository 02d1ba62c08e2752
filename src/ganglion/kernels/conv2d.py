"""Convolution over [N, H, W, C] (channels last), 1-D as H = 1; float32 and int8.

Grouped too; depthwise (groups == channels) has variants of its own in `depthwise.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ganglion.kernels import dsp, tiling
from ganglion.kernels.base import Cut, Family, Operand, Part, Variant
from ganglion.kernels.isa import (
    AVX2,
    AVX512,
    AVXVNNI,
    DOTPROD,
    DSP,
    NEON,
    SCALAR,
    SIMD128,
    VNNI,
    Isa,
)
from ganglion.kernels.matmul import Epilogue, Requant, finish, requantize
from ganglion.kernels.split import pixels_under, results


@dataclass(frozen=True)
class Geometry:
    """How a direct convolution walks memory; for templates.

    `images` of P × Q outputs; `row`, `image`: elements of a row and an image, padding included when
    the image is `copied`; `loops`: (count, stride) around a contiguous `run` of terms, padded to
    whole groups; `terms`: their number in all. A 1×1 convolution without steps is one long row.
    """

    images: int
    p: int
    q: int
    row: int
    image: int
    copied: bool
    padding: bool
    loops: tuple[tuple[int, int], ...]
    run: int
    terms: int


@dataclass(frozen=True)
class Conv2dSpec:
    """y[n, p, q, o] = Σ_ijc x[n, p·sh + i·dh - top, q·sw + j·dw - left, g·C/G + c] · w[o, i, j, c]

    g = o // (O / G). x: [N, H, W, C]; w: [O, kh, kw, C / G]; y: [N, P, Q, O]; pixels outside x are
    0 (int8: x_zero_point). `pads` = (top, left, bottom, right).
    `dtype`: "float32", "int8" or "uint8" (of x, and of y if `requant` names no other; w is int8).
    Operands: x, w, [bias: float32 or int32 [O]], [multiplier: float32 [O]], [r1...], y.
    `w_const`: false in a training step, where w changes from call to call.
    """

    dtype: str
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
    bias: bool = True
    w_const: bool = True
    requant: Requant | None = None
    epilogue: Epilogue | None = None

    @property
    def out_hw(self) -> tuple[int, int]:
        """(P, Q), the height and width of y."""
        top, left, bottom, right = self.pads
        p = (self.h + top + bottom - (self.kernel[0] - 1) * self.dilations[0] - 1)
        q = (self.w + left + right - (self.kernel[1] - 1) * self.dilations[1] - 1)
        return p // self.strides[0] + 1, q // self.strides[1] + 1

    @property
    def y_dtype(self) -> str:
        return (self.requant.y_dtype if self.requant else "") or self.dtype

    def folded(self, count: int) -> "Conv2dSpec":
        """The same sums, `count` neighbouring output columns as channels of one: the kernel is
        wider by their steps, with zeros where a column does not look; y lies the same."""
        wider = (count - 1) * self.strides[1]
        return replace(self, o=count * self.o, kernel=(self.kernel[0], self.kernel[1] + wider),
                       strides=(self.strides[0], count * self.strides[1]))

    def geometry(self, group: int) -> Geometry:
        """`group`: terms of one dot product, 1 for float32."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        top, left, bottom, right = self.pads
        p, q = self.out_hw
        row = (self.w + left + right) * self.c
        together = dw == 1 and self.groups == 1
        run = tiling.padded(kw * self.c if together else self.c // self.groups, group)
        loops = ((kh, dh * row),) if together else ((kh, dh * row), (kw, dw * self.c))
        padding = any(self.pads)
        exact_run = run == (kw * self.c if together else self.c // self.groups)
        copied = padding or group == 2 or (group == 4 and not (self.dtype == "uint8" and exact_run))
        flat = self.kernel == self.strides == (1, 1) and not padding
        images = self.n
        if flat:
            images, p, q = (self.n, 1, p * q) if copied else (1, 1, self.n * p * q)
        return Geometry(images, p, q, row, (self.h + top + bottom) * row, copied, padding,
                        tuple(loop for loop in loops if loop[0] > 1), run,
                        run * kh * (1 if together else kw))


def operands(spec: Conv2dSpec) -> list[Operand]:
    """The arrays of a convolution, in parameter order."""
    p, q = spec.out_hw
    out = spec.n * p * q * spec.o
    exact = spec.dtype != "float32"
    role = "const" if spec.w_const else "input"
    size = spec.o * spec.kernel[0] * spec.kernel[1] * (spec.c // spec.groups)
    found = [Operand("x", spec.dtype, spec.n * spec.h * spec.w * spec.c),
             Operand("w", "int8" if exact else "float32", size, role)]
    if spec.bias:
        found.append(Operand("bias", "int32" if exact else "float32", spec.o, role))
    if spec.requant:
        found.append(Operand("multiplier", "float32", spec.o, "const"))
    extras = tuple(f"r{i + 1}" for i in range(spec.epilogue.extra if spec.epilogue else 0))
    found += [Operand(name, "float32", out) for name in extras]
    found.append(Operand("y", spec.y_dtype, out, "output", alias=extras))
    return found


def windows(x: np.ndarray, spec: Conv2dSpec, fill: float) -> np.ndarray:
    """The pixels under every tap, [N, P, Q, kh, kw, C]; `fill` outside the image."""
    (kh, kw), (sh, sw), (dh, dw) = spec.kernel, spec.strides, spec.dilations
    p, q = spec.out_hw
    top, left, bottom, right = spec.pads
    padded = np.full((spec.n, spec.h + top + bottom, spec.w + left + right, spec.c), fill, x.dtype)
    padded[:, top:top + spec.h, left:left + spec.w] = x.reshape(spec.n, spec.h, spec.w, spec.c)
    rows = np.arange(p)[:, None] * sh + np.arange(kh) * dh
    columns = np.arange(q)[:, None] * sw + np.arange(kw) * dw
    return padded[:, rows[:, None, :, None], columns[None, :, None, :]]


def reference(spec: Conv2dSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The convolution in NumPy: float32 sums in float64, int8 exactly."""
    wide = np.float64 if spec.dtype == "float32" else np.int64
    zero = spec.requant.x_zero_point if spec.requant else 0
    taps = windows(arrays["x"].astype(wide) - zero, spec, 0)
    g, p, q = spec.groups, *spec.out_hw
    rows: np.ndarray = taps.reshape(spec.n * p * q, -1, g, spec.c // g).transpose(2, 0, 1, 3)
    rows = rows.reshape(g, spec.n * p * q, -1)
    w = arrays["w"].astype(wide).reshape(g, spec.o // g, -1)
    products: np.ndarray = rows @ w.swapaxes(1, 2)
    sums = products.transpose(1, 0, 2).reshape(spec.n, p, q, spec.o)
    if spec.bias:
        sums = sums + arrays["bias"].astype(wide)
    if spec.requant:
        y = requantize(spec.requant, sums, arrays["multiplier"].reshape(-1), spec.y_dtype)
    else:
        y = finish(spec.epilogue, sums, arrays)
    return {"y": y.reshape(-1)}


def macs(spec: Conv2dSpec) -> int:
    """Multiply-adds, those with padding counted too."""
    p, q = spec.out_hw
    return spec.n * p * q * spec.o * spec.kernel[0] * spec.kernel[1] * (spec.c // spec.groups)


def weights_by_group(spec: Conv2dSpec, w: np.ndarray, run: int) -> np.ndarray:
    """[G, terms, O / G]; runs padded with zeros to `run` terms."""
    kh, kw = spec.kernel
    each = spec.c // spec.groups
    length = kw * each if spec.dilations[1] == 1 and spec.groups == 1 else each
    runs = w.reshape(spec.groups, spec.o // spec.groups, kh * kw * each // length, length)
    full = np.zeros((*runs.shape[:3], run), w.dtype)
    full[..., :length] = runs
    return full.reshape(spec.groups, spec.o // spec.groups, -1).swapaxes(1, 2)


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


def _dsp_pack(spec: Conv2dSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert spec.requant is not None
    return dsp.packed(consts, "w", consts["w"].reshape(spec.o, -1), spec.requant.x_zero_point,
                      dsp.interleaved)


def _dsp_cost(spec: Conv2dSpec) -> float:
    terms = spec.geometry(1).terms
    return macs(spec) / (spec.o * terms) * (spec.o * (terms + 12.0) + 3.0 * terms)


def _flat(spec: Conv2dSpec) -> bool:
    """A convolution of single pixels: images and rows do not matter."""
    return spec.kernel == spec.strides == (1, 1) and not any(spec.pads)


def _conv_extent(spec: Conv2dSpec) -> int:
    p, q = spec.out_hw
    if not spec.w_const:
        return 1
    return spec.n * p * q if _flat(spec) else spec.n if spec.n > 1 else p


def _conv_part(spec: Conv2dSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if _flat(spec):
        part = replace(spec, n=1, h=1, w=stop - start)
        return Part(part, results(spec, start * spec.c, start * spec.o))
    if spec.n > 1:
        part = replace(spec, n=stop - start)
        return Part(part, results(spec, start * spec.h * spec.w * spec.c, start * p * q * spec.o))
    reach = (spec.kernel[0] - 1) * spec.dilations[0] + 1
    top, left, _, right = spec.pads
    first, end, above, below = pixels_under(start, stop, spec.h, spec.strides[0], reach, top)
    if end <= first:
        return None
    part = replace(spec, h=end - first, pads=(above, left, below, right))
    return Part(part, results(spec, first * spec.w * spec.c, start * q * spec.o))


def _conv_units(spec: Conv2dSpec, variant: Variant[Conv2dSpec]) -> tuple[int, ...]:
    """Winograd's tiles keep their places; pixels without rows are best cut at whole tiles."""
    if "outputs" in variant.tile and spec.n == 1:
        return (variant.tile["outputs"],)
    return (1, variant.tile.get("rows", 1)) if _flat(spec) else (1,)


VARIANTS = (
    Variant("conv2d_any__scalar", SCALAR, "conv2d_scalar.c.j2",
            cost=lambda spec: 2.5 * macs(spec)),
    Variant("conv2d_q8_3x2__dsp", DSP, "conv2d_dsp.c.j2",
            lambda spec: spec.dtype != "float32" and spec.w_const and spec.groups == 1,
            _dsp_cost, pack=_dsp_pack,
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
CUT = Cut(_conv_extent, _conv_part, _conv_units)
CONV2D: Family[Conv2dSpec] = Family("conv2d", operands, reference, VARIANTS, macs, CUT)
FAMILIES = (CONV2D,)
