"""Only what is used: definitions of a C text that nothing refers to are left out.

It understands the text of `kernels/isa/`: top-level definitions that begin at the line's start,
each a `#define`, a typedef, a function, or the use of a macro that defines functions.
"""

import re
from dataclasses import dataclass

WORD = re.compile(r"[A-Za-z_]\w*")
FUNCTION = re.compile(r"(?:GG_INLINE|GG_FUNCTION)\s[^(]*?(\w+)\(")
TYPEDEF = re.compile(r"typedef\s.*?(\w+);", re.DOTALL)
DEFINE = re.compile(r"#define\s+(\w+)")
MADE = re.compile(r"[A-Z]\w*\((\w+),")


@dataclass(frozen=True)
class Definition:
    """One top-level definition with the comment in front of it. `name`: what it defines."""

    text: str
    name: str

    @property
    def words(self) -> set[str]:
        return set(WORD.findall(self.text)) - {self.name}


def definitions(text: str) -> list[Definition]:
    """The definitions of a text, in order."""
    found: list[Definition] = []
    lines: list[str] = []
    depth = 0
    for line in text.splitlines():
        if not lines and not line.strip():
            continue
        lines.append(line)
        if line.startswith(("/*", " *")):
            continue
        depth += line.count("{") - line.count("}")
        code = [each for each in lines if not each.startswith(("/*", " *"))]
        if depth == 0 and _whole(code):
            found.append(Definition("\n".join(lines), _name("\n".join(code))))
            lines = []
    return found


def _whole(code: list[str]) -> bool:
    """Whether the lines, braces balanced, end a definition: a signature still lacks its body."""
    if code[0].startswith("#"):
        return not code[-1].endswith("\\")
    return code[-1].endswith((";", "}")) or (
        code[-1].endswith(")") and not code[0].startswith("GG_"))


def _name(code: str) -> str:
    """What a definition defines. Raises ValueError for text of another form."""
    for pattern in (FUNCTION, TYPEDEF, DEFINE, MADE):
        start = pattern.match(code)
        if start:
            return start.group(1)
    raise ValueError(f"not a definition that can be left out: {code[:80]!r}")


def shaken(text: str, users: str) -> str:
    """The definitions of `text` that `users` refers to, directly or through one another."""
    every = definitions(text)
    by_name: dict[str, list[Definition]] = {}
    for each in every:
        by_name.setdefault(each.name, []).append(each)
    kept: set[str] = set()
    queue = set(WORD.findall(users))
    while queue:
        word = queue.pop()
        if word in by_name and word not in kept:
            kept.add(word)
            for each in by_name[word]:
                queue |= each.words
    return "\n".join(d.text for d in every if d.name in kept)
