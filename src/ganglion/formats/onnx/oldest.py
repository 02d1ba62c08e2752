"""What opset 1 to 6 said otherwise, as a table. Source: the changelog of the ONNX operators."""

from collections.abc import Callable
from typing import NamedTuple

import onnx
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.graph import GraphBuilder


class Rule(NamedTuple):
    """`rewrite(g, node)` changes a node written for an opset below `until`, in place."""

    until: int
    rewrite: Callable[[GraphBuilder, ir.Node], None]


def _numpy_broadcast(g: GraphBuilder, node: ir.Node) -> None:
    """Add(a, b, broadcast=1, axis=k)  ⇒  Add(a, Unsqueeze(b)): the axes of b began at k"""
    wide, axis = node.attributes.pop("broadcast", None), node.attributes.pop("axis", None)
    if wide is None or not wide.as_int() or axis is None:
        return
    ranks = [_rank(node, k) for k in (0, 1)]
    behind = ranks[0] - axis.as_int() % max(ranks[0], 1) - ranks[1]
    if behind < 0:
        raise ModelError(f"node {node.name!r} ({node.op_type}): {ranks[1]} axes do not fit into "
                         f"{ranks[0]} from axis {axis.as_int()} on")
    _widened(g, node, 1, ranks[1], behind)


def _slope_by_channel(g: GraphBuilder, node: ir.Node) -> None:
    """PRelu(x, s [C])  ⇒  PRelu(x, s [C, 1, 1])"""
    slope = node.inputs[1]
    if slope is not None and slope.shape is not None and list(slope.shape) != [1] and \
            len(slope.shape) == 1:
        _widened(g, node, 1, 1, max(_rank(node, 0) - 2, 0))


def _rank(node: ir.Node, place: int) -> int:
    value = node.inputs[place]
    if value is None or value.shape is None:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) of an opset below 7 broadcasts "
                            f"by an axis, and input {place} has no shape in the file; run "
                            "onnx.shape_inference.infer_shapes on it first")
    return len(value.shape)


def _widened(g: GraphBuilder, node: ir.Node, place: int, rank: int, behind: int) -> None:
    """Puts `behind` axes of size 1 behind those of an input."""
    if behind:
        axes = list(range(rank, rank + behind))
        made = ir.node("Unsqueeze", [node.inputs[place], g.ints(*axes)],
                       name=g.fresh(f"{node.name}_wide"))
        made.outputs[0].name = g.fresh(f"{made.name}_out")
        g.graph.insert_before(node, made)
        node.replace_input_with(place, made.outputs[0])


def _require_test(g: GraphBuilder, node: ir.Node) -> None:
    """BatchNormalization(is_test=1)  ⇒  BatchNormalization, Dropout alike; 0 was training"""
    test = node.attributes.pop("is_test", None)
    if test is None or not test.as_int():
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) is in training mode (is_test=0); "
                            "export the network for inference")


def _dropped(*names: str) -> Callable[[GraphBuilder, ir.Node], None]:
    """An attribute that said nothing about the result."""
    def rewrite(g: GraphBuilder, node: ir.Node) -> None:
        for name in names:
            node.attributes.pop(name, None)
    return rewrite


def _type_by_number(g: GraphBuilder, node: ir.Node) -> None:
    """Cast(x, to="FLOAT")  ⇒  Cast(x, to=1)"""
    to = node.attributes.get("to")
    if to is not None and to.type == ir.AttributeType.STRING:
        name = to.as_string().upper()
        if name not in set(onnx.TensorProto.DataType.keys()):
            raise ModelError(f"node {node.name!r} (Cast): {name!r} is no element type of ONNX")
        node.attributes.add(ir.AttrInt64("to", onnx.TensorProto.DataType.Value(name)))


def _shape_to_input(g: GraphBuilder, node: ir.Node) -> None:
    """Reshape(x, shape=[a])  ⇒  Reshape(x, [a])"""
    shape = node.attributes.pop("shape", None)
    if shape is not None:
        node.resize_inputs(2)
        node.replace_input_with(1, g.ints(*shape.as_ints()))


def _pads_by_name(g: GraphBuilder, node: ir.Node) -> None:
    """Pad(x, paddings=[a])  ⇒  Pad(x, pads=[a])"""
    pads = node.attributes.pop("paddings", None)
    if pads is not None:
        node.attributes.add(ir.AttrInt64s("pads", list(pads.as_ints())))


def _joined_channels(g: GraphBuilder, node: ir.Node) -> None:
    """Concat(...)  ⇒  Concat(..., axis=1)"""
    if "axis" not in node.attributes:
        node.attributes.add(ir.AttrInt64("axis", 1))


def _scales_together(g: GraphBuilder, node: ir.Node) -> None:
    """Upsample(x, height_scale=h, width_scale=w)  ⇒  Upsample(x, scales=[1, 1, h, w])"""
    given = [node.attributes.pop(f"{side}_scale", None) for side in ("height", "width")]
    factors = [a.as_float() for a in given if a is not None]
    if len(factors) == 2:
        node.attributes.add(ir.AttrFloat32s("scales", [1.0, 1.0, *factors]))


def _refused(g: GraphBuilder, node: ir.Node) -> None:
    raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) means something else before opset 6; "
                        "export with opset 7 or newer")


_PAIRS = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Greater", "Less", "Equal")
_IN_PLACE = ("Abs", "Add", "Ceil", "Clip", "Div", "Elu", "Exp", "Floor", "HardSigmoid",
             "InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg",
             "PRelu", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh",
             "BatchNormalization", "Dropout")
_RULES: tuple[tuple[str, Rule], ...] = (
    *((name, Rule(6, _dropped("consumed_inputs"))) for name in _IN_PLACE),
    *((name, Rule(7, _numpy_broadcast)) for name in _PAIRS),
    *((name, Rule(7, _require_test)) for name in ("BatchNormalization", "Dropout")),
    *((name, Rule(7, _dropped("output_sequence"))) for name in ("RNN", "GRU", "LSTM")),
    ("Gemm", Rule(7, _dropped("broadcast"))), ("PRelu", Rule(7, _slope_by_channel)),
    ("Cast", Rule(6, _type_by_number)), ("Reshape", Rule(5, _shape_to_input)),
    ("Pad", Rule(2, _pads_by_name)), ("Concat", Rule(4, _joined_channels)),
    ("Upsample", Rule(7, _scales_together)), ("Tile", Rule(6, _refused)))


def oldest_rules(name: str) -> list[Rule]:
    """The changes of an operator written for opset 1 to 6, the oldest first."""
    return [rule for each, rule in _RULES if each == name]
