"""Inputs of an ONNX file that a caller fixes, before anything is made of the network."""

import numpy as np
import onnx
from onnx import numpy_helper

from ganglion.ops.fixed import Values, fixed_value, require_inputs


def fix_inputs(graph: onnx.GraphProto, values: Values) -> None:
    """Makes these inputs constants, in place: loops, shapes and axes may follow from them.

    Raises ModelError for a name that no input has, and for what `ops.fixed.fixed_value` refuses.
    """
    require_inputs(values, [v.name for v in graph.input])
    for info in [v for v in graph.input if v.name in values]:
        kind = info.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim] \
            if kind.HasField("shape") else None
        array = fixed_value(info.name, values[info.name],
                            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), dims)
        for default in [t for t in graph.initializer if t.name == info.name]:
            graph.initializer.remove(default)
        graph.initializer.append(numpy_helper.from_array(array, info.name))
        graph.input.remove(info)
