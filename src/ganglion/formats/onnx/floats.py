"""Inside a foreign network all floats become float32; its inputs and outputs stay what they are."""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.infer import infer_model
from ganglion.ops.named import CAST, CAST_LIKE

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
WIDTHS = (*HALVES, ir.DataType.DOUBLE)
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type")


def single_precision(model: ir.Model, state: Collection[str] = ()) -> None:
    """float16, bfloat16 and float64 of weights and arithmetic become float32, in place.

        x: T → f(x, w: T) → y: T      ⇒   x: T → Cast to float32 → f(x, w: float32) → Cast to T → y
        Cast to float16 → f(x)        ⇒   Cast to float16 → Cast to float32 → f(x)

    A caller gives and gets the types that the file declares, and a Cast to float16 or bfloat16
    rounds. What is computed between is not rounded to them: a float16 overflow to infinity does not
    happen there. float64 rounds to float32, a Cast to it too: arithmetic that the file meant in
    float64 is less exact here. `state`: names of inputs and outputs that are bound to each other
    (see `ops.bindings`), which become float32.

    Raises ModelError naming the tensor for a float64 weight beyond float32's range, for
    NaN, and for infinity in a tensor of more than one element (a single one may bound a Clip or
    fill a mask).
    """
    if any(is_op(node, CAST_LIKE) for node in model.graph):
        infer_model(model)
        _name_types(model)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None:
            value.const_value = checked(tensor, f"initializer {value.name!r}")
            value.dtype = value.const_value.dtype
    for node in model.graph:
        _attributes(node)
    g = GraphBuilder.extending(model)
    for value in list(model.graph.inputs):
        if value.dtype in WIDTHS and value.name in state:
            value.dtype = ir.DataType.FLOAT
        elif value.dtype in WIDTHS:
            _read_as_single(g, value, model.graph[0] if len(model.graph) else None)
    for node in list(model.graph):
        if is_op(node, CAST) and node.attributes.get_int("to", 0) in map(int, HALVES):
            _read_as_single(g, node.outputs[0], _behind(node))
    for k, value in enumerate(list(model.graph.outputs)):
        if value.dtype in WIDTHS:
            _give(g, k, value, value.name in state)


def _behind(node: ir.Node) -> ir.Node | None:
    """The node that follows in the graph's order."""
    nodes = list(node.graph or ())
    place = nodes.index(node) + 1
    return nodes[place] if place < len(nodes) else None


def _insert(g: GraphBuilder, x: ir.Value, to: ir.DataType, anchor: ir.Node | None) -> ir.Value:
    """Cast(x) before `anchor`, or at the end."""
    hint = g.fresh(f"{x.name}_as_{to.name.lower()}")
    node = ir.node("Cast", [x], {"to": int(to)}, name=hint)
    node.outputs[0].name = hint
    if anchor is None:
        g.graph.append(node)
    else:
        g.graph.insert_before(anchor, node)
    return node.outputs[0]


def _read_as_single(g: GraphBuilder, value: ir.Value, anchor: ir.Node | None) -> None:
    """Lets the readers of a value read it as float32; a caller still gets it as it is."""
    uses = list(value.uses())
    if uses:
        single = _insert(g, value, ir.DataType.FLOAT, anchor)
        for node, index in uses:
            node.replace_input_with(index, single)


def _give(g: GraphBuilder, k: int, value: ir.Value, state: bool) -> None:
    """Makes output `k` of the declared type out of a float32 value."""
    declared, maker = value.dtype, value.producer()
    given = maker is not None and is_op(maker, CAST) and (
        maker.attributes.get_int("to", 0) == int(declared or 0))
    if given or value.is_graph_input() or declared is None:
        return
    if state:
        value.dtype = ir.DataType.FLOAT
        return
    name, shape = value.name, value.shape
    if value.is_initializer():
        raise ModelError(f"output {name!r} is a constant of type {declared}; declare it float32")
    value.name, value.dtype = g.fresh(f"{name}_single"), ir.DataType.FLOAT
    result = _insert(g, value, declared, None)
    result.name, result.dtype, result.shape = name, declared, shape
    g.graph.outputs[k] = result


def _name_types(model: ir.Model) -> None:
    """CastLike(x, like)  ⇒  Cast(x, to=dtype of like), which then still is that of the file."""
    for node in model.graph:
        like = node.inputs[1] if is_op(node, CAST_LIKE) else None
        if like is not None and like.dtype is not None:
            node.op_type = "Cast"
            node.resize_inputs(1)
            node.attributes.clear()
            node.attributes.add(ir.AttrInt64("to", int(like.dtype)))


def _attributes(node: ir.Node) -> None:
    """Tensors and types that attributes name; a Cast to a half stays."""
    for name, attr in list(node.attributes.items()):
        if attr.type == ir.AttributeType.TENSOR:
            owner = f"tensor {name!r} of node {node.name!r} ({node.op_type})"
            node.attributes.add(ir.AttrTensor(name, checked(attr.as_tensor(), owner)))
        elif name in _DTYPE_ATTRIBUTES and attr.type == ir.AttributeType.INT:
            replaced = WIDTHS if not is_op(node, CAST) else (ir.DataType.DOUBLE,)
            if attr.as_int() in map(int, replaced):
                node.attributes.add(ir.AttrInt64(name, int(ir.DataType.FLOAT)))


def checked(tensor: ir.TensorProtocol, owner: str) -> ir.TensorProtocol:
    """The tensor, float32 if it is of another width of floats. Raises ModelError for NaN, numbers
    beyond float32, and an infinity that does not stand alone; -infinity may, as masks hold it."""
    if not tensor.dtype.is_floating_point():
        return tensor
    array = tensor.numpy()
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if np.isnan(single).any():
        where = np.argwhere(np.isnan(single))[0].tolist()
        raise ModelError(f"{owner} of shape {list(array.shape)} holds NaN at {where}: the training "
                         "diverged; take an earlier copy, or train again with a smaller learning "
                         "rate")
    if np.isinf(single).any():
        where = np.argwhere(np.isinf(single))[0].tolist()
        if np.isfinite(array[tuple(where)]):
            raise ModelError(f"{owner} holds {array[tuple(where)]} at {where}, beyond float32's "
                             "range; scale the weights")
        if single.size > 1 and np.isposinf(single).any():
            raise ModelError(f"{owner} of shape {list(array.shape)} holds infinity at {where}; "
                             "a mask holds -infinity or 0")
    return tensor if tensor.dtype == ir.DataType.FLOAT else ir.tensor(single, name=tensor.name)
