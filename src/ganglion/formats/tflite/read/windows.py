"""MediaPipe's MaxPoolingWithArgmax2D and MaxUnpooling2D, over windows that lie side by side.

Their options are TensorFlow Lite's own numbers of a pool: padding (1: SAME, 2: VALID), stride
across, stride down, width, height, activation. An index is the place of the largest number in its
window, row by row, plus 0.1, a float32. Source: MediaPipe, util/tflite/operations/
max_pool_argmax.cc and max_unpooling.cc.
"""

import struct
from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.formats.tflite.read.products import image_shape
from ganglion.formats.tflite.read.site import Site

OPTIONS = "<6i"
ABOVE = 0.1
"""What is added to an index, so that a float of it is never below."""


def max_pool_with_argmax(site: Site) -> None:
    """[N, H, W, C] to the largest [N, H/h, W/w, C] and where in the window each stood."""
    (n, height, width, c), (down, across, activation) = image_shape(site, 0), _window(site)
    if height % down or width % across:
        raise site.unsupported(f"windows of {down} x {across} do not divide an image of {height} x "
                               f"{width}; only those that do are read")
    shape = (n, height // down, width // across, down * across, c)
    split = site.reshaped(site.value(0), (n, shape[1], down, shape[2], across, c))
    parts = site.reshaped(site.op("Transpose", split, perm=[0, 1, 3, 2, 4, 5]), shape)
    site.finish(site.op("ReduceMax", parts, site.g.ints(3), keepdims=0), activation=activation)
    place = site.op("ArgMax", parts, axis=3, keepdims=0)
    number = site.op("Cast", place, to=ir.DataType.FLOAT)
    site.put(site.op("Add", number, site.floats(ABOVE)), 1)


def max_unpool(site: Site) -> None:
    """Numbers and indices [N, H, W, C] to [N, H·h, W·w, C], zeros but where the indices say."""
    (n, height, width, c), (down, across, _) = image_shape(site, 0), _window(site)
    if site.shape(1) != site.shape(0):
        raise site.error(f"its indices {list(site.shape(1))} are not one for each number of "
                         f"{list(site.shape(0))}")
    place = site.op("Cast", site.value(1), to=ir.DataType.INT32)
    places = site.g.constant(np.arange(prod((down, across)), dtype=np.int32).reshape(-1, 1))
    one = (n, height, width, 1, c)
    there = site.op("Equal", site.reshaped(place, one), places)
    parts = site.op("Where", there, site.reshaped(site.value(0), one), site.floats(0.0))
    split = site.reshaped(parts, (n, height, width, down, across, c))
    turned = site.op("Transpose", split, perm=[0, 1, 3, 2, 4, 5])
    site.put(site.reshaped(turned, (n, height * down, width * across, c)))


def _window(site: Site) -> tuple[int, int, int]:
    """Height and width of the windows, and the activation's number."""
    data = site.operator.custom
    if len(data) < struct.calcsize(OPTIONS):
        raise site.error(f"has {len(data)} bytes of options, expected at least "
                         f"{struct.calcsize(OPTIONS)}")
    padding, right, below, across, down, activation = struct.unpack_from(OPTIONS, data)
    if padding not in (1, 2) or min(across, down) < 1:
        raise site.error(f"its options {[padding, right, below, across, down]} are no padding, "
                         "strides and window")
    if (below, right) != (down, across):
        raise site.unsupported(f"has windows of {down} x {across} by strides of {below} x {right}; "
                               "only windows side by side are read")
    return down, across, activation


ROWS: Mapping[str, Callable[[Site], None]] = {
    "CUSTOM 'MaxPoolingWithArgmax2D'": max_pool_with_argmax,
    "CUSTOM 'MaxUnpooling2D'": max_unpool}
