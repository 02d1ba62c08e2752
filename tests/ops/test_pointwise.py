"""Every row's element-wise program says the same as its reference."""

import math

import numpy as np
import pytest
from tests.support.op_examples import Example, all_examples

from ganglion.ops.base import Pointwise
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import attributes
from ganglion.ops.pointwise import Program, binary, operand, program, typed, unary, where
from ganglion.ops.registry import find

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
}
NUMBERS = {"and", "or", "not"}


def interpret(code: Program, roots: tuple[int, ...], operands: list[np.ndarray]
              ) -> list[np.ndarray]:
    """The values of the roots; fails where a mask stands for a number or the reverse."""
    values: list[np.ndarray] = []
    for name, *args in code:
        if name == "const":
            values.append(np.float64(args[0]))
            continue
        if name == "input":
            values.append(operands[int(args[0])])
            continue
        given = [values[int(a)] for a in args]
        masks = {k for k, v in enumerate(given) if v.dtype == bool}
        wanted = set(range(len(given))) if name in NUMBERS else {0} if name == "where" else set()
        assert masks == wanted, f"{name} of operands that are masks: {masks}"
        values.append(ARRAYS[str(name)](*given))
    return [values[r] for r in roots]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_program_equals_reference(example: Example) -> None:
    g, node = example.build()
    row = find(example.domain, example.op)
    assert row is not None
    assert isinstance(row.lower, Pointwise)
    present = [k for k, a in enumerate(example.inputs) if a is not None]
    tree = row.lower.expr(attributes(node), *(
        None if a is None else operand(present.index(k)) for k, a in enumerate(example.inputs)))
    code, roots = program([tree])
    masks = [example.inputs[k].dtype == bool for k in present]  # type: ignore[union-attr]
    code, place = typed(code, masks)
    operands = [np.asarray(example.inputs[k], bool if m else np.float64)
                for k, m in zip(present, masks)]
    with np.errstate(all="ignore"):
        found = interpret(code, tuple(place[r] for r in roots), operands)[0]
    feeds = {k: a.astype(np.float64) if a.dtype == np.float32 else a
             for k, a in example.feeds().items()}
    expected = evaluate(g.model(), feeds, dtype=np.float64)["y0"]
    if np.issubdtype(expected.dtype, np.integer):
        found = np.trunc(found)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_typed_converts_between_masks_and_numbers() -> None:
    a, b = operand(0), operand(1)
    tree = where(binary("add", a, b), binary("gt", b, 0.0), unary("not", b))
    code, roots = program([tree])
    code, place = typed(code, [True, False])
    x, y = np.array([True, False, True, False]), np.array([0.0, 0.0, -1.0, 3.0])
    found = interpret(code, (place[roots[0]],), [x, y])[0]
    assert found.tolist() == [0.0, 1.0, 0.0, 1.0]


def test_typed_leaves_a_program_without_conversions_alone() -> None:
    code, _ = program([binary("add", unary("exp", operand(0)), 1.0)])
    assert typed(code, [False]) == (code, (0, 1, 2, 3))
