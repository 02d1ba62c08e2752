"""Instructions of element-wise programs that are not float32: integers of their own width, float64.

Such an instruction is called "TYPE.OPERATION" (see `ops.pointwise`) and works on lanes: arrays of L
elements of C's own type, which compilers turn into vectors. The arithmetic itself is a function of
`isa/typed.h.j2` an operation and type, `gg_OPERATION_TYPE`: modulo 2^n, never undefined.
"""
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ganglion.kernels.literal import BITS, CTYPES

Instr = tuple[str | int | float, ...]
Program = tuple[Instr, ...]

ROUNDED = {"half": BITS["float16"], "bhalf": BITS["bfloat16"]}
COMPARISONS = {"gt": (">", np.greater), "ge": (">=", np.greater_equal), "lt": ("<", np.less),
               "le": ("<=", np.less_equal), "eq": ("==", np.equal)}


def is_typed(instr: Instr) -> bool:
    """Whether the instruction's name says a type."""
    return "." in str(instr[0])


def operation(instr: Instr) -> str:
    """The name without the type."""
    return str(instr[0]).rpartition(".")[2]


def dtype_of(instr: Instr) -> str:
    """The type in the name: of the operands or, for a cast, of the result."""
    return str(instr[0]).rpartition(".")[0] or "float32"


def is_lanes(instr: Instr) -> bool:
    """Whether the value is an array of lanes."""
    return (is_typed(instr) and dtype_of(instr) != "float32" and not is_constant(instr)
            and operation(instr) not in COMPARISONS)


def is_constant(instr: Instr) -> bool:
    """Whether the value is one C constant for all lanes."""
    return is_typed(instr) and operation(instr) == "const"


def number(instr: Instr) -> int | float:
    """The constant that the instruction gives."""
    return float(instr[1]) if dtype_of(instr) == "float64" else int(instr[1])


def arguments(instr: Instr) -> list[int]:
    """The instructions whose values this one takes."""
    return [] if operation(instr) in ("const", "input") else [int(a) for a in instr[1:]]


def exact_inputs(program: Program) -> frozenset[int]:
    """The operands that are read as elements of their own type."""
    return frozenset(int(i[1]) for i in program if is_typed(i) and operation(i) == "input")


def float_inputs(program: Program) -> frozenset[int]:
    """The operands that are read as float32."""
    return frozenset(int(i[1]) for i in program if i[0] == "input")


def expression(program: Program, instr: Instr, args: Sequence[str]) -> str:
    """The C expression of one element from those of the arguments; a mask is an int."""
    name, dtype = operation(instr), dtype_of(instr)
    if name in COMPARISONS:
        return _comparison(name, dtype, *args)
    if name == "where":
        return f"{args[0]} != 0.0f ? {args[1]} : {args[2]}"
    if name == "pow":
        negative = "0" if dtype_of(program[int(instr[2])]) == "uint64" else f"{args[1]} < 0"
        return f"gg_pow_{dtype}({args[0]}, (uint64_t){args[1]}, {negative})"
    if name != "cast":
        return f"gg_{name}_{dtype}({', '.join(args)})"
    source = program[int(instr[1])]
    given = dtype_of(source) if is_lanes(source) or is_constant(source) else "float32"
    if dtype.startswith("float") or not given.startswith("float"):
        return f"({CTYPES[dtype]}){args[0]}"
    return saturated(dtype, args[0], given)


def _comparison(name: str, dtype: str, a: str, b: str) -> str:
    """Of a number with itself through a function, since compilers warn of the operator."""
    if a == b:
        return f"gg_{'below' if name in ('lt', 'gt') else 'same'}_{dtype}({a}, {b})"
    return f"{a} {COMPARISONS[name][0]} {b}"


def saturated(dtype: str, value: str, given: str = "float32") -> str:
    """C of a float cut towards zero and saturated to an integer type; NaN gives its least."""
    if dtype == "uint64":
        return f"gg_unsigned_{given}({value})"
    low = f"{dtype.upper()}_MIN" if dtype[0] == "i" else "0"
    name = "gg_integer" if given == "float32" else "gg_integer_float64"
    return f"({CTYPES[dtype]}){name}({value}, {low}, {dtype.upper()}_MAX)"


def cut(x: np.ndarray, dtype: str) -> np.ndarray:
    """What `saturated` computes: floats cut towards zero and saturated; NaN gives the least."""
    info = np.iinfo(dtype)
    with np.errstate(all="ignore"):
        exact = np.trunc(np.asarray(x, np.float64))
        exact = np.where(np.isnan(exact), info.min, exact)
        # 2^63 is no int64: saturate by hand
        inside = np.where(exact >= info.max, 0, np.maximum(exact, info.min)).astype(dtype)
    return np.where(exact >= info.max, np.asarray(info.max, dtype), inside)


def evaluate(instr: Instr, values: Sequence[np.ndarray], inputs: Sequence[np.ndarray]
             ) -> np.ndarray:
    """The instruction's value in NumPy, from those of all before it; masks are bool."""
    name, dtype = operation(instr), dtype_of(instr)
    if name == "input":
        return np.asarray(inputs[int(instr[1])])
    if name == "const":
        return np.asarray(instr[1], dtype)
    args = [values[a] for a in arguments(instr)]
    if name == "where":
        return np.asarray(np.where(args[0] != 0, args[1], args[2]))
    if name == "odd":
        return _odd(args[0])
    if name == "cast":
        floats = args[0].dtype.kind == "f" and dtype[0] in "iu"
        return cut(args[0], dtype) if floats else np.asarray(args[0].astype(dtype))
    if name in COMPARISONS:
        return np.asarray(COMPARISONS[name][1](*args))
    return np.asarray(_ARITHMETIC[name](*args))


def _odd(x: np.ndarray) -> np.ndarray:
    """float32 rounded to odd: of the two neighbours of an inexact number the one with an odd last
    bit, so that a second rounding sees on which side of a middle it lies."""
    near = x.astype(np.float32)
    toward = np.where(np.abs(near.astype(np.float64)) > np.abs(x),
                      np.nextafter(near, np.float32(0)), near).view(np.uint32)
    odd = (toward | 1).view(np.float32)
    return np.asarray(np.where((near == x) | np.isnan(x), near, odd))


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(a, b) if a.dtype.kind == "f" else (a - np.fmod(a, b)) // b)


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Modulo 2^n; a negative exponent cuts 1 / a^-b towards zero, 0 for the base 0."""
    size = np.where(b < 0, 0, b).astype(np.uint64)
    grown = np.power(a.astype(np.uint64), size).astype(a.dtype)
    units = np.where(b % 2 != 0, a, a * a) * (np.abs(a.astype(np.float64)) == 1)
    return np.where(b < 0, units, grown).astype(a.dtype)


def _shifted(left: bool, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    fits = b < 8 * a.dtype.itemsize
    count = np.where(fits, b, 0).astype(a.dtype)
    return np.where(fits, a << count if left else a >> count, 0).astype(a.dtype)


_ARITHMETIC: Mapping[str, Callable[..., np.ndarray]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": _divided, "neg": np.negative,
    "abs": np.abs, "max": np.maximum, "min": np.minimum, "mod": np.mod, "fmod": np.fmod,
    "pow": _power, "both": np.bitwise_and, "either": np.bitwise_or, "differ": np.bitwise_xor,
    "flip": np.invert, "shl": lambda a, b: _shifted(True, a, b),
    "shr": lambda a, b: _shifted(False, a, b), "floor": np.floor, "ceil": np.ceil,
    "rint": np.rint}
