"""Every row's element-wise program says the same as its reference."""

import math

import numpy as np
import pytest
from tests.support.op_examples import Example, all_examples

from ganglion.ops.base import Pointwise
from ganglion.ops.evaluate import evaluate
from ganglion.ops.pointwise import Program, operand, program, unary
from ganglion.ops.registry import find
from ganglion.ops.values import attributes

EXAMPLES = [e for e in all_examples()
            if (row := find(e.domain, e.op)) is not None and isinstance(row.lower, Pointwise)]

ARRAYS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
    "min": np.minimum, "pow": np.power, "gt": np.greater, "ge": np.greater_equal, "lt": np.less,
    "le": np.less_equal, "eq": np.equal, "and": np.logical_and, "or": np.logical_or,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "tanh": np.tanh, "floor": np.floor, "ceil": np.ceil, "rint": np.rint, "sin": np.sin,
    "cos": np.cos, "not": np.logical_not, "where": np.where,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": np.vectorize(math.erf),
    "fmod": np.fmod, "mod": np.mod, "cast": np.trunc, "flip": np.invert,
    "both": np.bitwise_and, "either": np.bitwise_or, "differ": np.bitwise_xor,
    "shl": np.left_shift, "shr": np.right_shift,
}
LOGICAL = {"and", "or", "not"}


def interpret(code: Program, operands: list[np.ndarray]) -> list[np.ndarray]:
    """The value of every instruction; masks and numbers stand for each other as 0 and 1."""
    values: list[np.ndarray] = []
    for instr, *args in code:
        dtype, _, name = str(instr).rpartition(".")
        if name in ("const", "input"):
            values.append(np.asarray(args[0], dtype or np.float64) if name == "const"
                          else operands[int(args[0])])
            continue
        given = [values[int(a)] for a in args]
        wanted = {0, 1} if name in LOGICAL else {0} if name == "where" else set()
        if not dtype or name == "cast":
            given = [v.astype(bool if k in wanted else np.float64) for k, v in enumerate(given)]
        values.append(np.asarray(ARRAYS[str(name)](*given)))
    return values


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_program_equals_reference(example: Example) -> None:
    g, node = example.build()
    row = find(example.domain, example.op)
    assert row is not None
    assert isinstance(row.lower, Pointwise)
    tree = row.lower.expr(attributes(node), *(
        None if a is None else operand(k, a.dtype.name) for k, a in enumerate(example.inputs)))
    code, roots = program([tree])
    operands = [np.zeros(0) if a is None else a.astype(np.float64) if a.dtype == np.float32 else a
                for a in example.inputs]
    with np.errstate(all="ignore"):
        found = interpret(code, operands)[roots[0]]
    feeds = {k: a.astype(np.float64) if a.dtype == np.float32 else a
             for k, a in example.feeds().items()}
    expected = evaluate(g.model(), feeds, dtype=np.float64)["y0"]
    if np.issubdtype(expected.dtype, np.integer):
        found = np.trunc(found)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_program_computes_equal_subtrees_once() -> None:
    x = operand(0)
    code, roots = program([unary("exp", x) * unary("exp", x), unary("exp", x)])
    assert code == (("input", 0), ("exp", 0), ("mul", 1, 1))
    assert roots == (2, 1)
