"""Convolution over [N, H, W, C] (channels last), 1-D as H = 1; float32 and int8.

Grouped too; depthwise (groups == channels) has variants of its own in `depthwise.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import SCALAR
from ganglion.kernels.matmul import Epilogue, Requant, finish, requantize


@dataclass(frozen=True)
class Conv2dSpec:
    """y[n, p, q, o] = Σ_ijc x[n, p·sh + i·dh - top, q·sw + j·dw - left, g·C/G + c] · w[o, i, j, c]

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


def operands(spec: Conv2dSpec) -> list[Operand]:
    """The arrays of a convolution, in parameter order."""
    p, q = spec.out_hw
    out = spec.n * p * q * spec.o
    exact = spec.dtype != "float32"
    role = "const" if spec.w_const else "input"
    size = spec.o * spec.kernel[0] * spec.kernel[1] * (spec.c // spec.groups)
    found = [Operand("x", spec.dtype, spec.n * spec.h * spec.w * spec.c),
             Operand("w", "int8" if exact else "float32", size, role)]
    if spec.bias:
        found.append(Operand("bias", "int32" if exact else "float32", spec.o, role))
    if spec.requant:
        found.append(Operand("multiplier", "float32", spec.o, "const"))
    extras = tuple(f"r{i + 1}" for i in range(spec.epilogue.extra if spec.epilogue else 0))
    found += [Operand(name, "float32", out) for name in extras]
    found.append(Operand("y", spec.dtype, out, "output", alias=extras))
    return found


def windows(x: np.ndarray, spec: Conv2dSpec, fill: float) -> np.ndarray:
    """The pixels under every tap, [N, P, Q, kh, kw, C]; `fill` outside the image."""
    (kh, kw), (sh, sw), (dh, dw) = spec.kernel, spec.strides, spec.dilations
    p, q = spec.out_hw
    top, left, bottom, right = spec.pads
    padded = np.full((spec.n, spec.h + top + bottom, spec.w + left + right, spec.c), fill, x.dtype)
    padded[:, top:top + spec.h, left:left + spec.w] = x.reshape(spec.n, spec.h, spec.w, spec.c)
    rows = np.arange(p)[:, None] * sh + np.arange(kh) * dh
    columns = np.arange(q)[:, None] * sw + np.arange(kw) * dw
    return padded[:, rows[:, None, :, None], columns[None, :, None, :]]


def reference(spec: Conv2dSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The convolution in NumPy: float32 sums in float64, int8 exactly."""
    wide = np.float64 if spec.dtype == "float32" else np.int64
    zero = spec.requant.x_zero_point if spec.requant else 0
    taps = windows(arrays["x"].astype(wide) - zero, spec, 0)
    g, p, q = spec.groups, *spec.out_hw
    rows: np.ndarray = taps.reshape(spec.n * p * q, -1, g, spec.c // g).transpose(2, 0, 1, 3)
    rows = rows.reshape(g, spec.n * p * q, -1)
    w = arrays["w"].astype(wide).reshape(g, spec.o // g, -1)
    products: np.ndarray = rows @ w.swapaxes(1, 2)
    sums = products.transpose(1, 0, 2).reshape(spec.n, p, q, spec.o)
    if spec.bias:
        sums = sums + arrays["bias"].astype(wide)
    if spec.requant:
        y = requantize(spec.requant, sums, arrays["multiplier"].reshape(-1), spec.dtype)
    else:
        y = finish(spec.epilogue, sums, arrays)
    return {"y": y.reshape(-1)}


def macs(spec: Conv2dSpec) -> int:
    """Multiply-adds, those with padding counted too."""
    p, q = spec.out_hw
    return spec.n * p * q * spec.o * spec.kernel[0] * spec.kernel[1] * (spec.c // spec.groups)


CONV2D: Family[Conv2dSpec] = Family("conv2d", operands, reference,
                variants=(Variant("conv2d_any__scalar", SCALAR, "conv2d_scalar.c.j2",
                                  cost=lambda spec: 1.5 * macs(spec)),),
                macs=macs)
FAMILIES = (CONV2D,)
