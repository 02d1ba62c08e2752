"""Evaluating whole Models, and what it says about wrong inputs."""

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.errors import DataError, ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder


def _model(rows: int | str = "N") -> ir.Model:
    g = GraphBuilder("two")
    x = g.input("x", ir.DataType.FLOAT, (rows, 3))
    other = g.input("other", ir.DataType.FLOAT, (rows, 3))
    bias = g.constant(np.array([1, 2, 3], np.float32), "bias")
    g.output("y", g.op("Relu", g.add(g.add(x, other), bias), hint="act"))
    return g.model()


def _array(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_symbolic_dimensions_take_the_size_that_comes() -> None:
    model = _model()
    for n in (1, 5):
        x, other = _array(n, 3), _array(n, 3)[::-1].copy()
        y = evaluate(model, {"x": x, "other": other})["y"]
        np.testing.assert_array_equal(y, np.maximum(x + other + np.array([1, 2, 3], "f4"), 0))


def test_one_name_of_a_dimension_means_one_size() -> None:
    with pytest.raises(DataError, match=r"'other' has shape \[3, 3\], expected \['N', 3\].*'N': 2"):
        evaluate(_model(), {"x": _array(2, 3), "other": _array(3, 3)})


def test_missing_unknown_and_misshapen_inputs_are_named() -> None:
    model = _model(2)
    x = _array(2, 3)
    with pytest.raises(DataError, match="'other' is missing"):
        evaluate(model, {"x": x})
    with pytest.raises(DataError, match=r"no inputs \['z'\]"):
        evaluate(model, {"x": x, "other": x, "z": x})
    with pytest.raises(DataError, match=r"shape \[3, 3\], expected \[2, 3\]"):
        evaluate(model, {"x": _array(3, 3), "other": x})
    with pytest.raises(DataError, match=r"shape \[6\], expected \[2, 3\]"):
        evaluate(model, {"x": x.ravel(), "other": x})
    with pytest.raises(DataError, match="dtype int64, expected float32"):
        evaluate(model, {"x": x.astype(np.int64), "other": x})


def test_unknown_operators_are_named_with_their_node() -> None:
    g = GraphBuilder("odd")
    x = g.input("x", ir.DataType.FLOAT, (2,))
    node = ir.Node("com.example", "Blur", [x], name="blur_1")
    node.outputs[0].name = "y"
    g.graph.append(node)
    g.graph.outputs.append(node.outputs[0])
    with pytest.raises(UnsupportedOp, match=r"'blur_1': no definition .* com.example.Blur"):
        evaluate(g.model(), {"x": np.zeros(2, np.float32)})


def test_outputs_that_a_definition_lacks_are_refused() -> None:
    g = GraphBuilder("indices")
    x = g.input("x", ir.DataType.FLOAT, (1, 1, 4))
    node = ir.node("MaxPool", [x], {"kernel_shape": [2]}, num_outputs=2, name="pool")
    for k, value in enumerate(node.outputs):
        value.name = f"y{k}"
    g.graph.append(node)
    g.graph.outputs.append(node.outputs[0])
    with pytest.raises(UnsupportedOp, match=r"'pool'.*2 outputs"):
        evaluate(g.model(), {"x": np.zeros((1, 1, 4), np.float32)})


def test_errors_inside_a_node_name_it() -> None:
    g = GraphBuilder("shapes")
    x = g.input("x", ir.DataType.FLOAT, ("N", 3))
    y = g.op("MatMul", x, g.constant(np.ones((3, 2), np.float32)), hint="product")
    g.output("y", y)
    g.graph.initializers["const"].const_value = ir.tensor(np.ones((4, 2), np.float32))
    with pytest.raises(ModelError, match=r"'product' \(MatMul\).*float32\[2, 3\]"):
        evaluate(g.model(), {"x": np.zeros((2, 3), np.float32)})


def test_an_initializer_is_the_default_of_its_input() -> None:
    g = GraphBuilder("default")
    x = g.input("x", ir.DataType.FLOAT, (2,))
    w = g.constant(np.array([1, 2], np.float32), "w")
    g.graph.inputs.append(w)
    g.output("y", g.mul(x, w))
    ones = np.ones(2, np.float32)
    assert evaluate(g.model(), {"x": ones})["y"].tolist() == [1, 2]
    assert evaluate(g.model(), {"x": ones, "w": ones * 5})["y"].tolist() == [5, 5]


def test_on_node_sees_and_replaces_outputs_in_order() -> None:
    seen = []

    def observe(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        seen.append(node.op_type)
        return tuple(o * 2 for o in outputs) if node.name == "act" else outputs

    x = np.abs(_array(2, 3))
    plain = evaluate(_model(), {"x": x, "other": x})["y"]
    np.testing.assert_array_equal(evaluate(_model(), {"x": x, "other": x}, on_node=observe)["y"],
                                  plain * 2)
    assert seen == ["Add", "Add", "Relu"]


def test_float64_reaches_types_that_attributes_name() -> None:
    g = GraphBuilder("wide")
    x = g.input("x", ir.DataType.FLOAT, (2,))
    kept = g.op("Cast", x, to=ir.DataType.FLOAT)
    filled = g.op("ConstantOfShape", g.ints(2), value=np.array([0.5], np.float32))
    g.output("y", g.add(g.mul(kept, x), filled))
    tiny = np.array([1 + 1e-12, 2.0])
    y = evaluate(g.model(), {"x": tiny}, dtype=np.float64)["y"]
    np.testing.assert_array_equal(y, tiny * tiny + 0.5)
