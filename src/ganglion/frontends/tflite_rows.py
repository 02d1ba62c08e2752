"""The operators that are read: one row each, by TensorFlow Lite's name."""

from collections.abc import Callable, Mapping

from ganglion.frontends import tflite_moves as moves
from ganglion.frontends import tflite_pointwise as pointwise
from ganglion.frontends import tflite_products as products
from ganglion.frontends import tflite_recurrent as recurrent
from ganglion.frontends import tflite_reductions as reductions
from ganglion.frontends import tflite_spatial as spatial
from ganglion.frontends import tflite_variables as variables
from ganglion.frontends.tflite_site import Site

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
    **variables.ROWS,
}
