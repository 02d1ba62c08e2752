"""Laws of the whole pipeline on drawn networks."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from ganglion.formats.onnx.reader import load_onnx, save_onnx
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import inference_passes, prepare

F = ir.DataType.FLOAT
PIECES = ("conv", "bn", "relu", "bias", "pool", "dropout", "residual", "identity", "cast", "view",
          "hard", "concat", "twins")


def draw_net(pieces: list[str], seed: int) -> ir.Model:
    """A channels-last image network; each convolution and pool between Transposes."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder("net")

    def weight(*shape: int) -> ir.Value:
        return g.constant(rng.normal(size=shape).astype(np.float32) / 3, "w", share=False)

    def first(name: str, x: ir.Value, *inputs: ir.Value, **attrs: list[int] | float) -> ir.Value:
        y = g.op(name, g.op("Transpose", x, perm=[0, 3, 1, 2]), *inputs, **attrs)
        return g.op("Transpose", y, perm=[0, 2, 3, 1])

    y = g.input("x", F, ("N", 6, 6, 3))
    for piece in pieces:
        c = y.shape[3]
        assert isinstance(c, int)
        if piece == "conv":
            y = first("Conv", y, weight(4, c, 3, 3), weight(4), pads=[1, 1, 1, 1])
        elif piece == "bn":
            var = g.constant(np.full(c, 0.5, np.float32), "var", share=False)
            y = first("BatchNormalization", y, weight(c), weight(c), weight(c), var)
        elif piece == "bias":
            y = g.op("Add", y, weight(c))
        elif piece == "pool":
            y = first("MaxPool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif piece == "dropout":
            y = g.op("Dropout", y, g.constant(np.float32(0.5)))
        elif piece == "residual":
            y = g.op("Add", g.op("Tanh", y), y)
        elif piece == "concat" and c < 20:
            y = g.op("Concat", g.op("Relu", y), y, axis=-1)
        elif piece == "cast":
            y = g.op("Cast", y, to=F)
        elif piece == "view":
            y = g.op("Squeeze", g.op("Unsqueeze", y, g.ints(0)), g.ints(0))
        elif piece == "hard":
            y = g.op("Clip", y, g.op("Neg", g.constant(np.float32(3))), g.constant(np.float32(3)))
        elif piece == "twins":
            y = g.op("Mul", g.op("Sigmoid", y), g.op("Sigmoid", y))
        else:
            y = g.op("Relu", y)
    n = g.op("Slice", g.op("Shape", y), g.ints(0), g.ints(1))
    g.output("y", g.op("Reshape", y, g.op("Concat", n, g.ints(-1), axis=0)))
    return g.model()


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]


@settings(max_examples=25, deadline=None, database=None)
@given(st.lists(st.sampled_from(PIECES), max_size=9), st.integers(0, 99))
def test_prepared_network_means_the_same_and_rests(pieces: list[str], seed: int) -> None:
    model = draw_net(pieces, seed)
    x = np.random.default_rng(seed).normal(size=(2, 6, 6, 3)).astype(np.float32)
    expected = run(model, x)
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(run(prepare(model, batch=2), x), expected, atol=tolerance)
    rested = prepare(model, batch=2)
    assert not any(each(rested).modified for each in inference_passes())


def test_inference_leaves_only_what_computes() -> None:
    model = draw_net(["conv", "bn", "relu", "dropout", "pool", "cast", "conv", "bias", "view",
                      "relu", "bn", "relu"], 1)
    prepared = prepare(model)
    assert [n.op_type for n in prepared.graph] == ["Transpose", "Conv", "Relu", "MaxPool", "Conv",
                                                   "Relu", "Mul", "Add", "Relu", "Transpose",
                                                   "Reshape"]



def test_prepared_network_survives_a_file(tmp_path: Path) -> None:
    prepared = prepare(draw_net(["conv", "bn", "pool"], 2))
    save_onnx(prepared, tmp_path / "net.onnx")
    again = prepare(load_onnx(tmp_path / "net.onnx"))
    x = np.ones((1, 6, 6, 3), np.float32)
    np.testing.assert_array_equal(run(again, x), run(prepared, x))


def test_same_network_gives_the_same_bytes() -> None:
    pieces = ["conv", "bn", "relu", "residual", "concat", "pool", "twins", "conv"]
    one, two = (ir.to_proto(prepare(draw_net(pieces, 3))).SerializeToString(deterministic=True)
                for _ in range(2))
    assert one == two
