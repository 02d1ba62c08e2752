"""Integer weights of float products become floats; those that a kernel reads as codes stay."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder
from ganglion.passes.quantized.unpack_weights import UnpackWeights

Law = Callable[..., ir.Model]

CODES = np.random.default_rng(3).integers(-128, 128, (4, 3), np.int8)


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_weights_become_the_floats_that_the_file_says(law: Law) -> None:
    g = GraphBuilder("dense")
    x = g.input("x", ir.DataType.FLOAT, (2, 4))
    w = g.op("DequantizeLinear", g.constant(CODES), g.constant(np.float32([0.5, 0.1, 2])),
             g.constant(np.int8([0, 3, -7])), axis=1)
    g.output("y", g.op("MatMul", x, w))
    assert kinds(law(g.model(), UnpackWeights())) == ["MatMul"]


def test_codes_that_depend_on_the_input_stay(law: Law) -> None:
    g = GraphBuilder("codes")
    x = g.input("x", ir.DataType.INT8, (4, 3))
    g.output("y", g.op("DequantizeLinear", x, g.constant(np.float32(0.5))))
    assert kinds(law(g.model(), UnpackWeights(), changes=False)) == ["DequantizeLinear"]


def test_weights_of_recurrent_layers_stay(law: Law) -> None:
    g = GraphBuilder("rnn")
    x = g.input("x", ir.DataType.FLOAT, (5, 1, 3))
    w = g.op("DequantizeLinear", g.constant(CODES[None]), g.constant(np.float32(0.01)))
    r = g.constant(np.zeros((1, 4, 4), np.float32))
    g.output("y", g.ops("RNN", x, w, r, outputs=1, attrs={"hidden_size": 4})[0])
    assert kinds(law(g.model(), UnpackWeights(), changes=False)) == ["DequantizeLinear", "RNN"]
