"""Sliding windows: what convolutions and pools agree on, for any number of spatial axes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ganglion.errors import ModelError
from ganglion.ops.attr import get_int, get_ints, get_str
from ganglion.ops.base import Array, Attrs

CONV_READS = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
TRANSPOSED_READS = (*CONV_READS, "output_padding", "output_shape")
POOL_READS = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
AVERAGE_READS = (*POOL_READS, "count_include_pad")
"""The attributes of convolutions and pools."""


@dataclass(frozen=True)
class Window:
    """A window's geometry, one entry a spatial axis, every default and auto_pad resolved."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels from a window's first to its last, both counted."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations))

    @property
    def pads(self) -> tuple[int, ...]:
        """As ONNX writes them: all begins, then all ends."""
        return (*self.begin, *self.end)


def window(attrs: Attrs, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of Conv or a pool over an input with these spatial sizes.

    Without ceil_mode an axis gives floor((size + pads - extent) / stride) + 1 windows; with it,
    the ceiling, less windows that would start behind the input and its front padding
    (ONNX MaxPool-12, AveragePool-19). Raises ModelError when lengths differ or nothing fits.
    """
    rank = len(spatial)
    strides = get_ints(attrs, "strides", [1] * rank)
    dilations = get_ints(attrs, "dilations", [1] * rank)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    if not len(kernel) == len(strides) == len(dilations) == rank:
        raise ModelError(f"kernel_shape {list(kernel)}, strides {strides} and dilations "
                         f"{dilations} must have one entry for each of {rank} spatial axes")
    pads = resolve_pads(attrs, spatial, extent, strides)
    begin, end = pads[:rank], pads[rank:]
    ceil = get_int(attrs, "ceil_mode", 0)
    out = []
    for size, b, e, width, step in zip(spatial, begin, end, extent, strides):
        room = size + b + e - width
        count = (-(-room // step) if ceil else room // step) + 1
        if ceil and (count - 1) * step >= size + b:
            count -= 1
        if room < 0 or count < 1:
            raise ModelError(f"a window of {width} pixels does not fit into {size} with padding "
                             f"({b}, {e}); use a smaller kernel or more padding")
        out.append(count)
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end),
                  tuple(out))


def padding_mode(attrs: Attrs) -> str:
    """The attribute auto_pad. Raises ModelError for a word that ONNX does not know, and for pads
    beside VALID: ONNX infers the size with them, runtimes compute without."""
    mode = get_str(attrs, "auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"auto_pad {mode!r} is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    if mode == "VALID" and any(get_ints(attrs, "pads", [])):
        raise ModelError("auto_pad VALID says that nothing is padded, pads is "
                         f"{attrs['pads']}; remove one of them")
    return mode


def resolve_pads(attrs: Attrs, spatial: Sequence[int], extent: Sequence[int],
                 strides: Sequence[int]) -> list[int]:
    """The pads attribute, or what auto_pad makes of it: all begins, then all ends.

    Raises ModelError for pads that do not fit, and as `padding_mode`."""
    mode = padding_mode(attrs)
    if mode == "NOTSET":
        pads = get_ints(attrs, "pads", [0] * (2 * len(spatial)))
        if len(pads) != 2 * len(spatial):
            raise ModelError(f"pads {pads} must have two entries for each of {len(spatial)} "
                             "spatial axes")
        return pads
    if mode == "VALID":
        return [0] * (2 * len(spatial))
    begin, end = [], []
    for size, width, step in zip(spatial, extent, strides):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        less, more = total // 2, total - total // 2
        begin.append(less if mode == "SAME_UPPER" else more)
        end.append(more if mode == "SAME_UPPER" else less)
    return [*begin, *end]


def padded(x: Array, w: Window, value: float) -> Array:
    """x [N, C, *spatial] with `value` around it, wide enough for the last window."""
    widths = [(0, 0), (0, 0)]
    for size, b, width, step, count in zip(x.shape[2:], w.begin, w.extent, w.strides, w.out):
        widths.append((b, max((count - 1) * step + width - size - b, 0)))
    return np.pad(x, widths, constant_values=np.asarray(value, x.dtype))


def windows(x: Array, w: Window) -> Array:
    """A view [N, C, *out, *kernel] of the padded x: every window's pixels."""
    rank = len(w.kernel)
    view = sliding_window_view(x, w.extent, axis=tuple(range(2, 2 + rank)))
    steps = [slice(0, (n - 1) * s + 1, s) for n, s in zip(w.out, w.strides)]
    inner = [slice(None, None, d) for d in w.dilations]
    return view[(slice(None), slice(None), *steps, *inner)]


def offsets(w: Window) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """For every position in the kernel: the pixels of the padded x that it meets."""
    found = []
    for position in np.ndindex(*w.kernel):
        pixels = tuple(slice(i * d, i * d + (n - 1) * s + 1, s)
                       for i, d, n, s in zip(position, w.dilations, w.out, w.strides))
        found.append((position, pixels))
    return found


def cropped(x: Array, w: Window, spatial: Sequence[int]) -> Array:
    """The inside of a padded array: the inverse of `padded`."""
    inside = [slice(b, b + size) for b, size in zip(w.begin, spatial)]
    return np.ascontiguousarray(x[(slice(None), slice(None), *inside)])
