"""Matrix products y = epilogue(op(a) · op(b) + bias), batched; float32 and int8."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ganglion.kernels import dsp, rescale, tiling
from ganglion.kernels.base import Cut, Family, Operand, Part, Stretch, Variant
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
from ganglion.kernels.program import Program, evaluate
from ganglion.kernels.split import results


@dataclass(frozen=True)
class Requant:
    """From an int32 sum to a quantised element, the same on every target:

    y = clamp(rint(float(acc) * multiplier[o]) + zero_point, lo, hi), rint half to even, where
    acc = Σ (x - x_zero_point) · w + bias[o]; w is symmetric (zero point 0).
    `multiplier` (float32 [O]) is a const operand; lo and hi lie within the output's dtype and hold
    a fused ReLU or clip. `y_dtype`: the output's, "" where it is the input's. `below_one`: every
    multiplier is below 1, so that no product leaves int32 and saturating is left to packing.
    `fused`: `rescale` has numbers for every channel (only with `below_one`).
    """

    x_zero_point: int
    zero_point: int
    lo: int
    hi: int
    y_dtype: str = ""
    below_one: bool = False
    fused: bool = False

    def rescale(self, dtype: str, weights: np.ndarray, bias: np.ndarray | None,
                multiplier: np.ndarray) -> rescale.Rescale | None:
        """See `kernels.rescale`; `dtype`: the input's, weights [O, terms]."""
        info = np.iinfo(dtype)
        limits = int(info.min) - self.x_zero_point, int(info.max) - self.x_zero_point
        return rescale.of_sums(weights, bias, multiplier, limits,
                               (self.lo - self.zero_point, self.hi - self.zero_point))

    def begin(self, dtype: str, weights: np.ndarray, bias: np.ndarray | None,
              multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What sums begin with besides their bias, int32 [O], and the factors behind them: float32
        [1, O], with `fused` [2, O], offsets in the second row."""
        if not self.fused:
            return np.zeros(multiplier.size, np.int32), multiplier.reshape(1, -1)
        found = self.rescale(dtype, weights, bias, multiplier.reshape(-1))
        if found is None:
            raise ValueError("this layer's sums cannot be rescaled in one step: fused is wrong")
        return found.shifts + np.int32(rescale.BITS), np.stack([found.factors, found.offsets])


@dataclass(frozen=True)
class Epilogue:
    """What happens to a float32 sum before it is stored: a program of `ops.pointwise`.

    Input 0 is the sum (bias included), inputs 1, 2, ... are `extra` arrays of the output's own
    shape (operands r1, r2, ...), as a residual add needs. The last instruction is the result.
    """

    program: Program
    extra: int = 0


@dataclass(frozen=True)
class MatMulSpec:
    """y[b, m, n] = Σ_k A[b, m, k] · B[b, k, n] (+ bias[n]).

    `dtype`: "float32", or "int8"/"uint8" (of a, and of y if `requant` names no other; b is int8). a
    is stored [batch, M, K], or [batch, K, M] when trans_a; b [batch, K, N], or [batch, N, K] when
    trans_b; strides of 0 in `a_batch`/`b_batch` (elements) repeat one matrix. `b_const`: b is known
    when building and may be packed. `bias`: None, "n" (one a column) .
    Operands: a, b, [bias: float32 or int32 [N]], [multiplier: float32 [N]], [r1...], y.
    """

    dtype: str
    batch: int
    m: int
    n: int
    k: int
    trans_a: bool = False
    trans_b: bool = False
    a_batch: int = 0
    b_batch: int = 0
    b_const: bool = True
    bias: bool = False
    requant: Requant | None = None
    epilogue: Epilogue | None = None

    @property
    def y_dtype(self) -> str:
        return (self.requant.y_dtype if self.requant else "") or self.dtype

    def readable(self, group: int) -> bool:
        """Whether dot products of `group` terms can read a's codes where they lie."""
        return (group == 4 and self.dtype == "uint8" and not self.trans_a
                and self.k % group == 0)


def operands(spec: MatMulSpec) -> list[Operand]:
    """The arrays of a matrix product, in parameter order."""
    out = spec.batch * spec.m * spec.n
    sum_dtype = "float32" if spec.dtype == "float32" else "int32"
    weight = "float32" if spec.dtype == "float32" else "int8"
    a_size = spec.m * spec.k if spec.a_batch == 0 else spec.batch * spec.m * spec.k
    b_size = spec.k * spec.n if spec.b_batch == 0 else spec.batch * spec.k * spec.n
    found = [Operand("a", spec.dtype, a_size),
             Operand("b", weight, b_size, "const" if spec.b_const else "input")]
    if spec.bias:
        found.append(Operand("bias", sum_dtype, spec.n, "const" if spec.b_const else "input"))
    if spec.requant:
        found.append(Operand("multiplier", "float32", spec.n, "const"))
    extra = spec.epilogue.extra if spec.epilogue else 0
    found += [Operand(f"r{i + 1}", "float32", out) for i in range(extra)]
    found.append(Operand("y", spec.y_dtype, out, "output", alias=tuple(
        f"r{i + 1}" for i in range(extra))))
    return found


def requantize(requant: Requant, acc: np.ndarray, multiplier: np.ndarray, dtype: str) -> np.ndarray:
    """int32 sums [..., O] to codes, exactly as every kernel does it."""
    scaled = acc.astype(np.int32).astype(np.float32) * multiplier.astype(np.float32)
    zero = np.float32(requant.zero_point)
    codes = np.clip(np.rint(scaled), requant.lo - zero, requant.hi - zero) + zero
    return codes.astype(dtype)


def finish(epilogue: Epilogue | None, sums: np.ndarray, arrays: Mapping[str, np.ndarray],
           ) -> np.ndarray:
    """float64 sums (bias included) through the epilogue's program, as float32, same shape."""
    y = sums.astype(np.float32)
    if epilogue is None:
        return y
    extras = [arrays[f"r{i + 1}"].reshape(y.shape) for i in range(epilogue.extra)]
    return evaluate(epilogue.program, [y, *extras])[-1].astype(np.float32)


def reference(spec: MatMulSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The product in NumPy: float32 sums in float64, int8 exactly."""
    wide = np.float64 if spec.dtype == "float32" else np.int64
    a = arrays["a"].reshape((-1, spec.k, spec.m) if spec.trans_a else (-1, spec.m, spec.k))
    b = arrays["b"].reshape((-1, spec.n, spec.k) if spec.trans_b else (-1, spec.k, spec.n))
    a, b = a.astype(wide), b.astype(wide)
    if spec.requant:
        a = a - spec.requant.x_zero_point
    sums = (a.swapaxes(1, 2) if spec.trans_a else a) @ (b.swapaxes(1, 2) if spec.trans_b else b)
    if spec.bias:
        sums = sums + arrays["bias"].astype(wide)
    sums = np.broadcast_to(sums, (spec.batch, spec.m, spec.n))
    if spec.requant:
        y = requantize(spec.requant, sums, arrays["multiplier"].reshape(-1), spec.y_dtype)
    else:
        y = finish(spec.epilogue, sums, arrays)
    return {"y": y.reshape(-1)}


def macs(spec: MatMulSpec) -> int:
    """Multiply-adds of a product."""
    return spec.batch * spec.m * spec.n * spec.k


def _matrices(spec: MatMulSpec, b: np.ndarray) -> np.ndarray:
    """b as [batch or 1, K, N]."""
    if spec.trans_b:
        return b.reshape(-1, spec.n, spec.k).swapaxes(1, 2)
    return b.reshape(-1, spec.k, spec.n)


def _float_variant(isa: Isa, rows: int, vectors: int, chains: int = 1) -> Variant[MatMulSpec]:
    width = vectors * isa.lanes

    def pack(spec: MatMulSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not spec.b_const:
            return consts
        b = [tiling.panels(one, width, isa.lanes) for one in _matrices(spec, consts["b"])]
        return {**consts, "b": np.concatenate(b)}

    def scratch_bytes(spec: MatMulSpec) -> int:
        moved = spec.trans_b and not spec.b_const
        return 4 * spec.k * min(width, tiling.padded(spec.n, isa.lanes)) if moved else 0

    def cost(spec: MatMulSpec) -> float:
        one = tiling.product_cycles(spec.m, spec.n, spec.k, rows, width, isa.lanes,
                                    isa.multiplies, chains)
        moved = 3 * spec.k * spec.n / isa.lanes if scratch_bytes(spec) else 0.0
        return spec.batch * (one + moved)

    return Variant(f"matmul_f32_{rows}x{width}__{isa.name}", isa, "matmul_float.c.j2",
                   accepts=lambda spec: spec.dtype == "float32", cost=cost,
                   tile={"rows": rows, "vectors": vectors, "chains": chains}, pack=pack,
                   scratch_bytes=scratch_bytes)


def _dot_variant(isa: Isa) -> Variant[MatMulSpec]:
    """Sums along k in vectors: for few columns."""
    def accepts(spec: MatMulSpec) -> bool:
        rows_of_b = spec.b_const or spec.trans_b or spec.n == 1
        return spec.dtype == "float32" and not spec.trans_a and rows_of_b and spec.k >= isa.lanes

    def pack(spec: MatMulSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not spec.b_const:
            return consts
        columns = _matrices(spec, consts["b"]).swapaxes(1, 2)
        return {**consts, "b": np.ascontiguousarray(columns).reshape(-1)}

    def cost(spec: MatMulSpec) -> float:
        return spec.batch * spec.m * spec.n * (1.0 * spec.k / isa.lanes + 16)

    return Variant(f"matmul_f32_dot__{isa.name}", isa, "matmul_dot.c.j2", accepts=accepts,
                   cost=cost, pack=pack)


def _code_variant(isa: Isa, rows: int, vectors: int) -> Variant[MatMulSpec]:
    width, group, packs = vectors * isa.lanes, isa.terms, isa.packs

    def accepts(spec: MatMulSpec) -> bool:
        one_bias = not (spec.bias and spec.b_batch)
        return spec.dtype != "float32" and spec.b_const and one_bias

    def pack(spec: MatMulSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert spec.requant is not None
        wide = tiling.padded(spec.n, isa.lanes)
        matrices = _matrices(spec, consts["b"])
        requant = spec.requant if packs else replace(spec.requant, fused=False)
        bias = consts["bias"].reshape(-1) if spec.bias else None
        start, factors = requant.begin(spec.dtype, matrices[0].T, bias, consts["multiplier"])
        order = tiling.pack_order(spec.n, vectors if packs else 1)
        found = {**consts, "multiplier": np.concatenate(
            [tiling.padded_to(each[order], wide) for each in factors])}
        start = start if bias is None else start + bias
        parts = []
        for b in matrices[..., order]:
            sums = tiling.folded(spec.dtype, isa, spec.requant.x_zero_point, b, start[order])
            if spec.bias:
                found["bias"] = tiling.padded_to(sums, wide)
            else:
                parts.append(tiling.padded_to(sums, wide).view(np.int8))
            parts.append(tiling.groups(b, isa, width))
        return {**found, "b": np.concatenate(parts)}

    def scratch_bytes(spec: MatMulSpec) -> int:
        prepared = tiling.padded(spec.k, group) * min(rows, spec.m) * (1 if group == 4 else 2)
        return 0 if spec.readable(group) else prepared

    def cost(spec: MatMulSpec) -> float:
        prepare = 0.0 if spec.readable(group) else spec.m * spec.k / (4 * isa.lanes)
        return spec.batch * (prepare + tiling.product_cycles(
            spec.m, spec.n, -(-spec.k // group), rows, width, isa.lanes, isa.dots,
            each=tiling.finish_cycles(spec.n, vectors, packs)))

    return Variant(f"matmul_q8_{rows}x{width}__{isa.name}", isa, "matmul_code.c.j2",
                   accepts=accepts, cost=cost, pack=pack,
                   tile={"rows": rows, "vectors": vectors, "group": group},
                   scratch_bytes=scratch_bytes)


def _matmul_extent(spec: MatMulSpec) -> int:
    if spec.batch > 1:
        return spec.batch
    if spec.m > 1:
        return 1 if spec.trans_a else spec.m
    return spec.n if spec.b_const or spec.trans_b else 1


def _matmul_part(spec: MatMulSpec, start: int, stop: int) -> Part | None:
    if spec.batch > 1:
        return _batch_part(spec, start, stop)
    if spec.m > 1:
        part = replace(spec, m=stop - start)
        return Part(part, results(spec, start * spec.k, start * spec.n, "a"))
    part = replace(spec, n=stop - start)
    starts = results(spec, 0, start, "a")
    if not spec.b_const:
        return Part(part, starts | {"b": start * spec.k, "bias": start})
    shape, axis = ((spec.n, spec.k), 0) if spec.trans_b else ((spec.k, spec.n), 1)
    constants = {"b": Stretch(shape, axis, start, stop)} | {
        name: Stretch((spec.n,), 0, start, stop) for name in ("bias", "multiplier")}
    return Part(part, starts, constants)


def _batch_part(spec: MatMulSpec, start: int, stop: int) -> Part:
    """Some of a batch."""
    starts = results(spec, start * spec.a_batch, start * spec.m * spec.n, "a")
    part = replace(spec, batch=stop - start)
    if not spec.b_const:
        return Part(part, starts | {"b": start * spec.b_batch})
    shape = (spec.batch, spec.k * spec.n)
    return Part(part, starts, {"b": Stretch(shape, 0, start, stop)} if spec.b_batch else {})


def _matmul_units(spec: MatMulSpec, variant: Variant[MatMulSpec]) -> tuple[int, ...]:
    """Panels of packed columns stay whole."""
    if spec.batch > 1:
        return (1,)
    if spec.m > 1:
        return 1, variant.tile.get("rows", 1)
    return (variant.tile.get("vectors", 1) * variant.isa.lanes,)


def _rows_of_codes(spec: MatMulSpec) -> bool:
    rows = spec.batch == 1 or (not spec.b_batch and spec.a_batch == spec.m * spec.k)
    return spec.dtype != "float32" and spec.b_const and not spec.trans_a and rows


def _dsp_pack(spec: MatMulSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert spec.requant is not None
    return dsp.packed(consts, "b", _matrices(spec, consts["b"])[0].T, spec.requant.x_zero_point,
                      partial(dsp.interleaved, together=2), 4)


def _mve_pack(spec: MatMulSpec, consts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert spec.requant is not None
    zero = dsp.signed(spec.dtype, spec.requant.x_zero_point)
    return dsp.packed(consts, "b", _matrices(spec, consts["b"])[0].T, zero, dsp.by_sixteens, 4)


VARIANTS = (
    Variant("matmul_any__scalar", SCALAR, "matmul_scalar.c.j2",
            cost=lambda spec: 2.5 * macs(spec)),
    Variant("matmul_q8_1x4__dsp", DSP, "matmul_dsp.c.j2", _rows_of_codes,
            lambda spec: 1.4 * macs(spec) + 5.0 * spec.batch * spec.m * spec.k, pack=_dsp_pack,
            scratch_bytes=lambda spec: 4 * dsp.pairs(spec.k)),
    Variant("matmul_q8_1x4__mve", MVE, "matmul_mve.c.j2", _rows_of_codes,
            lambda spec: 0.2 * macs(spec) + 4.0 * spec.batch * spec.m * spec.n, pack=_mve_pack,
            scratch_bytes=lambda spec: (0 if spec.dtype == "int8" and spec.k % 16 == 0
                                        else tiling.padded(spec.k, 16))),
    *(_float_variant(AVX2, *tile) for tile in ((6, 2), (1, 4, 2), (3, 4), (12, 1))),
    *(_float_variant(AVX512, *tile) for tile in ((14, 2), (1, 8), (1, 1, 8), (6, 4), (28, 1))),
    *(_float_variant(NEON, *tile) for tile in ((6, 4), (1, 8), (4, 1, 2), (8, 2))),
    *(_float_variant(SIMD128, *tile) for tile in ((4, 2), (1, 4))),
    *(_dot_variant(isa) for isa in (AVX2, AVX512, NEON, SIMD128)),
    *(_code_variant(AVX2, *tile) for tile in ((4, 2), (1, 8), (8, 1))),
    *(_code_variant(VNNI, *tile) for tile in ((14, 2), (1, 8), (6, 4), (28, 1))),
    *(_code_variant(AVX512, *tile) for tile in ((12, 2), (1, 8), (6, 4), (24, 1))),
    *(_code_variant(AVXVNNI, *tile) for tile in ((6, 2), (1, 6), (12, 1), (4, 3))),
    *(_code_variant(DOTPROD, *tile) for tile in ((8, 2), (1, 6), (12, 1), (6, 3))),
    *(_code_variant(NEON, *tile) for tile in ((4, 4), (1, 8), (8, 2))),
    *(_code_variant(SIMD128, *tile) for tile in ((4, 2), (1, 4))),
)
MATMUL: Family[MatMulSpec] = Family("matmul", operands, reference, VARIANTS, macs,
                                    Cut(_matmul_extent, _matmul_part, _matmul_units))
FAMILIES = (MATMUL,)
