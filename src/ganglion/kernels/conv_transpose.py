"""Transposed convolution over [N, H, W, C]; float32 and int8. Also a convolution's input gradient."""

from dataclasses import dataclass

from ganglion.kernels.matmul import Epilogue, Requant


@dataclass(frozen=True)
class ConvTransposeSpec:
    """y[n, p·sh + i·dh - top, q·sw + j·dw - left, o] += Σ_c x[n, p, q, c] · w[c, i, j, o'], + bias

    x: [N, H, W, C]; w: [C, kh, kw, O / G] (o' counts within the group of c); y: [N, P, Q, O] with
    (P, Q) = `out_hw` given. Operands: x, w, [bias [O]], [multiplier [O]], [r1...], y.
    """

    dtype: str
    n: int
    h: int
    w: int
    c: int
    o: int
    kernel: tuple[int, int]
    out_hw: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    bias: bool = True
    w_const: bool = True
    requant: Requant | None = None
    epilogue: Epilogue | None = None
