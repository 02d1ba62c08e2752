"""Passes over training steps: what they move, and what they leave alone."""

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.ops import marks
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.gradient.scale_earlier import ScaleEarlier
from ganglion.passes.simplify.common_subexpressions import CommonSubexpressions

FLOAT = ir.DataType.FLOAT


def _product(rows: int, operator: str, left: bool, late: bool = False) -> ir.Model:
    """y = s · (xᵀ · d) or (xᵀ · d) · s; `late`: s is computed behind the product."""
    g = GraphBuilder("product")
    x, d, s = (g.input(*each) for each in (("x", FLOAT, (rows, 6)), ("d", FLOAT, (rows, 5)),
                                           ("s", FLOAT, ())))
    if operator == "Gemm":
        made = g.op("Gemm", x, d, transA=1)
    else:
        made = g.op("MatMul", g.op("Transpose", x, perm=[1, 0]), d)
    s = g.op("Neg", s) if late else s
    g.output("y", g.op("Mul", s, made) if left else g.op("Mul", made, s))
    return g.model()


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize("left", [True, False])
def test_a_factor_moves_into_the_smaller_operand(operator: str, left: bool) -> None:
    model = _product(3, operator, left)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(3, 6)), "d": rng.normal(size=(3, 5)), "s": np.array(0.3)}
    before = evaluate(model, feeds, dtype=np.float64)["y"]
    assert ScaleEarlier()(model).modified
    assert model.graph.outputs[0].producer().op_type == operator
    np.testing.assert_allclose(evaluate(model, feeds, dtype=np.float64)["y"], before, rtol=1e-12)
    assert not ScaleEarlier()(model).modified


def test_a_factor_stays_where_moving_it_saves_nothing_or_cannot_be() -> None:
    wide, late = _product(8, "Gemm", True), _product(3, "Gemm", True, late=True)
    g = GraphBuilder("shared")
    x, d, s = (g.input(*each) for each in (("x", FLOAT, (3, 6)), ("d", FLOAT, (3, 5)),
                                           ("s", FLOAT, ())))
    made = g.op("Gemm", x, d, transA=1)
    g.output("y", g.op("Mul", made, s))
    g.output("z", made)
    for model in (wide, late, g.model()):
        assert not ScaleEarlier()(model).modified


def test_what_is_computed_again_on_purpose_is_not_merged() -> None:
    for mark, expected in ((None, 1), ("0", 2)):
        g = GraphBuilder("again")
        x = g.input("x", FLOAT, (2, 3))
        first, second = g.op("Tanh", x), g.op("Tanh", x)
        if mark is not None:
            second.producer().metadata_props[marks.AGAIN] = mark
        g.output("y", g.op("Add", first, g.op("Neg", second)))
        model = g.model()
        CommonSubexpressions()(model)
        assert sum(n.op_type == "Tanh" for n in model.graph) == expected
