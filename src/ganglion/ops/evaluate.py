"""The meaning of a Model: its nodes computed one after another in NumPy."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from ganglion.errors import DataError, ModelError, UnsupportedOp
from ganglion.ops.base import GANGLION_DOMAIN, OPSET, Array
from ganglion.ops.dialect import IR_VERSION
from ganglion.ops.guard import check_attributes
from ganglion.ops.registry import find
from ganglion.ops.values import attributes

OnNode = Callable[[ir.Node, tuple[Array, ...]], tuple[Array, ...]]
Before = Callable[[ir.Node, list[Array | None]], list[Array | None]]
After = Callable[[ir.Node, list[Array | None], tuple[Array, ...]], tuple[Array, ...]]
HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
FLOATS = HALVES | {ir.DataType.FLOAT, ir.DataType.DOUBLE}
TYPE_ATTRIBUTES = ("to", "dtype")


def evaluate(model: ir.Model, inputs: Mapping[str, Array], *,
             dtype: type[np.floating] | None = None,
             on_node: OnNode | None = None) -> dict[str, Array]:
    """The outputs of `model` by name.

    `dtype` (as np.float64) computes with all floats in that type; integers stay as they are.
    `on_node(node, outputs) -> outputs` sees what each node gives, and may replace it.
    An input that is also an initializer may be left out. Symbolic dimensions take whatever size
    comes, the same for the same name.
    Raises DataError for missing, unknown or wrongly shaped inputs, UnsupportedOp for an operator
    without a definition, ModelError when a node does not accept what it gets.
    """
    values = _initial_values(model.graph, dtype)
    values |= _checked_inputs(model.graph, inputs, dtype)
    done = _last_reads(model.graph)
    for node in model.graph:
        arrays = [_read(values, node, v) for v in node.inputs]
        outputs = evaluate_node(node, arrays, dtype)
        if on_node is not None:
            outputs = on_node(node, outputs)
        _store(values, node, outputs)
        for last in done.get(node, ()):
            values.pop(last, None)
    return {name: values[name] for v in model.graph.outputs if (name := v.name) is not None}


class Reference:
    """A Model made ready to be evaluated many times, as `evaluate` does it once.

    What depends on no input is computed here, once, by ONNX's own reference where the project has
    no row; what no output depends on is left out.
    Raises what `evaluate` raises, for the constant part.
    """

    def __init__(self, model: ir.Model, dtype: type[np.floating] | None = None) -> None:
        self.graph, self.dtype = model.graph, dtype
        self._constants = _initial_values(model.graph, dtype)
        needed, self.nodes = _needed(model.graph), list[ir.Node]()
        given = {v.name or "" for v in model.graph.inputs}
        known: set[str] = set(self._constants) - given
        self._single: dict[ir.Node, ReferenceEvaluator] = {}
        for node in needed:
            if node.op_type not in CHANGING and all(
                    v is None or not v.name or v.name in known for v in node.inputs):
                arrays = [_read(self._constants, node, v) for v in node.inputs]
                _store(self._constants, node, self._given_by(node, arrays, constant=True))
                known |= {v.name or "" for v in node.outputs}
            else:
                self.nodes.append(node)
        self._done = _last_reads(model.graph, self.nodes)

    def run(self, inputs: Mapping[str, Array], before: Before | None = None,
            after: After | None = None) -> dict[str, Array]:
        """The outputs by name. `before` may replace what a node reads, `after` what it gives."""
        values = self._constants | _checked_inputs(self.graph, inputs, self.dtype)
        for node in self.nodes:
            arrays = [_read(values, node, v) for v in node.inputs]
            if before is not None:
                arrays = before(node, arrays)
            outputs = self._given_by(node, arrays)
            if after is not None:
                outputs = after(node, arrays, outputs)
            _store(values, node, outputs)
            for last in self._done.get(node, ()):
                values.pop(last, None)
        return {name: values[name] for v in self.graph.outputs if (name := v.name) is not None}

    def _given_by(self, node: ir.Node, arrays: list[Array | None], constant: bool = False
                  ) -> tuple[Array, ...]:
        return evaluate_node(node, arrays, self.dtype, self._single, constant)


CHANGING = frozenset({"RandomNormal", "RandomUniform"})
"""Operators without inputs that may give something else each time."""


def _needed(graph: ir.Graph) -> list[ir.Node]:
    """The nodes that some output depends on, in order."""
    wanted = {v.name for v in graph.outputs}
    found = []
    for node in reversed(list(graph)):
        if any(v.name in wanted for v in node.outputs):
            wanted |= {v.name for v in node.inputs if v is not None}
            wanted |= _read_inside(node)
            found.append(node)
    return found[::-1]


def _read_inside(node: ir.Node) -> set[str | None]:
    """What the graphs in a node's attributes may read of the graph around them."""
    inner = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    return {v.name for g in inner for n in g.all_nodes() for v in n.inputs if v is not None}


def _store(values: dict[str, Array], node: ir.Node, outputs: Sequence[Array]) -> None:
    for value, array in zip(node.outputs, outputs):
        if value.name:
            values[value.name] = array


Single = dict[ir.Node, ReferenceEvaluator]
"""ONNX's evaluators of single nodes, kept because making one costs more than running it."""


def evaluate_node(node: ir.Node, arrays: Sequence[Array | None],
                  dtype: type[np.floating] | None = None, single: Single | None = None,
                  constant: bool = False) -> tuple[Array, ...]:
    """The outputs of one node; absent optional inputs are None. Errors as `evaluate`.

    `constant`: in the constant part of a graph an operator without a row counts too, where ONNX's
    own reference has it, because folding takes it away.
    """
    row = find(node.domain, node.op_type)
    try:
        with np.errstate(all="ignore"):
            if row is not None and row.reference is not None:
                check_attributes([node])
                outputs = row.reference(_widened(attributes(node), dtype), *arrays)
            elif (row is not None or constant) and node.domain in ("", "ai.onnx"):
                outputs = _onnx_reference(node, arrays, single)
            else:
                raise UnsupportedOp(
                    f"node {node.name!r}: no definition of operator "
                    f"{node.domain or 'ai.onnx'}.{node.op_type}; it is not supported, "
                    "replace it by operators that `ganglion operators` lists")
    except (ValueError, IndexError, TypeError, ZeroDivisionError, RuntimeError) as error:
        found = ", ".join("absent" if a is None else f"{a.dtype}{list(a.shape)}" for a in arrays)
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs "
                         f"({found}): {error}") from error
    if len(outputs) < len(node.outputs):
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): has {len(node.outputs)} outputs,"
                            f" of which the first {len(outputs)} are supported")
    return tuple(_converted(_rounded(np.asarray(a), value), dtype)
                 for a, value in zip(outputs, node.outputs))


def _last_reads(graph: ir.Graph, nodes: Sequence[ir.Node] | None = None
                ) -> dict[ir.Node, list[str]]:
    """The values that nothing reads after a node, which free their memory there."""
    last: dict[str, ir.Node] = {}
    for node in graph if nodes is None else nodes:
        last.update({v.name: node for v in (*node.inputs, *node.outputs)
                     if v is not None and v.name})
    kept = {v.name for v in graph.outputs}
    done: dict[ir.Node, list[str]] = {}
    for name, node in last.items():
        if name not in kept:
            done.setdefault(node, []).append(name)
    return done


def _rounded(array: Array, value: ir.Value) -> Array:
    """What is float16 or bfloat16 in the Model is rounded to it, whatever it was computed in."""
    if value.dtype in HALVES and array.dtype.kind == "f":
        return array.astype(value.dtype.numpy())
    return array


def _converted(array: Array, dtype: type[np.floating] | None) -> Array:
    if dtype is None or ir.DataType.from_numpy(array.dtype) not in FLOATS:
        return array
    return array.astype(dtype, copy=False)


def _widened(attrs: dict[str, object], dtype: type[np.floating] | None) -> dict[str, object]:
    """Attributes with the float types that they name or hold replaced by `dtype`."""
    if dtype is None:
        return attrs
    wide: dict[str, object] = {}
    for name, value in attrs.items():
        if isinstance(value, np.ndarray):
            value = _converted(value, dtype)
        elif name in TYPE_ATTRIBUTES and isinstance(value, int) and ir.DataType(value) in FLOATS:
            value = int(ir.DataType.from_numpy(np.dtype(dtype)))
        wide[name] = value
    return wide


def _initial_values(graph: ir.Graph, dtype: type[np.floating] | None) -> dict[str, Array]:
    values = {}
    for name, value in graph.initializers.items():
        if value.const_value is None:
            raise ModelError(f"initializer {name!r} holds no data")
        values[name] = _converted(value.const_value.numpy(), dtype)
    return values


def _checked_inputs(graph: ir.Graph, inputs: Mapping[str, Array],
                    dtype: type[np.floating] | None) -> dict[str, Array]:
    known = [v.name for v in graph.inputs]
    unknown = sorted(set(inputs) - {n for n in known if n is not None})
    if unknown:
        raise DataError(f"the model has no inputs {unknown}; its inputs are {known}")
    sizes: dict[str, int] = {}
    values = {}
    for value in graph.inputs:
        name = value.name or ""
        if name not in inputs:
            if name in graph.initializers:
                continue
            raise DataError(f"input {name!r} is missing; the model's inputs are {known}")
        array = np.asarray(inputs[name])
        _check_type(value, array)
        _check_shape(value, array, sizes)
        if dtype is None and value.dtype is not None:
            array = array.astype(value.dtype.numpy(), copy=False)
        values[name] = _converted(array, dtype)
    return values


def _check_type(value: ir.Value, array: Array) -> None:
    if value.dtype is None:
        return
    found = ir.DataType.from_numpy(array.dtype)
    if found != value.dtype and not (found in FLOATS and value.dtype in FLOATS):
        raise DataError(f"input {value.name!r} has dtype {array.dtype}, expected "
                        f"{value.dtype.numpy()}; convert it with .astype()")


def _check_shape(value: ir.Value, array: Array, sizes: dict[str, int]) -> None:
    if value.shape is None:
        return
    fits = len(value.shape) == array.ndim
    if fits:
        for dim, size in zip(value.shape, array.shape):
            if isinstance(dim, int):
                fits &= dim == size
            elif dim.value is not None:
                fits &= sizes.setdefault(dim.value, size) == size
    if not fits:
        expected = [d if isinstance(d, int) else d.value for d in value.shape]
        known = {k: v for k, v in sizes.items() if k in expected}
        note = f" with {known}" if known else ""
        raise DataError(f"input {value.name!r} has shape {list(array.shape)}, expected "
                        f"{expected}{note}")


def _read(values: Mapping[str, Array], node: ir.Node, value: ir.Value | None) -> Array | None:
    if value is None or not value.name:
        return None
    if value.name not in values:
        raise ModelError(f"node {node.name!r} ({node.op_type}) reads {value.name!r}, which nothing "
                         "before it gives; the nodes are not in topological order")
    return values[value.name]


def _onnx_reference(node: ir.Node, arrays: Sequence[Array | None], single: Single | None
                    ) -> tuple[Array, ...]:
    """What ONNX's own reference implementation of this one operator gives."""
    evaluator = None if single is None else single.get(node)
    if evaluator is None:
        evaluator = _evaluator(node, arrays)
        if single is not None:
            single[node] = evaluator
    feeds = {f"i{k}": a for k, a in enumerate(arrays) if a is not None}
    return tuple(np.asarray(r) for r in evaluator.run(None, feeds))


def _evaluator(node: ir.Node, arrays: Sequence[Array | None]) -> ReferenceEvaluator:
    proto = onnx.NodeProto()
    proto.CopyFrom(ir.to_proto(node))
    del proto.input[:]
    del proto.output[:]
    proto.input.extend(f"i{k}" if a is not None else "" for k, a in enumerate(arrays))
    proto.output.extend(f"o{k}" for k in range(len(node.outputs)))
    graph = onnx.GraphProto(name="one", node=[proto])
    for k, array in enumerate(arrays):
        if array is not None:
            graph.input.append(onnx.ValueInfoProto(name=f"i{k}"))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in proto.output)
    model = onnx.helper.make_model(
        graph, ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET),
                       onnx.helper.make_opsetid(GANGLION_DOMAIN, 1)])
    return ReferenceEvaluator(model)
