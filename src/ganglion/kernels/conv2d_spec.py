"""What a convolution over [N, H, W, C] (channels last) computes, 1-D as H = 1; float32 and int8:
its spec, operands and meaning, and how it divides over cores. Shared by `conv2d`, `depthwise` and
`hybrid`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ganglion.kernels import tiling
from ganglion.kernels.base import Cut, Operand, Part, Variant
from ganglion.kernels.matmul import Epilogue, Requant, finish, requantize
from ganglion.kernels.split import pixels_under, results


@dataclass(frozen=True)
class Geometry:
    """How a direct convolution walks memory; for templates.

    `images` of P × Q outputs; `row`, `image`: elements of a row and an image, padding included when
    the image is `copied`; `loops`: (count, stride) around a contiguous `run` of terms, padded to
    whole groups; `terms`: their number in all. A 1×1 convolution without steps is one long row.
    """

    images: int
    p: int
    q: int
    row: int
    image: int
    copied: bool
    padding: bool
    loops: tuple[tuple[int, int], ...]
    run: int
    terms: int


@dataclass(frozen=True)
class Conv2dSpec:
    """y[n, p, q, o] = Σ_ijc x[n, p·sh + i·dh - top, q·sw + j·dw - left, g·C/G + c] · w[o, i, j, c]

    g = o // (O / G). x: [N, H, W, C]; w: [O, kh, kw, C / G]; y: [N, P, Q, O]; pixels outside x are
    0 (int8: x_zero_point). `pads` = (top, left, bottom, right).
    `dtype`: "float32", "int8" or "uint8" (of x, and of y if `requant` names no other; w is int8).
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

    @property
    def y_dtype(self) -> str:
        return (self.requant.y_dtype if self.requant else "") or self.dtype

    def folded(self, count: int) -> "Conv2dSpec":
        """The same sums, `count` neighbouring output columns as channels of one: the kernel is
        wider by their steps, with zeros where a column does not look; y lies the same."""
        wider = (count - 1) * self.strides[1]
        return replace(self, o=count * self.o, kernel=(self.kernel[0], self.kernel[1] + wider),
                       strides=(self.strides[0], count * self.strides[1]))

    def geometry(self, group: int) -> Geometry:
        """`group`: terms of one dot product, 1 for float32."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        top, left, bottom, right = self.pads
        p, q = self.out_hw
        row = (self.w + left + right) * self.c
        together = dw == 1 and self.groups == 1
        run = tiling.padded(kw * self.c if together else self.c // self.groups, group)
        loops = ((kh, dh * row),) if together else ((kh, dh * row), (kw, dw * self.c))
        padding = any(self.pads)
        exact_run = run == (kw * self.c if together else self.c // self.groups)
        copied = padding or group == 2 or (group == 4 and not (self.dtype == "uint8" and exact_run))
        flat = self.kernel == self.strides == (1, 1) and not padding
        images = self.n
        if flat:
            images, p, q = (self.n, 1, p * q) if copied else (1, 1, self.n * p * q)
        return Geometry(images, p, q, row, (self.h + top + bottom) * row, copied, padding,
                        tuple(loop for loop in loops if loop[0] > 1), run,
                        run * kh * (1 if together else kw))


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
    found.append(Operand("y", spec.y_dtype, out, "output", alias=extras))
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
        y = requantize(spec.requant, sums, arrays["multiplier"].reshape(-1), spec.y_dtype)
    else:
        y = finish(spec.epilogue, sums, arrays)
    return {"y": y.reshape(-1)}


def macs(spec: Conv2dSpec) -> int:
    """Multiply-adds, those with padding counted too."""
    p, q = spec.out_hw
    return spec.n * p * q * spec.o * spec.kernel[0] * spec.kernel[1] * (spec.c // spec.groups)


def weights_by_group(spec: Conv2dSpec, w: np.ndarray, run: int) -> np.ndarray:
    """[G, terms, O / G]; runs padded with zeros to `run` terms."""
    kh, kw = spec.kernel
    each = spec.c // spec.groups
    length = kw * each if spec.dilations[1] == 1 and spec.groups == 1 else each
    runs = w.reshape(spec.groups, spec.o // spec.groups, kh * kw * each // length, length)
    full = np.zeros((*runs.shape[:3], run), w.dtype)
    full[..., :length] = runs
    return full.reshape(spec.groups, spec.o // spec.groups, -1).swapaxes(1, 2)


def _flat(spec: Conv2dSpec) -> bool:
    """A convolution of single pixels: images and rows do not matter."""
    return spec.kernel == spec.strides == (1, 1) and not any(spec.pads)


def _conv_extent(spec: Conv2dSpec) -> int:
    p, q = spec.out_hw
    if not spec.w_const:
        return 1
    return spec.n * p * q if _flat(spec) else spec.n if spec.n > 1 else p


def _conv_part(spec: Conv2dSpec, start: int, stop: int) -> Part | None:
    p, q = spec.out_hw
    if _flat(spec):
        part = replace(spec, n=1, h=1, w=stop - start)
        return Part(part, results(spec, start * spec.c, start * spec.o))
    if spec.n > 1:
        part = replace(spec, n=stop - start)
        return Part(part, results(spec, start * spec.h * spec.w * spec.c, start * p * q * spec.o))
    reach = (spec.kernel[0] - 1) * spec.dilations[0] + 1
    top, left, _, right = spec.pads
    first, end, above, below = pixels_under(start, stop, spec.h, spec.strides[0], reach, top)
    if end <= first:
        return None
    part = replace(spec, h=end - first, pads=(above, left, below, right))
    return Part(part, results(spec, first * spec.w * spec.c, start * q * spec.o))


def _conv_units(spec: Conv2dSpec, variant: Variant[Conv2dSpec]) -> tuple[int, ...]:
    """Winograd's tiles keep their places; pixels without rows are best cut at whole tiles."""
    if "outputs" in variant.tile and spec.n == 1:
        return (variant.tile["outputs"],)
    return (1, variant.tile.get("rows", 1)) if _flat(spec) else (1,)


CUT = Cut(_conv_extent, _conv_part, _conv_units)
