"""What is left out of a C file is what nothing refers to."""

import pytest

from ganglion.kernels.base import environment, header_text
from ganglion.kernels.isa import ISAS
from ganglion.kernels.shake import WORD, definitions, shaken

TEXT = """\
typedef float v1f;
#define TWO 2
#define UNUSED \\
    3
/* adds
 * twice */
GG_INLINE v1f v1f_add2(v1f a) { return v1f_add(a, v1f_add(a, TWO)); }
GG_INLINE v1f v1f_add(v1f a, v1f b)
{
    if (a > b) {
        return b + a;
    }
    return a + b;
}
MAKE(v1f_made, float)
"""


def test_a_definition_brings_what_it_refers_to_and_its_comment() -> None:
    kept = shaken(TEXT, "y = v1f_add2(x);")
    assert [d.name for d in definitions(kept)] == ["v1f", "TWO", "v1f_add2", "v1f_add"]
    assert "/* adds" in kept


def test_nothing_used_leaves_nothing() -> None:
    assert shaken(TEXT, "int x;") == ""


def test_text_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not a definition"):
        definitions("int loose(void);")


@pytest.mark.parametrize("isa", ISAS)
def test_every_line_of_a_vocabulary_belongs_to_a_definition(isa: str) -> None:
    text = header_text(ISAS[isa].header)
    text += environment().get_template("isa/math.h.j2").render(L=ISAS[isa].lanes)
    lines = [line for line in text.splitlines() if line.strip()]
    held = [line for d in definitions(text) for line in d.text.splitlines() if line.strip()]
    assert held == lines


@pytest.mark.parametrize("isa", ISAS)
def test_what_is_kept_refers_to_nothing_that_was_left_out(isa: str) -> None:
    text = header_text(ISAS[isa].header)
    every = {d.name for d in definitions(text)}
    for start in sorted(every):
        kept = shaken(text, start)
        names = {d.name for d in definitions(kept)}
        assert start in names
        assert set(WORD.findall(kept)) & every <= names
