"""A small vocabulary for arithmetic on single elements, shared by rows and kernels as plain data.

An `Expr` is an immutable tree; `program` flattens it to a straight-line list of instructions,
each a tuple `(name, *arguments)` whose arguments are indices of earlier instructions or, for
"const", a float and, for "input", the number of the operand. Floats are float32 in every
instruction; masks (results of comparisons, operands of dtype bool) are a type of their own,
written to memory as 0 / 1. A mask that stands for a number is 0 or 1; a number that stands for a
mask holds where it is not 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Instr = tuple[str | int | float, ...]
Program = tuple[Instr, ...]

UNARY = ("neg", "abs", "sqrt", "exp", "log", "tanh", "erf", "floor", "ceil", "rint", "sin", "cos",
         "sigmoid", "not")
BINARY = ("add", "sub", "mul", "div", "max", "min", "pow", "gt", "ge", "lt", "le", "eq", "and",
          "or")


@dataclass(frozen=True)
class Expr:
    """A node of the tree. `args` are Exprs; `value` is set for const (float) and input (int)."""

    name: str
    args: tuple["Expr", ...] = ()
    value: float | int | None = None

    def __add__(self, other: "Expr | float") -> "Expr":
        return _apply("add", self, other)

    def __radd__(self, other: float) -> "Expr":
        return _apply("add", other, self)

    def __sub__(self, other: "Expr | float") -> "Expr":
        return _apply("sub", self, other)

    def __rsub__(self, other: float) -> "Expr":
        return _apply("sub", other, self)

    def __mul__(self, other: "Expr | float") -> "Expr":
        return _apply("mul", self, other)

    def __rmul__(self, other: float) -> "Expr":
        return _apply("mul", other, self)

    def __truediv__(self, other: "Expr | float") -> "Expr":
        return _apply("div", self, other)

    def __rtruediv__(self, other: float) -> "Expr":
        return _apply("div", other, self)

    def __neg__(self) -> "Expr":
        return _apply("neg", self)


def const(value: float) -> Expr:
    """A float32 constant."""
    return Expr("const", value=float(value))


def operand(index: int) -> Expr:
    """The element of operand number `index`."""
    return Expr("input", value=index)


def _apply(name: str, *args: Expr | float) -> Expr:
    return Expr(name, tuple(a if isinstance(a, Expr) else const(a) for a in args))


def unary(name: str, x: Expr) -> Expr:
    """One of `UNARY`; rint rounds half to even, "not" takes and gives a mask."""
    _known(name, UNARY)
    return _apply(name, x)


def binary(name: str, a: Expr | float, b: Expr | float) -> Expr:
    """One of `BINARY`; comparisons give a mask, "and" and "or" take and give masks."""
    _known(name, BINARY)
    return _apply(name, a, b)


def _known(name: str, names: tuple[str, ...]) -> None:
    """Raises ValueError for an operation that the vocabulary does not have."""
    if name not in names:
        raise ValueError(f"no operation {name!r}; there are {', '.join(names)}")


def where(mask: Expr, a: Expr | float, b: Expr | float) -> Expr:
    """`a` where `mask` holds, else `b`."""
    return _apply("where", mask, a, b)


def program(roots: Sequence[Expr]) -> tuple[Program, tuple[int, ...]]:
    """Flattens trees to straight-line code, equal subtrees once; also the index of each root.

    Takes as many steps as there are different Exprs, however often one is part of another and
    however deep they are nested.
    """
    code: dict[Instr, int] = {}
    places: dict[int, int] = {}
    for root in roots:
        waiting = [root]
        while waiting:
            e = waiting[-1]
            missing = [a for a in reversed(e.args) if id(a) not in places]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            args = tuple(places[id(a)] for a in e.args)
            instr: Instr = (e.name, *args) if e.value is None else (e.name, e.value)
            places[id(e)] = code.setdefault(instr, len(code))
    return tuple(code), tuple(places[id(r)] for r in roots)
