"""Computing now what does not depend on the inputs."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from ganglion.errors import UnsupportedOp
from ganglion.ops.base import OPSET, Array
from ganglion.ops.dialect import IR_VERSION
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_op, is_random, is_sized_by_data
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.infer import infer_model
from ganglion.ops.marks import CONSTANT
from ganglion.ops.named import CAST_LIKE, DEQUANTIZE_LINEAR, IDENTITY, SHAPE, SIZE
from ganglion.ops.registry import find
from ganglion.ops.values import known_shape
from ganglion.passes.base import Pass, before, elements, redirect

MAX_GROWN_BYTES = 1 << 20
"""A folded tensor may be this large, or as large as what it is computed from."""
MAX_TOTAL_BYTES = 1 << 25
"""What folded tensors larger than their inputs may take together, those of `ALWAYS_BYTES` (shapes,
axes, indices) left out."""
ALWAYS_BYTES = 1 << 12


class FoldConstants(Pass):
    """y = Mul(2, 3)  ⇒  y = 6;   Shape(x [1, 3])  ⇒  [1, 3]

    Evaluates nodes whose inputs are all constants by the operators' own references, those without
    a row by ONNX's. Bound state is no constant. A result larger than `MAX_GROWN_BYTES` and than its
    inputs stays a node, so that a Tile or an Expand does not bloat the file, nor do many together
    grow beyond `MAX_TOTAL_BYTES`. Exact up to the rounding of the reference.
    """

    marks: ClassVar[Mapping[str, str]] = {}
    """Metadata of what is folded."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MAX_TOTAL_BYTES

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        while self._round(model):
            # A folded shape makes others known, whose Shape nodes can then be folded.
            infer_model(model)
            changed = True
        return changed

    def _round(self, model: ir.Model) -> bool:
        g = GraphBuilder.extending(model)
        folded = [self.fold(g, node) for node in list(model.graph)]
        return any(folded)

    def fold(self, g: GraphBuilder, node: ir.Node) -> bool:
        """Puts a node's outputs as constants in its place; whether it is one to fold."""
        arrays = self._fold(node)
        if arrays is None:
            return False
        for value, array in zip(node.outputs, arrays):
            if not value.uses() and not value.is_graph_output():
                continue
            constant = g.constant(array, f"{value.name}_folded", share=False)
            constant.metadata_props.update(self.marks)
            if not redirect(value, constant):
                self._feed(g, node, value, constant)
        g.graph.remove(node, safe=True)
        return True

    def _feed(self, g: GraphBuilder, node: ir.Node, output: ir.Value, constant: ir.Value) -> None:
        """An output of the graph must come from a node: Identity of the constant."""
        redirect(output, before(node, g.op("Identity", constant)))

    def _fold(self, node: ir.Node) -> Sequence[Array] | None:
        """The node's outputs, None where it must stay."""
        if is_random(node) or is_op(node, DEQUANTIZE_LINEAR) or _names_output(node):
            return None  # folded, int8 weights would be floats again
        if is_op(node, SHAPE, SIZE):
            shape = known_shape(node.inputs[0])
            if shape is not None:
                return [_shape_of(node, shape)]
        if is_op(node, CAST_LIKE):
            return _cast_like(self.constant(node.inputs[0]), node.inputs[1])
        arrays = [self.constant(v) for v in node.inputs]
        if any(a is None and v is not None for a, v in zip(arrays, node.inputs)):
            return None
        given = sum(a.nbytes for a in arrays if a is not None)
        made = _made_bytes(node, given)
        if made is None or made > max(MAX_GROWN_BYTES, given):
            return None
        if made > max(ALWAYS_BYTES, given):
            if made > self._left:
                return None
            self._left -= made
        if find(node.domain, node.op_type) is None:
            return _by_onnx(node, arrays)
        try:
            return evaluate_node(node, arrays)
        except UnsupportedOp:
            return None


class FoldSettings(FoldConstants):
    """Shape(x [4, 3])  ⇒  [4, 3];   Expand(0.0, [4])  ⇒  zeros;   Transpose(weight) stays

    As `FoldConstants`, but of a float initializer only where it is marked as no weight, and so is
    what it becomes: what is left can be trained."""

    marks: ClassVar[Mapping[str, str]] = {CONSTANT: "true"}

    def constant(self, value: ir.Value | None) -> Array | None:
        if (value is not None and value.dtype is not None and value.dtype.is_floating_point()
                and CONSTANT not in value.metadata_props):
            return None
        return super().constant(value)


def _names_output(node: ir.Node) -> bool:
    """An Identity that only gives a constant an output's name: folding it would remake it."""
    return is_op(node, IDENTITY) and node.outputs[0].is_graph_output()


def _cast_like(array: Array | None, like: ir.Value | None) -> Sequence[Array] | None:
    """Of the second operand the type alone is read."""
    if array is None or like is None or like.dtype is None:
        return None
    with np.errstate(all="ignore"):
        return [array.astype(like.dtype.numpy())]


def _shape_of(node: ir.Node, shape: tuple[int, ...]) -> Array:
    if is_op(node, SIZE):
        return np.asarray(elements(shape), np.int64)
    start, end = node.attributes.get("start"), node.attributes.get("end")
    part = shape[None if start is None else start.as_int():None if end is None else end.as_int()]
    return np.asarray(part, np.int64)


def _made_bytes(node: ir.Node, given: int) -> int | None:
    """The bytes of what the node makes of `given` bytes, at most; None where nobody knows."""
    if is_sized_by_data(node):
        return given if given <= MAX_GROWN_BYTES else None
    total = 0
    for value in node.outputs:
        shape = known_shape(value)
        if not value.uses() and not value.is_graph_output():
            continue
        if shape is None or value.dtype is None:
            return None
        total += elements(shape) * max(1, value.dtype.bitwidth // 8)
    return total


def _by_onnx(node: ir.Node, arrays: Sequence[Array | None]) -> Sequence[Array] | None:
    """What ONNX's reference gives for an operator without a row: exporters leave such in the
    constant parts of a graph. None where it fails, so that planning names the operator."""
    if node.domain != "":
        return None
    inputs = {v.name: a for v, a in zip(node.inputs, arrays) if v is not None and v.name}
    graph = onnx.helper.make_graph(
        [ir.to_proto(node)], "one", [onnx.ValueInfoProto(name=name) for name in inputs],
        [onnx.ValueInfoProto(name=v.name) for v in node.outputs if v.name])
    model = onnx.helper.make_model(graph, ir_version=IR_VERSION,
                                   opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    try:
        with np.errstate(all="ignore"):
            made = ReferenceEvaluator(model).run(None, inputs)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return None
    return [np.asarray(a) for a in made] if len(made) == len(node.outputs) else None
