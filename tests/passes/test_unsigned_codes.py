"""passes.unsigned_codes: codes 128 higher, the same answers."""

import numpy as np
import onnx_ir as ir
from tests.support.qdq import QdqNet

from ganglion.ops.evaluate import evaluate
from ganglion.passes.quantized.integer import ToInteger
from ganglion.passes.quantized.unsigned_codes import UnsignedCodes


def residual() -> ir.Model:
    """Convolutions, a sum, a table, moves, pools and a product, in int8 from end to end."""
    net = QdqNet(3)
    op = net.g.op

    def conv(x: ir.Value, out: int, inner: int) -> ir.Value:
        w, scale = net.weight((out, inner, 3, 3), 0)
        return op("Conv", x, w, net.bias(out, np.float32(0.05) * scale), pads=[1, 1, 1, 1])

    x = net.quantized(op("Relu", conv(net.input((1, 4, 6, 8)), 6, 4)), 0.05, -128)
    y = net.quantized(conv(x, 6, 6), 0.05, 3)
    y = net.quantized(op("Relu", op("Add", x, y)), 0.06, -128)
    y = net.quantized(op("Sigmoid", y), 1 / 256, -128)
    y = op("MaxPool", op("Concat", y, y, axis=1), kernel_shape=[2, 2], strides=[2, 2])
    y = net.quantized(op("GlobalAveragePool", y), 0.05, -100)
    w, scale = net.weight((12, 5), 1)
    y = op("Gemm", op("Flatten", y), w, net.bias(5, np.float32(0.05) * scale))
    net.quantized(op("Softmax", net.quantized(y, 0.1, 7)), 1 / 256, -128)
    model = net.finish()
    ToInteger()(model)
    return model


def test_answers_and_outer_dtypes_stay_while_inner_codes_become_unsigned() -> None:
    model = residual()
    x = np.random.default_rng(0).integers(-128, 128, (1, 4, 6, 8)).astype(np.int8)
    name = str(model.graph.inputs[0].name)
    before = evaluate(model, {name: x})
    assert UnsignedCodes()(model).modified
    after = evaluate(model, {name: x})
    np.testing.assert_array_equal(before["y"], after["y"])
    assert len(set(before["y"].ravel().tolist())) > 2
    assert model.graph.inputs[0].dtype == model.graph.outputs[0].dtype == ir.DataType.INT8
    inner = [v for n in model.graph for v in n.outputs if not v.is_graph_output()]
    signed = [v for v in inner if v.dtype == ir.DataType.INT8]
    # the softmax gives signed codes, so that it takes signed ones too
    assert [v.uses()[0].node.op_type for v in signed] == ["QLinearSoftmax"]
    assert sum(v.dtype == ir.DataType.UINT8 for v in inner) >= 8
    assert not UnsignedCodes()(model).modified


def test_codes_joined_to_constants_stay_signed() -> None:
    net = QdqNet(4)
    codes = net.g.op("QuantizeLinear", net.g.op("Relu", net.input((2, 3))),
                     *net.parameters(0.1, -9))
    joined = net.g.op("Concat", codes, net.g.constant(np.int8([[1, 2, 3]])), axis=0)
    net.quantized(net.g.op("DequantizeLinear", joined, *net.parameters(0.1, -9)), 0.2, 0)
    assert not UnsignedCodes()(net.finish()).modified
