"""Text that may stand in a C file. Nothing of a network's file reaches C but through `word`.

A comment does not hold a name as it is: a backslash or a trigraph before a line's end, or a lone
carriage return, splices lines before comments are removed (C11 5.1.1.2), and what stood in the
comment becomes part of the program.
"""

import re
from collections.abc import Iterable

LONGEST = 100
"""Characters of a name that are kept: C11 5.2.4.1 promises no more than 4095 a line."""


class C(str):
    """Text that may stand in C: written in this program, or put together by this module.

    Where C files are written, a plain `str` is refused (`emit.c`); so no name gets there by
    mistake. Only this module and those that render templates make one of what is no literal
    (tests/emit/test_ctext.py).
    """

    __slots__ = ()


def word(text: str) -> C:
    """The one way for a file's text into C: ASCII letters, digits and underscores pass, anything
    else becomes an underscore.

    >>> word("conv/kernel:0")
    'conv_kernel_0'
    """
    return C(re.sub(r"[^A-Za-z0-9_]", "_", text[:LONGEST]))


def phrase(text: str) -> C:
    """The names of several nodes, joined by plus signs, for a comment.

    >>> phrase("dense/bias+relu")
    'dense_bias+relu'
    """
    return C("+".join(word(part) for part in text[:10 * LONGEST].split("+")))


def code(template: str, *values: C | int | float) -> C:
    """`template`, a literal of this program, with the values in the places of its {}.

    Raises TypeError for a value that is neither C nor a number.
    """
    for value in values:
        if not isinstance(value, C | int | float):
            raise TypeError(f"{value!r} is no C and no number: pass it through word()")
    return C(template.format(*values))


def joined(separator: str, parts: Iterable[C]) -> C:
    """C's pieces with a literal of this program between them. Raises TypeError as `code`."""
    return C(separator.join([code("{}", part) for part in parts]))
