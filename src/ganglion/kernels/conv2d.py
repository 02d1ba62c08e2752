"""Convolution over [N, H, W, C] (channels last), 1-D as H = 1; float32 and int8.

Grouped too; depthwise (groups == channels) has variants of its own in `depthwise.py`.
"""

from dataclasses import dataclass

from ganglion.kernels.matmul import Epilogue, Requant


@dataclass(frozen=True)
class Conv2dSpec:
    """y[n, p, q, o] = Σ_{i,j,c} x[n, p·sh + i·dh - top, q·sw + j·dw - left, g·C/G + c] · w[o, i, j, c]

    g = o // (O / G). x: [N, H, W, C]; w: [O, kh, kw, C / G]; y: [N, P, Q, O]; pixels outside x are
    0 (int8: x_zero_point). `pads` = (top, left, bottom, right).
    `dtype`: "float32", "int8" or "uint8" (of x and y; w is int8).
    Operands: x, w, [bias: float32 or int32 [O]], [multiplier: float32 [O]], [r1...], y.
    `w_const`: false in a training step, where w changes from call to call.
    """

    dtype: str
    n: int
    h: int
    w: int
    c: int
    o: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    bias: bool = True
    w_const: bool = True
    requant: Requant | None = None
    epilogue: Epilogue | None = None

    @property
    def out_hw(self) -> tuple[int, int]:
        """(P, Q), the height and width of y."""
        top, left, bottom, right = self.pads
        p = (self.h + top + bottom - (self.kernel[0] - 1) * self.dilations[0] - 1)
        q = (self.w + left + right - (self.kernel[1] - 1) * self.dilations[1] - 1)
        return p // self.strides[0] + 1, q // self.strides[1] + 1
