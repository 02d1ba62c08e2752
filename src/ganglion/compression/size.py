"""How large a Model's constants are, and how many of them are zero."""

import onnx_ir as ir

from ganglion.passes.quantized.qdq import array_of, is_constant


def model_bytes(model: ir.Model) -> int:
    """Bytes of all constants, as stored: an int8 weight counts one byte."""
    return sum(v.const_value.nbytes for v in model.graph.initializers.values()
               if v.const_value is not None)


def sparsity(model: ir.Model) -> float:
    """The share of zeros among the elements of all weights (constants of two or more axes)."""
    arrays = [array_of(v) for v in model.graph.initializers.values()
              if is_constant(v) and array_of(v).ndim > 1]
    total = sum(a.size for a in arrays)
    return sum(int((a == 0).sum()) for a in arrays) / total if total else 0.0
