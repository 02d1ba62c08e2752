"""Bytes as C text that compilers read fast.

A string literal compiles about ten times faster than a list of numbers (10 MB: 0.3 s against
2.7 s with clang 22, 0.8 s against 6 s with gcc 12), and a union gives its bytes their type.
"""

from functools import cache

from ganglion.kernels.ctext import C

LINE = 64


@cache
def _characters() -> tuple[str, ...]:
    """For each byte, its text in a literal: itself, or three octal digits (never fewer, so that a
    digit may follow)."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return tuple(chr(i) if i in plain else f"\\{i:03o}" for i in range(256))


def bytes_literal(data: bytes) -> C:
    """Adjacent string literals, 64 bytes a line, that together hold exactly these bytes.

    >>> print(bytes_literal(b"A\\x00?"))
    "A\\000\\077"
    """
    table = _characters()
    lines = ["".join([table[b] for b in data[i:i + LINE]]) for i in range(0, len(data), LINE)]
    return C("\n".join(f'"{line}"' for line in lines or [""]))
