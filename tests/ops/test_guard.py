"""No attribute of an operator is ignored: it is read by its row, at its default, or refused."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.support.op_examples import Example

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.kernels.softmax import SoftmaxSpec
from ganglion.ops import registry
from ganglion.ops.base import OPSET, Op
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.guard import check_attributes, schema_defaults
from ganglion.ops.registry import rows
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.planner import plan

STANDARD = [row for row in rows().values()
            if row.domain == "" and onnx.defs.has(row.name, OPSET, "")]
KINDS = onnx.defs.OpSchema.AttrType
OTHER: Mapping[object, object] = {
    KINDS.INT: 7, KINDS.FLOAT: 0.123, KINDS.STRING: "other", KINDS.INTS: [7, 7],
    KINDS.FLOATS: [0.5], KINDS.STRINGS: ["other"], KINDS.TENSOR: np.ones(3, np.float32)}
READ_BY_ONNX = {"Reshape": {"allowzero"}, "Flatten": {"axis"}, "Shape": {"start", "end"},
                "Dropout": {"seed"}, "TopK": {"sorted"}}
"""Attributes whose whole meaning is ONNX's own shape inference or reference; a seed says nothing
about inference, and what need not be sorted may be."""


def _node(row: Op, **attributes: object) -> ir.Node:
    return ir.node(row.name, [], attributes, domain=row.domain, name="odd")


def _kind(row: Op, name: str) -> object:
    return onnx.defs.get_schema(row.name, OPSET, "").attributes[name].type


UNREAD = [(row, name) for row in STANDARD for name in schema_defaults(row)
          if name not in row.reads and _kind(row, name) in OTHER]
"""All but sparse tensors, of which no value can be made here."""


@pytest.mark.parametrize(("row", "name"), UNREAD, ids=lambda v: v if isinstance(v, str) else v.name)
def test_an_attribute_that_no_row_reads_is_refused_unless_at_its_default(row: Op, name: str
                                                                         ) -> None:
    node = _node(row, **{name: OTHER[_kind(row, name)]})
    with pytest.raises(UnsupportedOp, match=f"'odd' .*{name}"):
        check_attributes([node])
    default = schema_defaults(row)[name]
    if default is not None:
        check_attributes([_node(row, **{name: default})])


@pytest.mark.parametrize("row", STANDARD, ids=lambda row: row.name)
def test_rows_read_attributes_that_onnx_defines_and_no_others_pass(row: Op) -> None:
    assert set(row.reads) <= set(schema_defaults(row))
    with pytest.raises(UnsupportedOp, match="made_up"):
        check_attributes([_node(row, made_up=1)])


def _sources() -> str:
    """The text of all that reads attributes: rows, their arithmetic, lowerings."""
    folder = Path(inspect.getfile(registry)).parent
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))


def test_what_a_row_says_it_reads_is_read() -> None:
    read = set(re.findall(r"""(?:get_\w+|_choice)\(\s*[\w.()]+, "(\w+)\"""", _sources()))
    read |= {"value_float", "value_floats", "value_int", "value_ints", "antialias",
             "exclude_outside", "lo", "hi", "alpha", "beta"}  # read in loops over their names
    for row in rows().values():
        unread = set(row.reads) - read - READ_BY_ONNX.get(row.name, set())
        assert not unread, f"{row.name} says that it reads {unread}"


def test_planning_and_evaluating_refuse_it_alike() -> None:
    g = GraphBuilder("pool")
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 4, 4))
    g.output("y", g.op("MaxPool", x, kernel_shape=[2, 2], storage_order=1))
    model = g.model()
    with pytest.raises(UnsupportedOp, match="storage_order=1"):
        ready_to_plan(model)
    with pytest.raises(UnsupportedOp, match="storage_order=1"):
        plan(model)
    with pytest.raises(UnsupportedOp, match="storage_order=1"):
        evaluate_node(next(iter(model.graph)), [np.zeros((1, 2, 4, 4), np.float32)])


def test_pads_beside_valid_are_refused_in_planning_and_evaluating() -> None:
    g = GraphBuilder("convolution")
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 4, 4))
    w = np.ones((3, 2, 2, 2), np.float32)
    g.output("y", g.op("Conv", x, g.constant(w), auto_pad="VALID", pads=[1, 1, 1, 1]))
    model = g.model()
    with pytest.raises(ModelError, match="auto_pad VALID"):
        plan(model)
    with pytest.raises(ModelError, match="auto_pad VALID"):
        evaluate_node(next(iter(model.graph)), [np.zeros((1, 2, 4, 4), np.float32), w])


CODES = np.arange(8, dtype=np.int8).reshape(2, 4)
BLOCKS = np.array([[0.5, 0.25], [1.0, 2.0]], np.float32)


@pytest.mark.parametrize(("op", "x"), [("DequantizeLinear", CODES),
                                       ("QuantizeLinear", CODES.astype(np.float32))])
def test_scales_in_blocks_are_refused_for_what_a_call_gives(op: str, x: np.ndarray) -> None:
    g, _ = Example(op, [x, BLOCKS], {"axis": 1, "block_size": 2},
                   constants=frozenset({1})).build()
    with pytest.raises(UnsupportedOp, match="block_size"):
        plan(ready_to_plan(g.model()))


def test_scales_in_blocks_of_a_constant_are_unpacked() -> None:
    g = GraphBuilder("weights")
    x = g.input("x", ir.DataType.FLOAT, (1, 2))
    w = g.op("DequantizeLinear", g.constant(CODES), g.constant(BLOCKS), axis=1, block_size=2)
    g.output("y", g.op("MatMul", x, w))
    made = plan(ready_to_plan(g.model()))
    wanted = CODES * np.repeat(BLOCKS, 2, axis=1)
    assert wanted.astype("<f4").tobytes() in [c.data for c in made.constants]


def test_no_kernel_is_given_another_type_or_fewer_elements_than_it_reads() -> None:
    lowerer = Lowerer(("scalar",))
    right, y = (lowerer.buffer(n, "float32", (2, 3)) for n in "xy")
    spec = SoftmaxSpec("float32", 2, 3, 1, False)
    lowerer.emit("softmax", "softmax", spec, [right, y])
    with pytest.raises(UnsupportedOp, match="computes float32, and 'z' is int32"):
        lowerer.emit("softmax", "softmax", spec, [lowerer.buffer("z", "int32", (2, 3)), y])
    with pytest.raises(ModelError, match="which has 3"):
        lowerer.emit("softmax", "softmax", spec, [lowerer.buffer("z", "float32", (3,)), y])
