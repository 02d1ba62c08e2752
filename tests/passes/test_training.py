"""Passes over training steps: what they move, and what they leave alone."""

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.errors import ModelError
from ganglion.ops import marks
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.gradient.scale_earlier import ScaleEarlier
from ganglion.passes.leave_training import LeaveTraining
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


def _in_training(training: bool) -> ir.Model:
    """Normalisation and Dropout, as they learn or as they are deployed."""
    g = GraphBuilder("net")
    statistics = [g.constant(np.float32(v)) for v in ([2, 3], [1, -1], [0.5, 0.2], [2, 0.3])]
    x = g.input("x", FLOAT, (4, 2, 3))
    y = g.ops("BatchNormalization", x, *statistics, outputs=3 if training else 1,
              training_mode=int(training))[0]
    mode = [g.constant(np.array(True))] if training else []
    g.output("y", g.op("Dropout", y, g.scalar(0.5, y), *mode))
    return g.model()


def test_a_network_in_training_mode_becomes_the_one_that_is_deployed() -> None:
    model, pass_ = _in_training(True), LeaveTraining()
    assert pass_(model).modified
    assert not pass_(model).modified
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(evaluate(model, {"x": x})["y"],
                                  evaluate(_in_training(False), {"x": x})["y"])


def test_a_network_that_shows_its_new_statistics_keeps_its_mode() -> None:
    model = _in_training(True)
    model.graph.outputs.append(model.graph[0].outputs[1])
    with pytest.raises(ModelError, match="running statistics are read"):
        LeaveTraining()(model)
