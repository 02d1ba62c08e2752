"""The operators that are read: one row each, by TensorFlow Lite's name."""

from collections.abc import Callable, Mapping

from ganglion.formats.tflite.read import moves as moves
from ganglion.formats.tflite.read import pointwise as pointwise
from ganglion.formats.tflite.read import products as products
from ganglion.formats.tflite.read import recurrent as recurrent
from ganglion.formats.tflite.read import reductions as reductions
from ganglion.formats.tflite.read import spatial as spatial
from ganglion.formats.tflite.read import svdf as svdf
from ganglion.formats.tflite.read import variables as variables
from ganglion.formats.tflite.read import windows as windows
from ganglion.formats.tflite.read.site import Site

Rule = Callable[[Site], None]

ROWS: Mapping[str, Rule] = {
    "CONV_2D": products.conv_2d,
    "DEPTHWISE_CONV_2D": products.depthwise_conv_2d,
    "TRANSPOSE_CONV": products.transpose_conv,
    "CUSTOM 'Convolution2DTransposeBias'": products.transpose_conv_bias,
    "FULLY_CONNECTED": products.fully_connected,
    "BATCH_MATMUL": products.batch_matmul,
    **spatial.ROWS,
    **pointwise.ROWS,
    **moves.ROWS,
    **reductions.ROWS,
    **recurrent.ROWS,
    **svdf.ROWS,
    **variables.ROWS,
    **windows.ROWS,
}
