"""Fourier transforms of a known size, as products with their matrix: trained, compiled and fused as
products are. A matrix takes size × results numbers, which suits the sizes of audio frames."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops.attr import get_int
from ganglion.ops.base import Array, Attrs, Dims, Made, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import constant_ints, optional, source
from ganglion.ops.values import attributes, dims, numpy_dtype, static_shape


def results(size: int, inverse: bool, onesided: bool) -> tuple[int, int]:
    """How many numbers a transform of this size gives, and of how many parts each."""
    if not onesided:
        return size, 2
    return (size, 1) if inverse else (size // 2 + 1, 2)


def fourier(taps: int, parts: int, size: int, inverse: bool, onesided: bool) -> Array:
    """[taps, parts, results, 2 or 1], float64: what each tap, its real and imaginary part, gives to
    each result. Taps beyond `size` give nothing.

    onesided: the results 0 to size // 2 alone; of an inverse, the taps are those, and the results
    real (Oppenheim and Schafer, Discrete-Time Signal Processing, 8.6)."""
    count, made = results(size, inverse, onesided)
    back = made == 1
    known = min(taps, size // 2 + 1 if back else size)
    turns = np.outer(np.arange(known), np.arange(count)) % size / size
    wave = np.exp((2j if inverse else -2j) * np.pi * turns) / (size if inverse else 1)
    if back:
        twice = np.full(known, 2.0)
        twice[[k for k in range(known) if k in (0, size / 2)]] = 1
        wave *= twice[:, None]
    found = np.zeros((taps, parts, count, made))
    found[:known, 0, :, 0] = wave.real
    if parts == 2:
        found[:known, 1, :, 0] = -wave.imag
    if not back:
        found[:known, 0, :, 1] = wave.imag
        if parts == 2:
            found[:known, 1, :, 1] = wave.real
    return found


def _number(value: ir.Value | None) -> int | None:
    """An input's only number, None for one that is absent or not known."""
    if value is None or value.const_value is None:
        return None
    return int(value.const_value.numpy().reshape(-1)[0])


def _plan(attrs: Attrs, inputs: Sequence[ir.Value | None]
          ) -> tuple[int, tuple[int, int, int, bool, bool]]:
    """The axis of a DFT, and what `fourier` wants to know.

    Raises ValueError where a size is not known."""
    x = inputs[0]
    shape: list[int | str | None] = [] if x is None else dims(x)
    place = inputs[2] if len(inputs) > 2 else None
    axis = -2 if place is None else _number(place)
    if axis is None or not -len(shape) <= axis < len(shape) or axis % len(shape) > len(shape) - 2:
        raise ValueError(f"axis {axis} is not one of the {len(shape) - 1} of the signal")
    axis %= len(shape)
    taps, parts = shape[axis], shape[-1]
    inverse = bool(get_int(attrs, "inverse", 0))
    onesided = bool(get_int(attrs, "onesided", 0))
    if not isinstance(taps, int) or parts not in (1, 2):
        raise ValueError(f"a signal of shape {list(shape)}; its length and its last size, 1 or 2, "
                         "must be known")
    given = inputs[1] if len(inputs) > 1 else None
    size = _number(given) if given is not None else 2 * (taps - 1) if inverse and onesided else taps
    if size is None or size < 1:
        raise ValueError(f"dft_length is {size}; expected a constant from 1 up")
    return axis, (taps, int(parts), size, inverse, onesided)


def _dft_types(attrs: Attrs, inputs: Sequence[ir.Value | None]
               ) -> list[tuple[ir.DataType, Dims]]:
    x = inputs[0]
    if x is None or x.dtype is None:
        raise ValueError("the signal has no type")
    axis, (_, _, size, inverse, onesided) = _plan(attrs, inputs)
    shape = dims(x)
    shape[axis], shape[-1] = results(size, inverse, onesided)
    return [(x.dtype, shape)]


def _dft(g: Builder, node: ir.Node) -> Made:
    x = source(node, 0)
    axis, sizes = _plan(attributes(node), list(node.inputs))
    matrix = fourier(*sizes)
    taps, parts, count, made = matrix.shape
    before = len(dims(x)) - 2
    order = [*(k for k in range(before + 1) if k != axis), axis, before + 1]
    y = g.op("Transpose", x, perm=order)
    y = g.op("Reshape", y, g.ints(*[0] * before, taps * parts))
    y = g.op("MatMul", y, _typed(g, matrix.reshape(taps * parts, count * made), x))
    y = g.op("Reshape", y, g.ints(*[0] * before, count, made))
    return [g.op("Transpose", y, perm=[int(k) for k in np.argsort(order)])]


def _typed(g: Builder, matrix: Array, like: ir.Value) -> ir.Value:
    """A constant of the type of `like`. Raises ModelError where that has none."""
    return g.constant(matrix.astype(numpy_dtype(like)), "waves")


def _frame(inputs: Sequence[ir.Value | None]) -> tuple[int, int]:
    """The length of a frame and the step between two. Raises ValueError where one is not known."""
    signal, step, window, length = (*inputs, None, None, None)[:4]
    size: int | str | None = _number(length)
    if size is None and window is not None:
        size = dims(window)[0]
    elif length is None and signal is not None:
        size = dims(signal)[1]
    hop = _number(step)
    if not isinstance(size, int) or hop is None or min(size, hop) < 1:
        raise ValueError(f"frame_length is {size}, frame_step {hop}; expected constants from 1 up")
    return size, hop


def _stft_types(attrs: Attrs, inputs: Sequence[ir.Value | None]
                ) -> list[tuple[ir.DataType, Dims]]:
    x = inputs[0]
    if x is None or x.dtype is None:
        raise ValueError("the signal has no type")
    size, hop = _frame(inputs)
    batch, length = dims(x)[:2]
    frames = (length - size) // hop + 1 if isinstance(length, int) else None
    return [(x.dtype, [batch, frames, *results(size, False, _is_onesided(attrs))])]


def _is_onesided(attrs: Attrs) -> bool:
    return bool(get_int(attrs, "onesided", 1))


def _stft(g: Builder, node: ir.Node) -> Made:
    """A convolution: its filters are the waves, each under the window."""
    x, window = source(node, 0), optional(node, 2)
    size, hop = _frame(list(node.inputs))
    parts = dims(x)[2] if len(dims(x)) == 3 else 1
    if parts not in (1, 2):
        raise ValueError(f"a signal of shape {dims(x)}; its last size must be 1 or 2")
    matrix = fourier(size, int(parts), size, False, _is_onesided(attributes(node)))
    count = matrix.shape[2]
    filters = _typed(g, matrix.transpose(2, 3, 1, 0).reshape(2 * count, -1, size), x)
    if window is not None:
        filters = g.mul(filters, window)
    signal = g.op("Transpose", x, perm=[0, 2, 1]) if len(dims(x)) == 3 else \
        g.op("Unsqueeze", x, g.ints(1))
    y = g.op("Conv", signal, filters, strides=[hop])
    y = g.op("Reshape", y, g.ints(0, count, 2, -1))
    return [g.op("Transpose", y, perm=[0, 3, 1, 2])]


def _grid_types(attrs: Attrs, inputs: Sequence[ir.Value | None]
                ) -> list[tuple[ir.DataType, Dims]]:
    theta, size = inputs[:2]
    if theta is None or theta.dtype is None or size is None:
        raise ValueError("theta or size is missing")
    count, = static_shape(size)
    known = size.const_value
    spatial = [None] * (count - 2) if known is None else known.numpy()[2:].tolist()
    return [(theta.dtype, [dims(theta)[0], *spatial, len(spatial)])]


def _affine_grid(g: Builder, node: ir.Node) -> Made:
    """Each pixel's place, (x, y, 1), times theta; -1 and 1 are the centres of the outer pixels with
    align_corners, else their outer edges."""
    theta, sizes = source(node, 0), constant_ints(node, 1)[2:]
    corners = get_int(attributes(node), "align_corners", 0)
    lines = [np.linspace(-1, 1, n) if corners else (2 * np.arange(n) + 1) / n - 1 for n in sizes]
    places = [*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(sizes)]
    base = np.stack(places, -1).reshape(-1, len(sizes) + 1)
    y = g.op("MatMul", _typed(g, base, theta), g.op("Transpose", theta, perm=[0, 2, 1]))
    return [g.op("Reshape", y, g.ints(-1, *sizes, len(sizes)))]


ROWS = (
    Op("DFT", source="ONNX DFT-20", reads=("inverse", "onesided"), made_of=_dft, infer=_dft_types),
    Op("STFT", source="ONNX STFT-17", reads=("onesided",), made_of=_stft, infer=_stft_types),
    Op("AffineGrid", source="ONNX AffineGrid-20", reads=("align_corners",), made_of=_affine_grid,
       infer=_grid_types),
)
