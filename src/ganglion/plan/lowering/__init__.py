"""How each kind of node becomes kernel calls: a function a family, found by name."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.plan.lowerer import Lowerer
from ganglion.plan.lowering import (
    hybrid,
    linear,
    moves,
    normalization,
    quantized,
    random,
    recurrent,
    reductions,
    resize,
    spatial,
)
from ganglion.plan.lowering.moves import ANY_DTYPE, lower_view

__all__ = ["ANY_DTYPE", "EPILOGUE_AXIS", "LOWERINGS", "lower_view"]

LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    **hybrid.LOWERINGS, **linear.LOWERINGS, **moves.LOWERINGS, **normalization.LOWERINGS,
    **quantized.LOWERINGS, **random.LOWERINGS, **recurrent.LOWERINGS, **reductions.LOWERINGS,
    **resize.LOWERINGS, **spatial.LOWERINGS}

EPILOGUE_AXIS: Mapping[str, int] = {"conv": 1, "conv_transpose": 1, "matmul": -1, "gemm": -1,
                                      "hybrid_conv": 1, "hybrid_gemm": -1}
"""Kernels that take an element-wise group as epilogue, and the axis along which a bias lies."""
