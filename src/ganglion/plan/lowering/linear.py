"""MatMul and Gemm."""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.kernels.matmul import MatMulSpec
from ganglion.kernels.matmul_whole import WholeMatMulSpec
from ganglion.ops.attr import get_float, get_int
from ganglion.ops.values import attributes
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.lowering.common import epilogue, extras, result_of
from ganglion.plan.views import View, row_major


@dataclass(frozen=True)
class Product:
    """Stacks of matrices a [batch, m, k] and b [batch, k, n]; a stack of one is repeated."""

    a: View
    b: View
    batch: int
    a_repeats: bool
    b_repeats: bool

    @property
    def mnk(self) -> tuple[int, int, int]:
        rows = prod(self.a.shape[:-1]) // (1 if self.a_repeats else self.batch)
        return rows, self.b.shape[-1], self.a.shape[-1]


def matrix(lowerer: Lowerer, view: View) -> tuple[View, bool]:
    """The last two axes as a dense matrix: as they are, or stored transposed (True)."""
    rank = len(view.shape)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    if not view.dense_in(row_major(rank)) and view.dense_in(swapped):
        return view, True
    return lowerer.dense(view), False


def product(lowerer: Lowerer, a: View, b: View) -> Product:
    """NumPy's rule for stacks; a shared right side makes the whole left side one matrix."""
    if len(a.shape) == 1:
        a = View(a.storage, (1, *a.shape), (0, *a.strides), a.offset)
    if len(b.shape) == 1:
        b = View(b.storage, (*b.shape, 1), (*b.strides, 1), b.offset)
    rank = max(len(a.shape), len(b.shape))
    left = (1,) * (rank - len(a.shape)) + a.shape[:-2]
    right = (1,) * (rank - len(b.shape)) + b.shape[:-2]
    lead = tuple(max(x, y) for x, y in zip(left, right))
    batch = prod(lead)
    if prod(right) == 1 and (batch == 1 or prod(left) == batch):
        return Product(a if batch == 1 else lowerer.dense(a), b, 1, False, False)
    if prod(left) not in (1, batch):
        a = a.broadcast((*lead, *a.shape[-2:]))
    if prod(right) not in (1, batch):
        b = b.broadcast((*lead, *b.shape[-2:]))
    return Product(a, b, batch, prod(a.shape[:-2]) == 1, prod(b.shape[:-2]) == 1)


def lower_matmul(lowerer: Lowerer, node: ir.Node) -> None:
    """MatMul-13."""
    _emit(lowerer, node, product(lowerer, *(lowerer.view(v) for v in node.inputs[:2])), None)


def lower_gemm(lowerer: Lowerer, node: ir.Node) -> None:
    """Gemm-13 with alpha = beta = 1 and C a row; `passes.prepare` writes others as MatMul."""
    attrs = attributes(node)
    alpha, beta = get_float(attrs, "alpha", 1.0), get_float(attrs, "beta", 1.0)
    a, b = (lowerer.view(v) for v in node.inputs[:2])
    a = a.transposed((1, 0)) if get_int(attrs, "transA", 0) else a
    b = b.transposed((1, 0)) if get_int(attrs, "transB", 0) else b
    c = node.inputs[2] if len(node.inputs) > 2 else None
    row = None if c is None else bias_row(lowerer, lowerer.view(c), b.shape[1])
    if alpha != 1.0 or (c is not None and (row is None or beta != 1.0)):
        raise UnsupportedOp(f"node {node.name!r} (Gemm): alpha and beta must be 1 and C a row of "
                            f"{b.shape[1]}; compile the network with ganglion.compile, "
                            "which takes others apart")
    _emit(lowerer, node, product(lowerer, a, b), row)


def bias_row(lowerer: Lowerer, view: View, n: int) -> View | None:
    """A vector of `n`, dense; None when the view holds several rows."""
    if view.size == 1 and n != 1 and view.storage.array is not None:
        return lowerer.constant(view.storage.name, np.repeat(lowerer.values(view), n))
    if view.size != n or (view.shape and view.shape[-1] != n):
        return None
    return lowerer.dense(view)


def _steps(factors: Product) -> tuple[int, int]:
    """Elements from one matrix of a and of b to the next, 0 where one is repeated."""
    m, n, k = factors.mnk
    return (0 if factors.a_repeats or factors.batch == 1 else m * k,
            0 if factors.b_repeats or factors.batch == 1 else k * n)


def _emit(lowerer: Lowerer, node: ir.Node, factors: Product, bias: View | None) -> None:
    fused = lowerer.fused.get(node)
    a, trans_a = matrix(lowerer, factors.a)
    b, trans_b = matrix(lowerer, factors.b)
    if fused and fused.bias is not None:
        bias = lowerer.dense(lowerer.view(fused.bias))
    constant = b.storage.array is not None and (bias is None or bias.storage.array is not None)
    m, n, k = factors.mnk
    result = result_of(node, fused)
    others = extras(lowerer, fused, row_major(len(result.shape or ())))
    y = lowerer.new(result)
    if np.dtype(a.dtype).kind in "iu":
        whole = WholeMatMulSpec(a.dtype, factors.batch, m, n, k, trans_a, trans_b,
                                *_steps(factors), bias is not None)
        lowerer.emit(node, "whole_matmul", whole, [a, b, *([bias] if bias else []), y])
        return
    spec = MatMulSpec("float32", factors.batch, m, n, k, trans_a, trans_b,
                      *_steps(factors), constant, bias is not None, epilogue=epilogue(fused))
    lowerer.emit(node, "matmul", spec, [a, b, *([bias] if bias else []), *others, y])


LOWERINGS = {"matmul": lower_matmul, "gemm": lower_gemm}
