"""Rows by name, for a rewrite that is about one operator: `is_op(node, GEMM)`.

What several operators have in common is no list of these: it is a column of their rows.
"""

from ganglion.ops.base import GANGLION_DOMAIN, Op
from ganglion.ops.registry import rows


def _row(name: str, domain: str = "") -> Op:
    return rows()[domain, name]


ADD = _row("Add")
AVERAGE_POOL = _row("AveragePool")
BATCH_NORMALIZATION = _row("BatchNormalization")
CAST = _row("Cast")
CAST_LIKE = _row("CastLike")
CLIP = _row("Clip")
CONCAT = _row("Concat")
CONV = _row("Conv")
CONV_TRANSPOSE = _row("ConvTranspose")
DEQUANTIZE_LINEAR = _row("DequantizeLinear")
DIV = _row("Div")
DROPOUT = _row("Dropout")
EINSUM = _row("Einsum")
EXP = _row("Exp")
EXPAND = _row("Expand")
GATHER = _row("Gather")
GEMM = _row("Gemm")
GLOBAL_AVERAGE_POOL = _row("GlobalAveragePool")
GLOBAL_MAX_POOL = _row("GlobalMaxPool")
IDENTITY = _row("Identity")
MATMUL = _row("MatMul")
MAX_POOL = _row("MaxPool")
MUL = _row("Mul")
ONE_HOT = _row("OneHot")
PAD = _row("Pad")
QLINEAR_CONV = _row("QLinearConv")
QUANTIZE_LINEAR = _row("QuantizeLinear")
REDUCE_MEAN = _row("ReduceMean")
RELU = _row("Relu")
RESHAPE = _row("Reshape")
RESIZE = _row("Resize")
SHAPE = _row("Shape")
SIGMOID = _row("Sigmoid")
SIZE = _row("Size")
SOFTMAX = _row("Softmax")
SUB = _row("Sub")
TILE = _row("Tile")
TRANSPOSE = _row("Transpose")
HYBRID_CONV = _row("HybridConv", GANGLION_DOMAIN)
HYBRID_GEMM = _row("HybridGemm", GANGLION_DOMAIN)
