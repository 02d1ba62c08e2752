"""Laws of folding, dead code, shapes and the pipeline."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.infer import FixShapes, InferShapes, fix_shapes
from ganglion.passes.pipeline import prepare
from ganglion.passes.simplify.dead_code import DeadCode
from ganglion.passes.simplify.fold_constants import FoldConstants

Law = Callable[..., ir.Model]
F = ir.DataType.FLOAT


def ops(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


def test_constant_subgraph_becomes_one_initializer(law: Law) -> None:
    g = GraphBuilder("net")
    w = g.op("Mul", g.op("Exp", g.constant(np.arange(3, dtype=np.float32))), g.constant(
        np.float32([2.0])))
    g.output("y", g.op("Add", g.input("x", F, (2, 3)), w))
    model = law(g.model(), FoldConstants())
    assert ops(model) == ["Add"]
    assert len(model.graph.initializers) == 1


def test_constant_output_keeps_its_name(law: Law) -> None:
    g = GraphBuilder("net")
    g.output("x_too", g.op("Relu", g.input("x", F, (2,))))
    g.output("y", g.op("Exp", g.constant(np.float32([1, 2]))))
    assert ops(law(g.model(), FoldConstants())) == ["Relu", "Identity"]


def test_shape_of_a_static_value_is_a_constant(law: Law) -> None:
    g = GraphBuilder("net")
    x = g.input("x", F, (2, 6))
    n = g.op("Gather", g.op("Shape", x), g.ints(0))
    g.output("y", g.op("Reshape", x, g.op("Concat", n, g.ints(3, 2), axis=0)))
    assert ops(law(g.model(), FoldConstants())) == ["Reshape"]


def test_partial_shape_counts_from_both_ends(law: Law) -> None:
    g = GraphBuilder("net")
    x = g.input("x", F, (2, 3, 5, 7))
    g.output("y", g.op("Add", g.op("Cast", g.op("Shape", x, start=-3, end=-1), to=F), g.op(
        "Cast", g.op("Size", x), to=F)))
    g.output("z", g.op("Relu", x))
    assert ops(law(g.model(), FoldConstants())) == ["Identity", "Relu"]


def test_state_is_not_folded(law: Law) -> None:
    g = GraphBuilder("net")
    w = g.constant(np.ones((3,), np.float32), "w")
    h = g.constant(np.zeros((3,), np.float32), "h", share=False)
    g.graph.inputs.append(h)
    g.output("y", g.op("Add", g.op("Exp", w), g.op("Exp", h)))
    model = g.model()
    assert ops(law(model, FoldConstants())) == ["Exp", "Add"]


def test_integer_weights_stay_integer(law: Law) -> None:
    g = GraphBuilder("net")
    w = g.op("DequantizeLinear", g.constant(np.ones((3,), np.int8)), g.constant(np.float32(0.5)))
    g.output("y", g.op("Mul", g.input("x", F, (2, 3)), w))
    law(g.model(), FoldConstants(), changes=False)


def test_large_expansion_stays_a_node(law: Law) -> None:
    g = GraphBuilder("net")
    big = g.op("Expand", g.constant(np.float32([1])), g.ints(1000, 1000))
    g.output("y", g.op("ReduceSum", g.op("Add", g.input("x", F, (1, 1)), big), keepdims=0))
    law(g.model(), FoldConstants(), changes=False)


def test_operator_without_a_row_folds_in_a_constant_part_and_is_refused_elsewhere(law: Law) -> None:
    g = GraphBuilder("net")
    mask = g.op("Det", g.constant(np.ones((3, 3), np.float32)))
    g.output("y", g.op("Add", g.input("x", F, (3, 3)), mask))
    assert ops(law(g.model(), FoldConstants())) == ["Add"]
    g = GraphBuilder("net")
    g.output("y", g.op("Det", g.input("x", F, (3, 3)), hint="mask"))
    with pytest.raises(UnsupportedOp, match=r"'mask' uses the operator ai\.onnx\.Det"):
        prepare(g.model())


def test_random_numbers_are_not_folded(law: Law) -> None:
    g = GraphBuilder("net")
    g.output("r", g.op("RandomNormal", shape=[2], dtype=int(F)))
    model = g.model()
    assert not FoldConstants()(model).modified


def test_dead_nodes_and_weights_go_and_inputs_stay(law: Law) -> None:
    g = GraphBuilder("net")
    x, _ = g.input("x", F, (2,)), g.input("unused", F, (2,))
    g.op("Add", g.op("Exp", x), g.constant(np.float32([1, 2])))
    g.output("y", g.op("Relu", x))
    model = law(g.model(), DeadCode())
    assert ops(model) == ["Relu"]
    assert not model.graph.initializers


def dynamic() -> ir.Model:
    g = GraphBuilder("net")
    a, b = g.input("a", F, ("N", "T", 3)), g.input("b", F, ("N", 1, 3))
    g.output("y", g.op("Add", a, b))
    return g.model()


def test_fixed_names_are_fixed_everywhere() -> None:
    model = dynamic()
    fix_shapes(model, {"T": 7}, batch=4)
    assert list(model.graph.outputs[0].shape) == [4, 7, 3]
    assert not FixShapes(batch=4)(model).modified
    assert not InferShapes()(model).modified


def test_number_stays_when_a_batch_is_asked_for() -> None:
    g = GraphBuilder("net")
    g.output("y", g.op("Relu", g.input("x", F, (2, 3))))
    model = g.model()
    assert not FixShapes(batch=5)(model).modified


@pytest.mark.parametrize(("sizes", "batch"), [({"Q": 1}, None), ({"N": 0}, None), ({}, 0)])
def test_wrong_size_is_an_error(sizes: dict[str, int], batch: int | None) -> None:
    with pytest.raises(ModelError):
        fix_shapes(dynamic(), sizes, batch=batch)


def test_dimension_left_dynamic_is_named() -> None:
    with pytest.raises(ModelError, match=r"'a'.*shapes="):
        prepare(dynamic(), batch=2)


def test_preparing_leaves_the_given_model_alone() -> None:
    model = dynamic()
    before = ir.to_proto(model).SerializeToString()
    prepared = prepare(model, batch=2, sizes={"T": 5})
    assert list(prepared.graph.outputs[0].shape) == [2, 5, 3]
    assert ir.to_proto(model).SerializeToString() == before
