"""A small vocabulary for arithmetic on single elements, shared by rows and kernels as plain data.

An `Expr` is an immutable tree whose nodes know their dtype; operands of one operation have the same
one, and a Python number beside them takes it. `program` flattens a tree to a straight-line list of
instructions, each a tuple `(name, *arguments)` whose arguments are indices of earlier instructions
or, for "const", a number and, for "input", the number of the operand. A name stands for float32
arithmetic, or says its type in front:

    ("add", 0, 1)            float32
    ("int64.add", 0, 1)      int64, modulo 2^64
    ("int64.lt", 0, 1)       a mask, of two int64
    ("float32.cast", 4)      float32, of whatever instruction 4 gives
    ("int64.input", 0)       operand 0, which has that dtype, as it is
    ("input", 0)             operand 0 as float32, whatever its dtype

Masks (results of comparisons, operands of dtype bool) are a type of their own, written to memory as
0 / 1. In float32 arithmetic a mask that stands for a number is 0 or 1, and a number that stands for
a mask holds where it is not 0. float16 and bfloat16 are float32 numbers that were rounded to those
types ("half", "bhalf"), after every operation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.errors import UnsupportedOp

Instr = tuple[str | int | float, ...]
Program = tuple[Instr, ...]

UNARY = ("neg", "abs", "sqrt", "exp", "log", "tanh", "erf", "floor", "ceil", "rint", "sin", "cos",
         "sigmoid", "not", "half", "bhalf", "flip")
BINARY = ("add", "sub", "mul", "div", "max", "min", "pow", "fmod", "mod", "gt", "ge", "lt", "le",
          "eq", "and", "or", "both", "either", "differ", "shl", "shr")

COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq"})
LOGICAL = frozenset({"and", "or", "not"})
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = frozenset((*SIGNED, *UNSIGNED))
ROUNDED = {"float16": "half", "bfloat16": "bhalf"}
"""Types that live in float32 arithmetic, and the operation that rounds to them."""
FLOATS = frozenset({"float32", "float64", "bool", *ROUNDED})

OF_BOTH = COMPARISONS | {"add", "sub", "mul", "div", "max", "min", "neg", "abs", "where", "fmod"}
OF_INTEGERS = OF_BOTH | {"mod", "pow", "both", "either", "differ", "flip", "shl", "shr"}
OF_DOUBLES = OF_BOTH | {"floor", "ceil", "rint"}
NOT_OF_FLOATS = OF_INTEGERS - OF_BOTH - {"pow"}
KEEPS_ROUNDED = COMPARISONS | LOGICAL | {"neg", "abs", "max", "min", "where", "floor", "ceil",
                                         "rint", "fmod"}
"""Operations whose result on rounded numbers needs no rounding."""


@dataclass(frozen=True)
class Expr:
    """A node of the tree. `args` are Exprs; `value` is set for const (a number) and input (int)."""

    name: str
    args: tuple["Expr", ...] = ()
    value: float | int | None = None
    dtype: str = "float32"

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


def is_typed(dtype: str) -> bool:
    """Whether instructions on this type say so in their names."""
    return dtype in INTEGERS or dtype == "float64"


def const(value: float | int, dtype: str = "float32") -> Expr:
    """A constant: of a half type rounded to it, of an integer type modulo 2^n.

    Raises UnsupportedOp for a fraction as an integer, and for a type that there is not."""
    if dtype not in INTEGERS and dtype not in FLOATS:
        raise UnsupportedOp(f"numbers of type {dtype} are not computed with")
    if dtype not in INTEGERS:
        near = np.array(value, dtype) if dtype in ROUNDED else value
        return Expr("const", value=float(near), dtype="float32" if dtype == "bool" else dtype)
    if value != int(value):
        raise UnsupportedOp(f"{value} is no {dtype}")
    bits = 8 * np.dtype(dtype).itemsize
    whole = int(value) % 2**bits
    if dtype in SIGNED and whole >= 2**(bits - 1):
        whole -= 2**bits
    return Expr("const", value=whole, dtype=dtype)


def operand(index: int, dtype: str = "float32") -> Expr:
    """The element of operand number `index`, whose memory holds this dtype."""
    return Expr("input", value=index, dtype=dtype)


def _apply(name: str, *args: Expr | float) -> Expr:
    """The operation on operands of one dtype. Raises UnsupportedOp where they differ, or where the
    operation does not exist for it."""
    data = args[1:] if name == "where" else args
    dtypes = {a.dtype for a in data if isinstance(a, Expr)}
    if len(dtypes) > 1 and not any(map(is_typed, dtypes)):
        dtypes.discard("bool")
    if len(dtypes) != 1:
        raise UnsupportedOp(f"{name!r} of {' and '.join(sorted(dtypes)) or 'constants'}; "
                            "cast them to one type")
    dtype = dtypes.pop()
    if name not in _known_for(dtype):
        raise UnsupportedOp(f"{name!r} does not exist for {dtype}; cast its input to float32")
    exprs = tuple(a if isinstance(a, Expr) else const(a, dtype) for a in args)
    if name == "where":
        exprs = (cast(exprs[0], "bool") if is_typed(exprs[0].dtype) else exprs[0], *exprs[1:])
    if name in COMPARISONS or name in LOGICAL:
        return Expr(name, exprs, dtype="bool")
    if dtype in ROUNDED and name not in KEEPS_ROUNDED:
        return Expr(ROUNDED[dtype], (Expr(name, exprs),), dtype=dtype)
    kept = "float32" if dtype == "bool" and name != "where" else dtype
    return Expr(name, exprs, dtype=kept)


def _known_for(dtype: str) -> frozenset[str]:
    if dtype in INTEGERS:
        return OF_INTEGERS - {"shl", "shr"} if dtype in SIGNED else OF_INTEGERS
    return OF_DOUBLES if dtype == "float64" else _OF_FLOATS


_OF_FLOATS = frozenset((*UNARY, *BINARY, "where")) - NOT_OF_FLOATS


def unary(name: str, x: Expr) -> Expr:
    """One of `UNARY`; rint rounds half to even, "not" takes and gives a mask, "flip" turns every
    bit of an integer."""
    _known(name, UNARY)
    return _apply(name, x)


def binary(name: str, a: Expr | float, b: Expr | float) -> Expr:
    """One of `BINARY`; comparisons give a mask, "and" and "or" take and give masks.

    Of integers: arithmetic is modulo 2^n; "div" goes towards zero, the remainder "fmod" has the
    dividend's sign, "mod" the divisor's; by zero all three give 0. "pow" takes an exponent of any
    integer type; a negative one gives the power towards zero, and 0 for the base 0. "both",
    "either", "differ" are AND, OR and XOR of the bits, "shl" and "shr" shift by 0 to n - 1.
    """
    _known(name, BINARY)
    if name == "pow" and isinstance(a, Expr) and isinstance(b, Expr) and a.dtype in INTEGERS:
        if b.dtype not in INTEGERS:
            raise UnsupportedOp(f"'pow' of {a.dtype} by {b.dtype}; cast the base to float32")
        return Expr("pow", (a, cast(b, "int64" if b.dtype in SIGNED else "uint64")), dtype=a.dtype)
    return _apply(name, a, b)


def _known(name: str, names: tuple[str, ...]) -> None:
    """Raises ValueError for an operation that the vocabulary does not have."""
    if name not in names:
        raise ValueError(f"no operation {name!r}; there are {', '.join(names)}")


def where(mask: Expr, a: Expr | float, b: Expr | float) -> Expr:
    """`a` where `mask` holds, else `b`."""
    return _apply("where", mask, a, b)


def cast(x: Expr, dtype: str) -> Expr:
    """`x` in another type. Integers wrap modulo 2^n. Floats are cut towards zero and saturate, NaN
    becomes the least integer. Anything but 0, NaN too, is true. To float types once rounded, half
    to even. Raises UnsupportedOp for a type that there is not."""
    if x.dtype == dtype:
        return x
    if dtype == "bool":
        return unary("not", binary("eq", x, 0.0))
    if dtype in ROUNDED:
        near = Expr("odd", (x,)) if x.dtype == "float64" else cast(x, "float32")
        return Expr(ROUNDED[dtype], (near,), dtype=dtype)
    if is_typed(dtype):
        return Expr("cast", (x,), dtype=dtype)
    if dtype != "float32":
        raise UnsupportedOp(f"numbers of type {dtype} are not computed with")
    if not is_typed(x.dtype) or x.name == "exactly":
        return Expr("as", x.args if x.name == "exactly" else (x,))
    if x.name == "input":
        return Expr("input", value=x.value)
    if x.name == "const":
        return const(float(np.asarray(x.value, x.dtype).astype(np.float32)))
    return Expr("cast", (x,))


def exactly(x: Expr, dtype: str) -> Expr:
    """`x`, a float32 that is known to be an integer of this type, as one."""
    return Expr("exactly", (x,), dtype=dtype)


def stored(x: Expr, dtype: str) -> Expr:
    """What a store of `dtype` is given for the value `x` of that dtype: it converts floats itself,
    as `cast` does."""
    converts = x.name in ("cast", "exactly") and not is_typed(x.args[0].dtype)
    if x.dtype == dtype and (converts or x.name in ROUNDED.values()):
        return x.args[0]
    return x


def extreme(name: str, a: Expr | float, b: Expr | float) -> Expr:
    """The greater ("max") or the smaller ("min") of two numbers, NaN where either is.

    The vocabulary's `max` and `min` of float32 give their second operand where one is NaN. So a
    number that is known stands first, at no cost; two that are not cost a comparison.
    """
    if _is_number(b):
        a, b = b, a
    found = binary(name, a, b)
    if _is_number(a) or is_typed(found.dtype):
        return found
    return where(binary("eq", a, a), found, a)


def log_of_more(x: Expr) -> Expr:
    """log(1 + x) for x <= 1, with what 1 + x loses in rounding given back to first order."""
    more = x + 1.0
    lost = x - (more - 1.0)
    return unary("log", more) + lost / more


def _is_number(x: Expr | float) -> bool:
    """Whether x is known, and not NaN."""
    value = x.value if isinstance(x, Expr) and x.name == "const" else x
    return isinstance(value, int | float) and value == value


def program(roots: Sequence[Expr]) -> tuple[Program, tuple[int, ...]]:
    """Flattens trees to straight-line code, equal subtrees once; also the index of each root.

    Takes as many steps as there are different Exprs, however often one is part of another and
    however deep they are nested.
    """
    code: list[Instr] = []
    known: dict[tuple[str, ...], int] = {}
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
            if e.name == "as":
                places[id(e)] = args[0]
                continue
            instr: Instr = (_name(e), *args) if e.value is None else (_name(e), e.value)
            key = tuple(map(repr, instr))  # -0.0 is not 0.0
            if key not in known:
                known[key] = len(code)
                code.append(instr)
            places[id(e)] = known[key]
    return tuple(code), tuple(places[id(r)] for r in roots)


def _name(e: Expr) -> str:
    """An instruction's name: conversions go by their result's type, all else by its operands'."""
    if e.name in ("cast", "exactly"):
        return f"{e.dtype}.cast"
    if e.name == "odd":
        return "float32.odd"
    dtype = e.args[1 if e.name == "where" else 0].dtype if e.args else e.dtype
    return f"{dtype}.{e.name}" if is_typed(dtype) else e.name
