"""All floats of a foreign network become float32, and none of its weights is NaN or infinite."""

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError

WIDTHS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type")


def single_precision(model: ir.Model) -> None:
    """float16, bfloat16 and float64 of weights, inputs and casts become float32, in place.

    float16 and bfloat16 widen exactly; float64 rounds to nearest even. Arithmetic that the file
    meant in float64 is therefore less exact here, and a float16 overflow to infinity no longer
    happens. Raises ModelError naming the tensor for a float64 weight beyond float32's range, for
    NaN, and for infinity in a tensor of more than one element (a single one may bound a Clip or
    fill a mask).
    """
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None:
            value.const_value = _checked(tensor, f"initializer {value.name!r}")
            value.dtype = value.const_value.dtype
    for value in model.graph.inputs:
        if value.dtype in WIDTHS:
            value.dtype = ir.DataType.FLOAT
    for value in model.graph.outputs:
        if value.dtype in WIDTHS:
            value.dtype = ir.DataType.FLOAT
    for node in model.graph:
        _attributes(node)


def _attributes(node: ir.Node) -> None:
    for name, attr in list(node.attributes.items()):
        if attr.type == ir.AttributeType.TENSOR:
            owner = f"tensor {name!r} of node {node.name!r} ({node.op_type})"
            node.attributes.add(ir.AttrTensor(name, _checked(attr.as_tensor(), owner)))
        elif (name in _DTYPE_ATTRIBUTES and attr.type == ir.AttributeType.INT
              and attr.as_int() in {int(w) for w in WIDTHS}):
            node.attributes.add(ir.AttrInt64(name, int(ir.DataType.FLOAT)))


def _checked(tensor: ir.TensorProtocol, owner: str) -> ir.TensorProtocol:
    if not tensor.dtype.is_floating_point():
        return tensor
    array = tensor.numpy()
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if np.isnan(single).any():
        where = np.argwhere(np.isnan(single))[0].tolist()
        raise ModelError(f"{owner} of shape {list(array.shape)} holds NaN at {where}; the network "
                         "was saved after its training diverged")
    if np.isinf(single).any():
        where = np.argwhere(np.isinf(single))[0].tolist()
        if np.isfinite(array[tuple(where)]):
            raise ModelError(f"{owner} holds {array[tuple(where)]} at {where}, beyond float32's "
                             "range; scale the weights")
        if single.size > 1:
            raise ModelError(f"{owner} of shape {list(array.shape)} holds infinity at {where}; in "
                             "a mask, use a large finite number such as -1e9")
    return tensor if tensor.dtype == ir.DataType.FLOAT else ir.tensor(single, name=tensor.name)
