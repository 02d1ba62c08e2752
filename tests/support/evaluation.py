"""Running a Model by ONNX's own reference implementation."""

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator


def run(model: ir.Model, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of `model`; inputs in the order of the graph."""
    names = [v.name for v in model.graph.inputs]
    return ReferenceEvaluator(ir.to_proto(model)).run(None, dict(zip(names, inputs, strict=True)))
