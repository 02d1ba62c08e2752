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
    """

    name: str
    lanes: int
    header: str
    includes: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()


SCALAR = Isa("scalar", 1, "scalar.h")
AVX2 = Isa("avx2", 8, "avx2.h", ("immintrin.h",), ("scalar",))
AVX512 = Isa("avx512", 16, "avx512.h", ("immintrin.h",), ("avx2", "scalar"))
AVXVNNI = Isa("avxvnni", 8, "avxvnni.h", ("immintrin.h",), ("avx2", "scalar"))
VNNI = Isa("vnni", 16, "vnni.h", ("immintrin.h",), ("avx512", "avx2", "scalar"))
NEON = Isa("neon", 4, "neon.h", ("arm_neon.h",), ("scalar",))
DOTPROD = Isa("dotprod", 4, "dotprod.h", ("arm_neon.h",), ("neon", "scalar"))
SIMD128 = Isa("simd128", 4, "simd128.h", ("wasm_simd128.h",), ("scalar",))

ISAS = {isa.name: isa for isa in (SCALAR, AVX2, AVXVNNI, AVX512, VNNI, NEON, DOTPROD,
                                   SIMD128)}
