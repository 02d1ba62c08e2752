"""The text that stands in front of kernels in a C file: includes and vocabularies."""

from collections.abc import Iterable

from ganglion.kernels.base import environment, header_text
from ganglion.kernels.ctext import C
from ganglion.kernels.isa import ISAS, Isa
from ganglion.kernels.shake import definitions, shaken

GUARDS = """\
#ifdef __cplusplus
#error "this is C11, not C++: compile it as C (a file .c, or -x c) and link; the header serves both"
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) \\
    || defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) \\
    || defined(_M_FP_FAST) || (defined(__GCC_IEC_559) && !__GCC_IEC_559 && __GNUC__ < 12 \\
        && (defined(__x86_64__) || defined(__aarch64__)))
#error "compile without -ffast-math, -Ofast and their parts: they change what the network answers"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "floats must be computed as floats: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunknown-pragmas"
#pragma clang diagnostic ignored "-Wignored-pragmas"
#pragma float_control(precise, on)
#pragma clang diagnostic pop
#pragma STDC FP_CONTRACT OFF
#if __clang_major__ >= 18 && !defined(__apple_build_version__)
#pragma clang fp reassociate(off) reciprocal(off)
#endif
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "no-strict-aliasing")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif
"""
"""In front of the includes, whose functions for vectors they concern too. gcc ignores the
standard's pragma, but obeys its own, in functions that are inlined as well; clang's float_control
takes back what -fassociative-math and its like allow, of which no macro tells; for processors
without it (Arm of 32 bits, WebAssembly) `clang fp` does that for sums and divisions. What no text
can prevent: clang's -funsafe-math-optimizations contracts behind every pragma, and no macro tells
of it."""

MACROS = """\
#if defined(__GNUC__)
#define GG_INLINE static inline __attribute__((always_inline, unused))
#define GG_FUNCTION static __attribute__((unused))
/* a few bytes are moved in registers on bare devices too, where a compiler takes no name of the C
 * library for its own */
#undef memcpy
#define GG_FEW(n) (__builtin_constant_p(n) && (n) <= 16)
#define memcpy(to, from, n) (GG_FEW(n) ? __builtin_memcpy(to, from, n) : (memcpy)(to, from, n))
#else
#define GG_INLINE static inline
#define GG_FUNCTION static
#endif
"""


def closure(isas: Iterable[Isa]) -> list[Isa]:
    """The sets and all they imply, narrowest first; scalar is always there.

    >>> from ganglion.kernels.isa import AVX2
    >>> [isa.name for isa in closure([AVX2])]
    ['scalar', 'avx2']
    """
    names = {"scalar"}
    for isa in isas:
        names |= {isa.name, *isa.implies}
    return [isa for name, isa in ISAS.items() if name in names]


def prelude(isas: Iterable[Isa], kernels: str) -> C:
    """Includes, and what `kernels` (C text) uses of the vocabularies and the math functions."""
    chosen = closure(isas)
    math = environment().get_template("isa/math.h.j2")
    texts = [header_text(isa.header) for isa in chosen]
    texts.append(environment().get_template("isa/remainder.h.j2").render())
    texts += [math.render(L=lanes) for lanes in sorted({isa.lanes for isa in chosen})]
    texts.append(environment().get_template("isa/typed.h.j2").render())
    used = shaken("\n".join(texts), kernels)
    includes = [f"#include <{name}>\n" for name in ("stddef.h", "stdint.h", "string.h")]
    for isa in chosen:
        vector = {d.name for d in definitions(header_text(isa.header))} & {
            d.name for d in definitions(used)}
        for line in (_included(isa, name) for name in isa.includes if vector):
            if line not in includes:
                includes.append(line)
    return C("\n".join([GUARDS, "".join(includes), MACROS, used, ""]))


def _included(isa: Isa, name: str) -> str:
    line = f"#include <{name}>\n"
    return f"#if defined({isa.macro})\n{line}#endif\n" if isa.macro else line
