"""Straight-line programs (see `ops.pointwise`) as C over the vector vocabulary, and in NumPy."""

from collections.abc import Callable, Sequence
from math import erf

import numpy as np

from ganglion.kernels import typed
from ganglion.kernels.literal import CTYPES, literal, literal_f32

Instr = tuple[str | int | float, ...]
Program = tuple[Instr, ...]
"""Straight-line code as `ops.pointwise` describes it: ("input", i), ("const", v), (name, *args)."""

COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq"})
LOGICAL = frozenset({"and", "or", "not"})
CYCLES = {"exp": 14.0, "log": 20.0, "tanh": 28.0, "erf": 36.0, "sin": 24.0, "cos": 24.0,
          "sigmoid": 22.0, "pow": 90.0, "div": 5.0, "sqrt": 6.0, "fmod": 300.0, "half": 12.0,
          "bhalf": 6.0}
"""Estimated cycles of a vector operation, where not 1."""
TYPED_CYCLES = 3.0
"""Likewise of an instruction on typed lanes."""


def is_mask(instr: Instr) -> bool:
    """Whether an instruction's value is a mask."""
    return typed.operation(instr) in COMPARISONS or instr[0] in LOGICAL


def value(program: Program, index: int, lanes: int, prefix: str, mask: bool = False) -> str:
    """C expression of instruction `index`, converted to a mask (x != 0) or a float (0 or 1)."""
    f, name = f"v{lanes}f", f"{prefix}{index}"
    if is_mask(program[index]) == mask:
        return name
    if mask:
        return f"v{lanes}m_not({f}_eq({name}, {f}_set(0.0f)))"
    return f"{f}_select({name}, {f}_set(1.0f), {f}_set(0.0f))"


def statements(program: Program, lanes: int, inputs: Sequence[str], prefix: str = "t") -> list[str]:
    """C declarations, one a line, of `{prefix}0`, `{prefix}1`, ...: each instruction's value.

    `inputs`: C expressions of type v{lanes}f, by operand number; with "_exact" behind it, of the
    operand's own type (see `typed`).
    """
    return [_typed_statement(program, k, lanes, inputs, prefix) if typed.is_typed(program[k])
            else _statement(program, k, lanes, inputs, prefix) for k in range(len(program))]


def _typed_statement(program: Program, k: int, lanes: int, inputs: Sequence[str], prefix: str
                     ) -> str:
    """Typed values are plain C, lane by lane in arrays; what they meet of vectors goes through
    arrays of floats, in which a mask is 0 or 1."""
    instr, made, f = program[k], f"{prefix}{k}", f"v{lanes}f"
    dtype, ctype = typed.dtype_of(instr), CTYPES[typed.dtype_of(instr)]
    if typed.is_constant(instr):
        return f"const {ctype} {made} = {literal(dtype, typed.number(instr))};"
    if typed.operation(instr) == "input":
        star = "*" if lanes > 1 else ""
        return f"const {ctype} {star}{made} = {inputs[int(instr[1])]}_exact;"
    lines, args = [], []
    for a in typed.arguments(instr):
        name = f"{prefix}{a}"
        if not typed.is_constant(program[a]) and not typed.is_lanes(program[a]):
            name = value(program, a, lanes, prefix)
            if lanes > 1:
                lines.append(f"float {made}_{a}[{lanes}]; {f}_store({made}_{a}, {name});")
                name = f"{made}_{a}[j]"
        elif typed.is_lanes(program[a]) and lanes > 1:
            name += "[j]"
        args.append(name)
    expression = typed.expression(program, instr, args)
    mask, kept = is_mask(instr), typed.is_lanes(instr)
    if lanes == 1:
        return f"const {ctype if kept else 'v1m' if mask else 'v1f'} {made} = {expression};"
    if mask:
        expression += " ? 1.0f : 0.0f"
    name = made if kept else f"{made}_lanes"
    lines.append(f"{ctype if kept else 'float'} {name}[{lanes}]; "
                 f"for (int j = 0; j < {lanes}; ++j) {name}[j] = {expression};")
    if not kept:
        lines.append(f"const v{lanes}m {made} = {f}_gt({f}_load({name}), {f}_set(0.0f));" if mask
                     else f"const {f} {made} = {f}_load({name});")
    return " ".join(lines)


def _statement(program: Program, k: int, lanes: int, inputs: Sequence[str], prefix: str) -> str:
    name, *args = program[k]
    f, m = f"v{lanes}f", f"v{lanes}m"
    if name == "input":
        return f"const {f} {prefix}{k} = {inputs[int(args[0])]};"
    if name == "const":
        return f"const {f} {prefix}{k} = {f}_set({literal_f32(float(args[0]))});"
    wants = [True] * len(args) if name in LOGICAL else [name == "where", False, False]
    values = [value(program, int(a), lanes, prefix, want) for a, want in zip(args, wants)]
    if name == "where":
        name = "select"
    kind, space = (m, m) if name in LOGICAL else (m if name in COMPARISONS else f, f)
    return f"const {kind} {prefix}{k} = {space}_{name}({', '.join(values)});"


def cycles(program: Program) -> float:
    """Estimated cycles for one vector through the program, loads and stores left out."""
    return sum(TYPED_CYCLES if typed.is_typed(instr) else CYCLES.get(str(instr[0]), 1.0)
               for instr in program if typed.operation(instr) not in ("input", "const"))


def evaluate(program: Program, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Every instruction's value; masks are bool.

    Each float32 result is computed in float64 and rounded to float32. For + - * / and sqrt that is
    exactly float32 arithmetic (float64 has more than twice the digits); for the rest it is the
    nearest float32. Typed ones are exact (see `typed`).
    """
    values: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        for instr in program:
            name, *args = instr
            if typed.is_typed(instr):
                values.append(typed.evaluate(instr, values, inputs))
            elif name == "input":
                values.append(_as_float(inputs[int(args[0])]))
            elif name == "const":
                values.append(np.asarray(args[0], np.float32))
            else:
                values.append(_evaluate(str(name), [values[int(a)] for a in args]))
    return values


def _as_float(given: np.ndarray) -> np.ndarray:
    return np.asarray(given).astype(np.float32)


def _evaluate(name: str, args: list[np.ndarray]) -> np.ndarray:
    if name in LOGICAL:
        flags = [a if a.dtype == bool else a != 0 for a in args]
        if name == "not":
            return np.asarray(~flags[0])
        return np.asarray(flags[0] & flags[1] if name == "and" else flags[0] | flags[1])
    if name == "where":
        chosen = args[0] if args[0].dtype == bool else args[0] != 0
        return np.asarray(np.where(chosen, args[1], args[2]).astype(np.float32))
    if name in typed.ROUNDED:
        return args[0].astype(typed.ROUNDED[name]).astype(np.float32)
    x = [a.astype(np.float64) for a in args]
    if name in COMPARISONS:
        return np.asarray(_COMPARE[name](*x))
    if name in ("max", "min"):
        first = x[0] > x[1] if name == "max" else x[0] < x[1]
        return np.asarray(np.where(first, *x).astype(np.float32))
    return np.asarray(_FLOAT64[name](*x)).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(x < 0, np.exp(np.minimum(x, 0)), 1.0) / (1.0 + np.exp(-np.abs(x))))


_COMPARE = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal,
            "eq": np.equal}
_FLOAT64: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "tanh": np.tanh,
    "erf": np.vectorize(erf, otypes=[np.float64]), "floor": np.floor, "ceil": np.ceil,
    "rint": np.rint, "sin": np.sin, "cos": np.cos, "sigmoid": _sigmoid, "pow": np.power,
    "fmod": np.fmod}
