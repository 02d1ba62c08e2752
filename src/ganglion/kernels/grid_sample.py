"""Pixels read at places that a tensor gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import SCALAR

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


@dataclass(frozen=True)
class GridSampleSpec:
    """y[n, c, k] = Σᵢⱼ wᵢ·wⱼ·x[n, c, i, j] for the pixels around grid[n, k] = (across, down).

    -1 and 1 are the image's edges, or with `align` the centres of its outermost pixels. `mode`:
    "nearest", "linear", "cubic" (a = -0.75); `padding`: "zeros", "border", "reflection". Operands:
    x [n, channels, height, width], grid [n, points, 2], y [n, channels, points].
    """

    n: int
    channels: int
    height: int
    width: int
    points: int
    mode: str = "linear"
    padding: str = "zeros"
    align: bool = False


def operands(spec: GridSampleSpec) -> list[Operand]:
    """The arrays, in parameter order."""
    image = spec.n * spec.channels
    return [Operand("x", "float32", image * spec.height * spec.width),
            Operand("grid", "float32", spec.n * spec.points * 2),
            Operand("y", "float32", image * spec.points, "output")]


def _axis(p: float, size: int, spec: GridSampleSpec) -> list[tuple[int, np.float32]]:
    """(pixel, or -1 for one that is 0; weight) for one position, step by step as the C does."""
    f = np.float32
    with np.errstate(all="ignore"):
        g = f(p) + f(1)
        at = g / f(2) * f(size - 1) if spec.align else (g * f(size) - f(1)) / f(2)
        at = np.rint(at) if spec.mode == "nearest" else at
        at = at if (spec.mode, spec.padding) == ("cubic", "border") else _moved(at, size, spec)
        start = np.floor(at)
        found = []
        for k, weight in enumerate(_weights(at - start, spec.mode)):
            first = -1 if spec.mode == "cubic" else 0
            q = _moved(start + f(first + k), size, spec)
            pixel = 0 if not q > 0 else int(min(q, f(size - 1)))
            found.append((-1 if spec.padding == "zeros" and not 0 <= q <= size - 1 else pixel,
                          weight))
    return found


def _moved(p: np.float32, size: int, spec: GridSampleSpec) -> np.float32:
    f = np.float32
    if spec.padding == "border":
        return f(0) if p < 0 else f(size - 1) if p > size - 1 else p
    if spec.padding == "zeros":
        return p
    low, high = (f(0), f(size - 1)) if spec.align else (f(-0.5), f(size - 0.5))
    if not (p < low or p > high):
        return p
    far = low - p if p < low else p - high
    turns = np.floor(far / (high - low))
    rest = far - turns * (high - low)
    even = turns - f(2) * np.floor(turns / f(2)) == 0
    return f(low + rest) if (p < low) == even else f(high - rest)


def _weights(t: np.float32, mode: str) -> list[np.float32]:
    f = np.float32
    if mode == "nearest":
        return [f(1)]
    if mode == "linear":
        return [f(1) - t, t]
    near, far = [(f(1.25) * d - f(2.25)) * d * d + f(1) for d in (t, f(1) - t)], [
        ((f(-0.75) * d + f(3.75)) * d - f(6)) * d + f(3) for d in (t + f(1), f(2) - t)]
    return [far[0], near[0], near[1], far[1]]


def reference(spec: GridSampleSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Point by point."""
    x = arrays["x"].reshape(spec.n, spec.channels, spec.height, spec.width)
    grid = arrays["grid"].reshape(spec.n, spec.points, 2)
    y = np.zeros((spec.n, spec.channels, spec.points), np.float32)
    for n in range(spec.n):
        for k in range(spec.points):
            across, down = (_axis(grid[n, k, a], size, spec)
                            for a, size in ((0, spec.width), (1, spec.height)))
            for i, weight in down:
                line = np.zeros(spec.channels, np.float32)
                for j, part in across:
                    if i >= 0 and j >= 0:
                        line += x[n, :, i, j] * part
                    else:
                        line += np.float32(0) * part
                y[n, :, k] += line * weight
    return {"y": y}


def macs(spec: GridSampleSpec) -> int:
    """Multiply-adds of all outputs."""
    return prod((spec.n, spec.channels, spec.points, TAPS[spec.mode] ** 2))


GRID_SAMPLE: Family[GridSampleSpec] = Family(
    "grid_sample", operands, reference, macs=macs,
    variants=(Variant("grid_sample_f32__scalar", SCALAR, "grid_sample.c.j2",
                      cost=lambda spec: 40.0 * spec.n * spec.points + 2.0 * macs(spec),
                      tile=TAPS),))
FAMILIES = (GRID_SAMPLE,)
