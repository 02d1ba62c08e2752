"""Instruction sets as the kernels see them: a header of vector operations and a width.

Each header in `kernels/isa/` defines the same vocabulary for one lane count L:
types `vLf` (float32), `vLi` (int32), `vLm` (mask) and functions `vLf_add`, `vLf_load`, ...
The scalar header (L = 1) says what each of them means.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """`lanes`: float32 lanes of a vector. `header`: file in `kernels/isa/`.

    `includes`: C system headers that the intrinsics need; `implies`: sets that come with it.
    `multiplies`, `dots`: vector multiply-adds of floats and dot products of bytes (widening
    included) that a usual core begins in a cycle, for the cost model. `terms`: how many products
    of bytes a lane's dot product adds. `split`: pairs lie in the halves of a vector, not beside
    each other. `signed`: dot products take both sides signed, not unsigned codes by signed weights.
    `macro`: where it is not defined, the header needs no `includes` and computes in C.
    `packs`: four vectors of sums become one of bytes, in an order of their own.
    """

    name: str
    lanes: int
    header: str
    includes: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    multiplies: float = 2.0
    dots: float = 1.3
    terms: int = 2
    split: bool = False
    signed: bool = False
    packs: bool = False
    macro: str = ""


X86, ARM, WASM = ("immintrin.h",), ("arm_neon.h",), ("wasm_simd128.h",)
SCALAR = Isa("scalar", 1, "scalar.h")
AVX2 = Isa("avx2", 8, "avx2.h", X86, ("scalar",))
AVX512 = Isa("avx512", 16, "avx512.h", X86, ("avx2", "scalar"))
AVXVNNI = Isa("avxvnni", 8, "avxvnni.h", X86, ("avx2", "scalar"), dots=2.0, terms=4)
VNNI = Isa("vnni", 16, "vnni.h", X86, ("avx512", "avx2", "scalar"), dots=2.0, terms=4, packs=True)
NEON = Isa("neon", 4, "neon.h", ARM, ("scalar",), multiplies=1.0, dots=0.5, split=True)
DOTPROD = Isa("dotprod", 4, "dotprod.h", ARM, ("neon", "scalar"), multiplies=1.0, dots=2.0,
              terms=4, signed=True)
DSP = Isa("dsp", 1, "dsp.h", (), ("scalar",))
MVE = Isa("mve", 1, "mve.h", ("arm_mve.h",), ("dsp", "scalar"), macro="__ARM_FEATURE_MVE")
SIMD128 = Isa("simd128", 4, "simd128.h", WASM, ("scalar",), multiplies=1.0, dots=0.5)

ISAS = {isa.name: isa for isa in (SCALAR, AVX2, AVXVNNI, AVX512, VNNI, NEON, DOTPROD,
                                   SIMD128, DSP, MVE)}
