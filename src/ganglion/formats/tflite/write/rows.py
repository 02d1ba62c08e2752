"""The operators that are written: one row each, by ONNX's name."""

from collections.abc import Mapping

from ganglion.formats.tflite.write import moves, pointwise, products, recurrent, reductions, spatial
from ganglion.formats.tflite.write.site import Rule

ROWS: Mapping[str, Rule] = {
    **products.ROWS, **spatial.ROWS, **pointwise.ROWS, **moves.ROWS, **reductions.ROWS,
    **recurrent.ROWS}
