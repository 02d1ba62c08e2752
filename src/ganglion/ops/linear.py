"""Matrix products."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_float, get_int
from ganglion.ops.base import Array, Attrs, Axes, Kernel, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import optional, rank, reshape_like, source, swapped, unbroadcast
from ganglion.ops.values import attributes, static_shape


def _matmul_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                ) -> list[ir.Value | None]:
    """Vectors count as a row (a) or a column (b), as in NumPy's matmul."""
    a, b, dy = source(node, 0), source(node, 1), dys[0]
    if dy is None:
        return [None, None]
    rows = g.op("Unsqueeze", a, g.ints(0)) if rank(a) == 1 else a
    columns = g.op("Unsqueeze", b, g.ints(1)) if rank(b) == 1 else b
    if rank(b) == 1:
        dy = g.op("Unsqueeze", dy, g.ints(-1))
    if rank(a) == 1:
        dy = g.op("Unsqueeze", dy, g.ints(-2))
    if rank(columns) == 2:
        da, db = _by_one_matrix(g, rows, columns, dy)
    else:
        da = g.op("MatMul", dy, _transposed(g, columns))
        db = g.op("MatMul", _transposed(g, rows), dy)
    return [reshape_like(g, unbroadcast(g, da, rows), a),
            reshape_like(g, unbroadcast(g, db, columns), b)]


def _by_one_matrix(g: Builder, a: ir.Value, b: ir.Value, dy: ir.Value
                   ) -> tuple[ir.Value, ir.Value]:
    """a: [..., M, K]; b: [K, N]. All rows of a form one matrix, so no transpose is needed."""
    k, n = static_shape(b)
    tall = g.op("Reshape", a, g.ints(-1, k)) if rank(a) > 2 else a
    dtall = g.op("Reshape", dy, g.ints(-1, n)) if rank(a) > 2 else dy
    da = g.op("Gemm", dtall, b, transB=1)
    return reshape_like(g, da, a), g.op("Gemm", tall, dtall, transA=1)


def _transposed(g: Builder, x: ir.Value) -> ir.Value:
    """The last two axes exchanged."""
    return g.op("Transpose", x, perm=swapped(rank(x) - 2, rank(x) - 1, rank(x)))


def whole_factors(attrs: Attrs, node: str = "") -> None:
    """Raises UnsupportedOp for factors that integers are not multiplied by exactly."""
    alpha, beta = (get_float(attrs, name, 1.0) for name in ("alpha", "beta"))
    if alpha != 1.0 or beta not in (0.0, 1.0):
        raise UnsupportedOp(f"node {node!r}: Gemm of integers with alpha={alpha} and beta={beta}; "
                            "only alpha=1 and beta 1 or 0 are exact, cast to float32 for others")


def _gemm_reference(attrs: Attrs, a: Array, b: Array, c: Array | None = None
                    ) -> tuple[Array, ...]:
    a = a.T if get_int(attrs, "transA", 0) else a
    b = b.T if get_int(attrs, "transB", 0) else b
    y = np.matmul(a, b)
    if y.dtype.kind in "iu":
        whole_factors(attrs)
    alpha, beta = get_float(attrs, "alpha", 1.0), get_float(attrs, "beta", 1.0)
    y = y if alpha == 1.0 else y * alpha
    if c is not None and beta:
        y = y + (c if beta == 1.0 else c * beta)
    return (y,)


def _gemm_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
              ) -> list[ir.Value | None]:
    dy = dys[0]
    if dy is None:
        return [None] * len(node.inputs)
    a, b, c = source(node, 0), source(node, 1), optional(node, 2)
    attrs = attributes(node)
    ta, tb = get_int(attrs, "transA", 0), get_int(attrs, "transB", 0)
    alpha, beta = get_float(attrs, "alpha", 1.0), get_float(attrs, "beta", 1.0)
    if ta:
        da = g.op("Gemm", b, dy, transA=tb, transB=1, alpha=alpha)
    else:
        da = g.op("Gemm", dy, b, transA=0, transB=1 - tb, alpha=alpha)
    if tb:
        db = g.op("Gemm", dy, a, transA=1, transB=ta, alpha=alpha)
    else:
        db = g.op("Gemm", a, dy, transA=1 - ta, transB=0, alpha=alpha)
    if len(node.inputs) < 3:
        return [da, db]
    if c is None:
        return [da, db, None]
    return [da, db, unbroadcast(g, dy if beta == 1.0 else g.mul(dy, beta), c)]


ROWS = (
    Op("MatMul", source="ONNX MatMul-13", lower=Kernel("matmul"), weights=(0, 1),
       axes=Axes.PRODUCT, units=lambda attrs: -1, learned=(0, 1), even=True, vjp=_matmul_vjp,
       reference=lambda attrs, a, b: (np.matmul(a, b),)),
    Op("Gemm", source="ONNX Gemm-13",
       reads=("alpha", "beta", "transA", "transB"),
       lower=Kernel("gemm"), axes=Axes.ROWS, weights=(1,),
       units=lambda attrs: 1 - get_int(attrs, "transB", 0), added=(2,), learned=(1, 2), even=True,
       vjp=_gemm_vjp, reference=_gemm_reference),
)
