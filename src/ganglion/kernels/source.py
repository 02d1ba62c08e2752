"""The text that stands in front of kernels in a C file: includes and vocabularies."""

from collections.abc import Iterable

from ganglion.kernels.base import environment, header_text
from ganglion.kernels.isa import ISAS, Isa
from ganglion.kernels.shake import definitions, shaken

MACROS = """\
#if defined(__GNUC__)
#define GG_INLINE static inline __attribute__((always_inline, unused))
#define GG_FUNCTION static __attribute__((unused))
#else
#define GG_INLINE static inline
#define GG_FUNCTION static
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
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


def prelude(isas: Iterable[Isa], kernels: str) -> str:
    """Includes, and what `kernels` (C text) uses of the vocabularies and the math functions."""
    chosen = closure(isas)
    math = environment().get_template("isa/math.h.j2")
    texts = [header_text(isa.header) for isa in chosen]
    texts.append(environment().get_template("isa/remainder.h.j2").render())
    texts += [math.render(L=lanes) for lanes in sorted({isa.lanes for isa in chosen})]
    texts.append(environment().get_template("isa/typed.h.j2").render())
    used = shaken("\n".join(texts), kernels)
    includes = ["stddef.h", "stdint.h", "string.h"]
    for isa in chosen:
        vector = {d.name for d in definitions(header_text(isa.header))} & {
            d.name for d in definitions(used)}
        includes += [i for i in isa.includes if vector and i not in includes]
    return "\n".join(["".join(f"#include <{name}>\n" for name in includes), MACROS, used, ""])
