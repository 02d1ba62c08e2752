"""Building Models: symbolic shapes, attributes, and nodes that take another's place."""

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.errors import ModelError
from ganglion.ops.base import GANGLION_DOMAIN
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import find, rows
from ganglion.ops.values import attributes, dims, static_shape


def test_symbolic_dimensions_pass_through_inference() -> None:
    g = GraphBuilder("symbolic")
    x = g.input("x", ir.DataType.FLOAT, ("N", 8, 8, 3))
    y = g.op("Transpose", x, perm=[0, 3, 1, 2])
    y = g.op("Conv", y, g.constant(np.ones((4, 3, 3, 3), np.float32)))
    assert dims(y) == ["N", 4, 6, 6]
    y = g.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    assert dims(y) == ["N", 4, 3, 3]
    y = g.op("Flatten", y)
    assert dims(y) == ["N", 36]
    y = g.op("Softmax", g.op("Gemm", y, g.constant(np.ones((36, 5), np.float32))))
    assert dims(y) == ["N", 5]
    with pytest.raises(ModelError, match=r"dynamic shape \['N', 5\]"):
        static_shape(y)


def test_a_scalar_constant_keeps_rank_zero() -> None:
    g = GraphBuilder("scalar")
    assert static_shape(g.constant(2.0)) == ()


def test_attributes_come_back_as_they_were_given() -> None:
    g = GraphBuilder("attributes")
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 4))
    y = g.op("MaxPool", x, attrs={"kernel_shape": [2]}, auto_pad="SAME_UPPER")
    node = y.producer()
    assert node is not None
    assert attributes(node) == {"kernel_shape": [2], "auto_pad": "SAME_UPPER"}
    with pytest.raises(ModelError, match="attribute 'kernel_shape'"):
        g.op("MaxPool", x, attrs={"kernel_shape": object()})


def test_inputs_that_do_not_fit_name_the_node() -> None:
    g = GraphBuilder("misfit")
    x = g.input("x", ir.DataType.FLOAT, (2, 3))
    with pytest.raises(ModelError, match=r"'product' \(MatMul\)"):
        g.op("MatMul", x, x, hint="product")


def test_a_node_taken_over_leaves_no_user_and_keeps_the_output_names() -> None:
    g = GraphBuilder("over")
    x = g.input("x", ir.DataType.FLOAT, (3, 1, 2))
    w = g.constant(np.ones((1, 4, 2), np.float32), "w")
    r = g.constant(np.ones((1, 4, 4), np.float32), "r")
    y, last = g.ops("RNN", x, w, r, outputs=2, hidden_size=4)
    g.output("all", y)
    g.output("result", g.op("Relu", last))
    node = y.producer()
    assert node is not None
    new = g.take_over(node, "RNNTrace", 3, GANGLION_DOMAIN)
    assert [n.op_type for n in g.graph] == ["RNN", "RNNTrace", "Relu"]
    assert [v.name for v in g.graph.outputs] == ["all", "result"]
    assert g.graph.outputs[0] is new.outputs[0]
    assert not any(v.uses() or v.is_graph_output() for v in node.outputs)
    assert [dims(v) for v in new.outputs] == [[3, 1, 1, 4], [1, 1, 4], [1, 3, 1, 4]]


def test_rows_are_found_under_both_names_of_the_standard_domain() -> None:
    assert find("ai.onnx", "Relu") is find("", "Relu") is not None
    assert find("", "NoSuchOperator") is None


def test_every_row_says_where_its_definition_stands() -> None:
    for row in rows().values():
        assert row.source
        assert (row.domain == GANGLION_DOMAIN) <= (row.reference is not None
                                                   and row.infer is not None), row.name


@pytest.mark.parametrize("value", [0.5, float("inf"), float("nan")])
def test_a_scalar_that_no_integer_is_is_refused_beside_integers(value: float) -> None:
    g = GraphBuilder("g")
    whole = g.input("i", ir.DataType.INT32, [2])
    with pytest.raises(ValueError, match="no number of the type int32"):
        g.scalar(value, whole)
