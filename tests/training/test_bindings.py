import json

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.errors import ModelError
from ganglion.ops import marks
from ganglion.ops.bindings import Binding, bindings, initial_value, set_bindings
from ganglion.ops.graph import GraphBuilder


def _counter() -> ir.Model:
    g = GraphBuilder("counter")
    x = g.input("x", ir.DataType.FLOAT, (2,))
    total = g.input("total", ir.DataType.FLOAT, (2,))
    total.const_value = ir.tensor(np.array([1, 2], np.float32), name="total")
    g.graph.register_initializer(total)
    g.output("sum", g.op("Add", x, total))
    return g.model()


def test_bindings_survive_a_round_trip_through_the_model() -> None:
    model = _counter()
    set_bindings(model, [Binding("sum", "total")])
    again = ir.from_proto(ir.to_proto(model))
    assert bindings(again) == (Binding("sum", "total"),)
    assert initial_value(again, Binding("sum", "total")).numpy().tolist() == [1, 2]


def test_a_model_without_metadata_has_no_state() -> None:
    model = _counter()
    assert bindings(model) == ()
    set_bindings(model, [Binding("sum", "total")])
    set_bindings(model, [])
    assert marks.BINDINGS not in model.metadata_props


@pytest.mark.parametrize("bound", [
    [Binding("nothing", "total")], [Binding("sum", "nothing")], [Binding("sum", "x")],
    [Binding("sum", "total"), Binding("sum", "total")]])
def test_impossible_bindings_are_refused(bound: list[Binding]) -> None:
    with pytest.raises(ModelError):
        set_bindings(_counter(), bound)


@pytest.mark.parametrize("text", ["{", "{}", "[[1, 2]]", '[["sum"]]', json.dumps([["a", "b"]])])
def test_malformed_metadata_is_refused(text: str) -> None:
    model = _counter()
    model.metadata_props[marks.BINDINGS] = text
    with pytest.raises(ModelError):
        bindings(model)
