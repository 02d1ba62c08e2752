"""Types of a whole graph: every value gets its dtype and, where it can be known, its shape."""

import onnx
import onnx_ir as ir
from onnx import shape_inference

from ganglion.errors import ModelError
from ganglion.ops.graph import infer_types

MAX_ELEMENTS = 2**31 - 1
"""Elements of one tensor that generated C can still index with 32 bits."""
SMALL_ELEMENTS = 64
"""Constants up to this size may be shapes or axes, so inference gets to see their values."""
LONG = 2**20
"""Numbers in one dimension beyond which no value is taken for a shape: ONNX's inference would hold
some 100 bytes for each."""


def infer_model(model: ir.Model) -> bool:
    """Infers dtype and shape of every value from the graph's inputs and initializers alone.

    Types that a file declares for inner values are not believed but replaced; those declared for
    outputs must agree. A shape that depends on data stays unknown (`value.shape is None`) until
    constants are folded. Returns whether anything changed.

    Raises ModelError naming the node that rejects its inputs, the output whose declared type is
    wrong, or the tensor that is too large.
    """
    before = {id(v): (v.dtype, v.shape) for n in model.graph for v in n.outputs}
    declared = {id(v): (v.dtype, v.shape) for v in model.graph.outputs}
    for value in model.graph.initializers.values():
        _type_initializer(value)
    for value in model.graph.inputs:
        _check_size(value)
    unknown = _infer_nodes(model)
    if unknown:
        _infer_whole(model)
        _infer_nodes(model, only_unknown=True)
    for value in model.graph.outputs:
        _agree(value, *declared[id(value)])
    return any(before[id(v)] != (v.dtype, v.shape) for n in model.graph for v in n.outputs)


def _type_initializer(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is None:
        raise ModelError(f"initializer {value.name!r} has no data")
    value.dtype = tensor.dtype
    value.shape = ir.Shape(tensor.shape.numpy())


def _infer_nodes(model: ir.Model, only_unknown: bool = False) -> bool:
    """Node by node, in order; True when some value lacks a dtype, a shape or a dimension."""
    unknown = False
    for node in model.graph:
        if only_unknown and all(map(_known, node.outputs)):
            continue
        if not only_unknown:
            for value in node.outputs:
                value.type = value.shape = None
        if all(v is None or (v.dtype is not None and v.shape is not None) for v in node.inputs):
            _infer_node(node)
        unknown |= not all(map(_known, node.outputs))
    return unknown


def _infer_node(node: ir.Node) -> None:
    """As `infer_types`, but what was known stays where the node alone tells less."""
    before = [(v.dtype, v.shape) for v in node.outputs]
    infer_types(node)
    for value, (dtype, shape) in zip(node.outputs, before):
        if value.dtype is None and dtype is not None:
            value.dtype = dtype
        value.shape = _merge(value.shape, shape)
        _check_size(value)


def _known(value: ir.Value) -> bool:
    """Whether dtype and shape are known, each dimension a number or a name."""
    return value.dtype is not None and value.shape is not None and all(
        isinstance(d, int) or d.value is not None for d in value.shape)


def _merge(shape: ir.Shape | None, other: ir.Shape | None) -> ir.Shape | None:
    """`shape`, its nameless dimensions filled from `other`."""
    if shape is None or other is None or len(shape) != len(other):
        return shape if shape is not None else other
    return ir.Shape([b if not isinstance(a, int) and a.value is None else a
                     for a, b in zip(shape, other)])


def _infer_whole(model: ir.Model) -> None:
    """ONNX's inference of the whole graph, which carries shapes through Shape, Gather, Concat."""
    values = [*model.graph.inputs, *model.graph.initializers.values(),
              *(v for node in model.graph for v in node.outputs)]
    try:
        inferred = shape_inference.infer_shapes(without_weights(model),
                                                data_prop=not any(map(_is_long, values)))
    except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError) as error:
        raise ModelError(f"shape inference of graph {model.graph.name!r} failed: {error}; "
                         "look at the named node's inputs") from error
    types = {info.name: info.type for info in inferred.graph.value_info}
    types.update({info.name: info.type for info in inferred.graph.output})
    for node in model.graph:
        for value in node.outputs:
            found = types.get(value.name or "")
            if found is None or not found.HasField("tensor_type"):
                continue
            if value.dtype is None and found.tensor_type.elem_type:
                value.dtype = ir.DataType(found.tensor_type.elem_type)
            if found.tensor_type.HasField("shape"):
                value.shape = _merge(value.shape, ir.Shape([
                    d.dim_value if d.HasField("dim_value") else d.dim_param or None
                    for d in found.tensor_type.shape.dim]))
                _check_size(value)


def _is_long(value: ir.Value) -> bool:
    """Whether the value has one dimension, and more than `LONG` numbers along it."""
    if value.shape is None or len(value.shape) != 1:
        return False
    d = value.shape[0]
    return isinstance(d, int) and d > LONG


def without_weights(model: ir.Model) -> onnx.ModelProto:
    """The Model as protobuf in which large initializers are inputs: the graph without its bytes.

    ONNX's checker and inference then neither copy the weights nor meet protobuf's 2 GiB limit.
    """
    graph = model.graph
    large = [v for v in graph.initializers.values()
             if v.const_value is not None and v.const_value.size > SMALL_ELEMENTS]
    proto = onnx.ModelProto()
    proto.ir_version = model.ir_version
    for domain, version in graph.opset_imports.items():
        proto.opset_import.append(onnx.helper.make_opsetid(domain, version))
    proto.graph.name = graph.name or "graph"
    inputs = [*graph.inputs, *(v for v in large if not v.is_graph_input())]
    proto.graph.input.extend(ir.to_proto(v) for v in inputs)
    proto.graph.output.extend(ir.to_proto(v) for v in graph.outputs)
    proto.graph.node.extend(ir.to_proto(node) for node in graph)
    for value in graph.initializers.values():
        if value.const_value is not None and value.const_value.size <= SMALL_ELEMENTS:
            proto.graph.initializer.append(
                onnx.numpy_helper.from_array(value.const_value.numpy(), value.name))
    return proto


def _check_size(value: ir.Value) -> None:
    elements = 1
    for d in value.shape or ():
        if isinstance(d, int):
            if d < 0:
                raise ModelError(f"value {value.name!r} has the shape {value.shape}; "
                                 "no dimension may be negative")
            elements *= d
    if elements > MAX_ELEMENTS:
        raise ModelError(f"value {value.name!r} of shape {value.shape} has {elements} elements, "
                         f"expected at most {MAX_ELEMENTS}; make the network or its input smaller")


def _agree(value: ir.Value, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Restores what was declared where inference knows less; ModelError where they differ."""
    if value.dtype is None and dtype is not None:
        value.dtype = dtype
    elif dtype is not None and dtype != value.dtype:
        raise ModelError(f"output {value.name!r} is declared {dtype} but computes {value.dtype}; "
                         "correct the declaration or insert a Cast")
    if shape is None or value.shape is None:
        return
    same_rank = len(shape) == len(value.shape)
    if not same_rank or any(isinstance(a, int) and isinstance(b, int) and a != b
                            for a, b in zip(shape, value.shape)):
        raise ModelError(f"output {value.name!r} is declared {shape} but computes {value.shape}; "
                         "correct the declaration or the node that makes it")
