"""GridSample: pixels read at places that a tensor gives.

Source: ONNX GridSample-20, after Jaderberg et al., "Spatial Transformer Networks" (NeurIPS 2015);
cubic weights by Keys (1981), a = -0.75.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_int, get_str
from ganglion.ops.base import Array, Attrs, Kernel, Op

MODES = ("nearest", "linear", "cubic")
PADDINGS = ("zeros", "border", "reflection")


def settings(attrs: Attrs) -> tuple[str, str, bool]:
    """(mode, padding, whether -1 and 1 are the centres of the outermost pixels). Raises
    UnsupportedOp for words that ONNX does not know."""
    mode, padding = get_str(attrs, "mode", "linear"), get_str(attrs, "padding_mode", "zeros")
    if mode not in MODES or padding not in PADDINGS:
        raise UnsupportedOp(f"GridSample with mode={mode!r} and padding_mode={padding!r}; expected "
                            f"one of {', '.join(MODES)} and one of {', '.join(PADDINGS)}")
    return mode, padding, bool(get_int(attrs, "align_corners", 0))


def place(grid: Array, size: int, align: bool) -> Array:
    """-1 to 1 as positions on an axis of `size` pixels, float32 as the kernels compute them."""
    g = grid.astype(np.float32)
    if align:
        return (g + np.float32(1)) / np.float32(2) * np.float32(size - 1)
    return ((g + np.float32(1)) * np.float32(size) - np.float32(1)) / np.float32(2)


def reflected(p: Array, size: int, align: bool) -> Array:
    """Positions outside of the image thrown back at its borders until they are inside."""
    low, high = (np.float32(0), np.float32(size - 1)) if align else (
        np.float32(-0.5), np.float32(size - 0.5))
    width = high - low
    with np.errstate(all="ignore"):
        far = np.where(p < low, low - p, p - high)
        turns = np.floor(far / width)
        rest = far - turns * width
        even = turns - np.float32(2) * np.floor(turns / np.float32(2)) == 0
        back = np.where((p < low) == even, low + rest, high - rest)
    return np.where((p < low) | (p > high), back, p)


def _nearest(t: Array) -> list[Array]:
    return [np.ones_like(t)]


def _linear(t: Array) -> list[Array]:
    return [1 - t, t]


def _cubic(t: Array) -> list[Array]:
    a = np.float32(-0.75)

    def near(d: Array) -> Array:
        return np.asarray(((a + 2) * d - (a + 3)) * d * d + 1)

    def far(d: Array) -> Array:
        return np.asarray(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


WEIGHTS: Mapping[str, Callable[[Array], list[Array]]] = {
    "nearest": _nearest, "linear": _linear, "cubic": _cubic}
FIRST = {"nearest": 0, "linear": 0, "cubic": -1}
"""The first pixel that counts, from the one at or before the position on."""


def taps(grid: Array, size: int, mode: str, padding: str, align: bool
         ) -> list[tuple[Array, Array, Array]]:
    """(index, whether it lies in the image, weight) of every pixel that counts on one axis."""
    p = place(grid, size, align)
    p = np.rint(p) if mode == "nearest" else p
    if (mode, padding) != ("cubic", "border"):  # there each pixel alone, as PyTorch has it
        p = _inside(p, size, padding, align)
    start = np.floor(p)
    found = []
    for k, weight in enumerate(WEIGHTS[mode](p - start)):
        at = _inside(start + np.float32(FIRST[mode] + k), size, padding, align)
        within = (at >= 0) & (at <= size - 1)
        bounded = np.where(at > 0, np.where(at < size - 1, at, size - 1), 0)
        found.append((bounded.astype(np.int64), within | (padding != "zeros"), weight))
    return found


def _inside(p: Array, size: int, padding: str, align: bool) -> Array:
    if padding == "border":
        top = np.float32(size - 1)
        return np.where(p > 0, np.where(p < top, p, np.where(np.isnan(p), p, top)),
                        np.where(np.isnan(p), p, np.float32(0)))
    return reflected(p, size, align) if padding == "reflection" else p


def sample(x: Array, grid: Array, mode: str, padding: str, align: bool) -> Array:
    """x [N, C, H, W] read at grid [N, h, w, 2] of (across, down): [N, C, h, w]."""
    down = taps(grid[..., 1], x.shape[2], mode, padding, align)
    across = taps(grid[..., 0], x.shape[3], mode, padding, align)
    rows = np.arange(len(x))[:, None, None]
    total = np.zeros((*grid.shape[:3], x.shape[1]), x.dtype)
    for i, here, weight in down:
        line = np.zeros_like(total)
        for j, there, part in across:
            pixels = np.where((here & there)[..., None], x[rows, :, i, j], x.dtype.type(0))
            line = line + pixels * part[..., None].astype(x.dtype)
        total = total + line * weight[..., None].astype(x.dtype)
    return np.ascontiguousarray(np.moveaxis(total, -1, 1))


def _reference(attrs: Attrs, x: Array, grid: Array) -> tuple[Array, ...]:
    if x.ndim != 4:
        raise UnsupportedOp(f"GridSample of {list(x.shape)}; expected images [N, C, H, W]")
    with np.errstate(all="ignore"):
        return (sample(x, grid, *settings(attrs)),)


ROWS = (
    Op("GridSample", source="ONNX GridSample-20 (images)", even=True,
       reads=("align_corners", "mode", "padding_mode"),
       lower=Kernel("grid_sample"), reference=_reference),
)
