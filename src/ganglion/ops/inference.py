"""The types of a node's outputs: by a rule of the project's own, or by ONNX's inference."""

import onnx
import onnx_ir as ir
from onnx import shape_inference

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.base import Infer
from ganglion.ops.counts import check_counts
from ganglion.ops.dialect import IR_VERSION, OPSET
from ganglion.ops.values import attributes, dims

UNFIT = (IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError)
"""What a row's own functions raise for too few inputs, another rank or another kind."""


def infer_by(rule: Infer | None, node: ir.Node) -> None:
    """Sets dtype and shape of the node's outputs, by the rule or, without one, by ONNX's own.

    Raises ModelError with the node's name when the inputs do not fit the operator.
    """
    check_counts(node)
    if rule is not None:
        try:
            made = rule(attributes(node), list(node.inputs))
        except UNFIT as error:
            raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs or "
                             f"attributes: {error}") from error
        for out, (dtype, shape) in zip(node.outputs, made):
            out.dtype, out.shape = dtype, ir.Shape(shape)
        return
    _infer_by_onnx(node)


def _infer_by_onnx(node: ir.Node) -> None:
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    except onnx.defs.SchemaError as error:
        raise UnsupportedOp(f"node {node.name!r}: {node.domain or 'ONNX'} has no operator "
                            f"{node.op_type!r}") from error
    proto = ir.serde.serialize_node(node)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None:
            continue
        if value.dtype is None or value.shape is None:
            raise ModelError(f"node {node.name!r} ({node.op_type}): input {value.name!r} has no "
                             "dtype or shape")
        types[value.name] = onnx.helper.make_tensor_type_proto(value.dtype.value,
                                                               dims(value))
        if value.const_value is not None and value.const_value.size <= 64:
            data[value.name] = onnx.numpy_helper.from_array(value.const_value.numpy(), value.name)
    try:
        inferred = shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        found = ", ".join(f"{v.name}: {v.dtype} {v.shape}" for v in node.inputs if v is not None)
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs "
                         f"({found}): {error}") from error
    for out in node.outputs:
        proto_type = inferred.get(out.name or "")
        if proto_type is None:
            continue
        out.dtype = ir.DataType(proto_type.tensor_type.elem_type)
        if proto_type.tensor_type.HasField("shape"):
            out.shape = ir.Shape([d.dim_value if d.HasField("dim_value") else d.dim_param or None
                                  for d in proto_type.tensor_type.shape.dim])
