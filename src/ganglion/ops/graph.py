"""Building Models, with the types of all values inferred by the rows or by ONNX."""


import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.building import Builder
from ganglion.ops.inference import infer_by
from ganglion.ops.registry import find


class GraphBuilder(Builder):
    """A builder that infers types by the rows' rules or ONNX's own.

    >>> g = GraphBuilder("example")
    >>> x = g.input("x", ir.DataType.FLOAT, (1, 3))
    >>> g.output("y", g.op("Relu", x))
    >>> model = g.model()
    """

    def _infer(self, node: ir.Node) -> None:
        infer_types(node)


def require_model(model: object, who: str) -> None:
    """Raises ModelError unless a caller of `who` gave a Model."""
    if not isinstance(model, ir.Model):
        raise ModelError(f"{who} takes a Model (an onnx_ir.Model), not {type(model).__name__}; "
                         "open files with ganglion.load, Keras models with ganglion.from_keras, "
                         "PyTorch modules with ganglion.from_torch")


def require_numbers(model: ir.Model) -> None:
    """Raises ModelError naming the first weight that holds NaN."""
    for name, value in model.graph.initializers.items():
        if value.const_value is None or value.dtype != ir.DataType.FLOAT:
            continue
        missing = np.isnan(value.const_value.numpy())
        if missing.any():
            raise ModelError(f"weight {name!r} of shape {list(missing.shape)} holds NaN at "
                             f"{np.argwhere(missing)[0].tolist()}; its training diverged: train "
                             "it again, with a smaller learning rate")


def infer_types(node: ir.Node) -> None:
    """Sets dtype and shape of the node's outputs, by the row's rule or ONNX's own.

    Raises ModelError with the node's name when the inputs do not fit the operator.
    """
    row = find(node.domain, node.op_type)
    infer_by(None if row is None else row.infer, node)
