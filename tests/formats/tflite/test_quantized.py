"""Quantised .tflite networks: the same numbers, and integer arithmetic in the end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_examples import conv, depthwise, lstm, transpose_conv
from tests.support.tflite_files import Options, TfliteFile
from tests.support.tflite_quantized import Quantized, quantized_examples

import ganglion as gg
from ganglion.artifact.check import is_exact
from ganglion.errors import UnsupportedOp
from ganglion.formats import load
from ganglion.ops.evaluate import evaluate
from ganglion.passes.pipeline import ready_to_plan

Real = Callable[[np.ndarray, np.ndarray], np.ndarray]
BYTES = {f"{dtype} {e.name}": e for dtype in ("int8", "uint8") for e in quantized_examples(dtype)}
WIDE = {e.name: e for e in quantized_examples("int16")}


def read(data: bytes, folder: Path) -> ir.Model:
    (folder / "net.tflite").write_bytes(data)
    return load(folder / "net.tflite")


def answer(model: ir.Model, case: Quantized) -> np.ndarray:
    [found] = evaluate(model, dict(zip((str(v.name) for v in model.graph.inputs), case.inputs,
                                       strict=True))).values()
    return found


@pytest.mark.parametrize("name", BYTES)
def test_codes_are_those_of_the_real_numbers(name: str, tmp_path: Path) -> None:
    case = BYTES[name]
    model = read(case.data, tmp_path)
    integer = ready_to_plan(model)
    for found in (answer(model, case), answer(integer, case)):
        assert found.dtype == case.codes.dtype
        assert found.shape == case.codes.shape
        assert np.abs(found.astype(int) - case.codes).max() <= 1
    sums = {"Conv", "Gemm", "ConvTranspose", "AveragePool", "ReduceMean", "Softmax"}
    assert is_exact(integer) or not sums & {n.op_type for n in integer.graph}


@pytest.mark.parametrize("name", WIDE)
def test_int16_codes_are_those_of_the_real_numbers(name: str, tmp_path: Path) -> None:
    case = WIDE[name]
    found = answer(read(case.data, tmp_path), case)
    assert found.dtype == np.int16
    assert np.abs(found.astype(int) - case.codes).max() <= 2


def test_ports_note_their_scale_and_zero_point(tmp_path: Path) -> None:
    model = read(BYTES["int8 add"].data, tmp_path)
    first, second = model.graph.inputs
    assert float(first.metadata_props["ganglion.scale"]) == np.float32(0.03)
    assert second.metadata_props["ganglion.zero_point"] == "1"
    assert float(model.graph.outputs[0].metadata_props["ganglion.scale"]) == BYTES["int8 add"].scale


@pytest.mark.parametrize("area", [(1, 2), (2, 2), (3, 3), (8, 8)])
def test_an_average_of_codes_rounds_halves_away_from_zero(area: tuple[int, int],
                                                          tmp_path: Path) -> None:
    """TensorFlow Lite's integer pools: (sum ± count / 2) / count, truncated."""
    count = area[0] * area[1]
    rng = np.random.default_rng(3)
    x = rng.integers(-128, 128, (1, *area, 600)).astype(np.int8)
    file = TfliteFile()
    i = file.tensor(x.shape, "int8", scale=0.0387, zero=-128)
    o = file.tensor((1, 1, 1, 600), "int8", scale=0.0387, zero=-128)
    file.op("AVERAGE_POOL_2D", [i], [o], ("Pool2DOptions", {
        "padding": 1, "stride_h": 1, "stride_w": 1, "filter_height": area[0],
        "filter_width": area[1]}))
    model = ready_to_plan(read(file.build([i], [o]), tmp_path))
    [found] = evaluate(model, {"t0": x}).values()
    sums = x.astype(int).sum((1, 2))
    expected = np.sign(sums) * ((2 * np.abs(sums) + count) // (2 * count))
    np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))


def hybrid(dtype: str, scale: float | list[float], axis: int = 0) -> tuple[bytes, np.ndarray]:
    """A dense layer of float activations; its weights in real numbers."""
    rng = np.random.default_rng(4)
    file = TfliteFile()
    x, y = file.tensor([2, 6]), file.tensor([2, 3])
    codes = rng.integers(-100, 100, (3, 6)).astype(np.int8)
    bias = file.constant(np.float32([1, -2, 3]))
    if dtype == "float16":
        half = (codes / 64).astype(np.float16)
        stored, w = file.constant(half), file.tensor([3, 6])
        file.op("DEQUANTIZE", [stored], [w])
        real = half.astype(np.float32)
    else:
        w = file.constant(codes, scale=scale, zero=0, axis=axis)
        real = codes * np.float32(scale).reshape(-1, 1)
    file.op("FULLY_CONNECTED", [x, w, bias], [y], ("FullyConnectedOptions", {}))
    return file.build([x], [y]), real


@pytest.mark.parametrize(("dtype", "scale"), [("float16", 1.0), ("int8", 0.02),
                                              ("int8", [0.01, 0.02, 0.03])])
def test_stored_weights_are_the_numbers_they_stand_for(dtype: str, scale: float | list[float],
                                                       tmp_path: Path) -> None:
    data, weights = hybrid(dtype, scale)
    model = read(data, tmp_path)
    x = np.random.default_rng(5).normal(size=(2, 6)).astype(np.float32)
    [y] = evaluate(model, {"t0": x}).values()
    np.testing.assert_allclose(y, x @ weights.T + [1, -2, 3], rtol=1e-5, atol=1e-5)
    kept = {str(v.dtype) for v in model.graph.initializers.values() if v.shape == ir.Shape([3, 6])}
    assert kept == {"FLOAT" if dtype == "float16" else "INT8"}


def test_int4_weights_are_unpacked_low_half_first(tmp_path: Path) -> None:
    codes = np.int8([[-8, 7, 1], [0, -1, 3]])
    flat = np.append(codes.reshape(-1), 0) & 15
    packed = (flat[0:6:2] | flat[1:6:2] << 4).astype(np.uint8)
    file = TfliteFile()
    x, y = file.tensor([1, 3]), file.tensor([1, 2])
    w = file.tensor([2, 3], "INT4", data=packed, scale=0.5)
    file.op("FULLY_CONNECTED", [x, w, -1], [y], ("FullyConnectedOptions", {}))
    [found] = evaluate(read(file.build([x], [y]), tmp_path),
                       {"t0": np.float32([[1, 10, 100]])}).values()
    np.testing.assert_array_equal(found, np.float32([[1, 10, 100]]) @ (codes.T * 0.5))


@pytest.mark.parametrize("zero", [0, 60, 127, 128, 255])
@pytest.mark.parametrize("kind", ["dense", "conv", "grouped", "depthwise", "transposed"])
def test_uint8_weights_of_any_zero_point_become_integer_products(kind: str, zero: int,
                                                                 tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x, w, op, reads, options, function = uint8_layer(kind, rng)
    w.reshape(-1)[:2] = 0, 255
    file = TfliteFile()
    i = file.tensor(x.shape, "uint8", scale=0.02, zero=120)
    k = file.constant(w, scale=0.01, zero=zero)
    real = function((x - 120.0) * 0.02, (w - float(zero)) * 0.01)
    scale = float(np.float32((real.max() - real.min()) / 255))
    o = file.tensor(real.shape, "uint8", scale=scale, zero=100)
    shape = file.constant(np.int32(real.shape))
    file.op(op, [{"x": i, "w": k, "shape": shape}[r] for r in reads], [o], options)
    expected = np.clip(np.rint(real / scale) + 100, 0, 255)
    model = ready_to_plan(read(file.build([i], [o]), tmp_path))
    [found] = evaluate(model, {"t0": x}).values()
    assert np.abs(found - expected).max() <= 1
    assert is_exact(model)


def uint8_layer(kind: str, rng: np.random.Generator) -> tuple[
        np.ndarray, np.ndarray, str, tuple[str, ...], Options, Real]:
    """Codes of x and of the weights, the operator with its inputs, and what it computes."""
    def codes(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape).astype(np.uint8)

    image, valid = codes(1, 5, 4, 4), {"padding": 1, "stride_h": 1, "stride_w": 1}
    none = np.zeros(1)
    if kind == "dense":
        return (codes(4, 20), codes(3, 20), "FULLY_CONNECTED", ("x", "w"),
                ("FullyConnectedOptions", {}), lambda x, w: x @ w.T)
    if kind == "depthwise":
        return (image, codes(1, 3, 3, 4), "DEPTHWISE_CONV_2D", ("x", "w"),
                ("DepthwiseConv2DOptions", {**valid, "padding": 0, "depth_multiplier": 1}),
                lambda x, w: depthwise(x, w, none))
    if kind == "transposed":
        return (image, codes(2, 3, 3, 4), "TRANSPOSE_CONV", ("shape", "w", "x"),
                ("TransposeConvOptions", valid),
                lambda x, w: transpose_conv(x, w, (1, 7, 6, 2), (1, 1), 1))
    if kind == "grouped":
        return (image, codes(2, 3, 3, 2), "CONV_2D", ("x", "w"), ("Conv2DOptions", valid),
                lambda x, w: np.concatenate([conv(x[..., 2 * k:2 * k + 2], w[[k]], none, 1)
                                             for k in range(2)], -1))
    return (image, codes(3, 3, 3, 4), "CONV_2D", ("x", "w"), ("Conv2DOptions", valid),
            lambda x, w: conv(x, w, none, 1))


def test_an_activation_scaled_by_channel_is_refused(tmp_path: Path) -> None:
    file = TfliteFile()
    x, y = file.tensor([1, 2]), file.tensor([1, 2], "int8", scale=[0.1, 0.2], axis=1)
    file.op("QUANTIZE", [x], [y])
    with pytest.raises(UnsupportedOp, match="one scale a channel"):
        read(file.build([x], [y]), tmp_path)


def lstm_network(activations: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    """An LSTM of int8 weights over float32 or int8 numbers; its input, and the real answer."""
    rng = np.random.default_rng(7)
    file = TfliteFile()
    codes = rng.integers(-128, 128, (2, 4, 3)).astype(np.int8)
    integer = activations == "int8"
    x = file.tensor(codes.shape, activations, **({"scale": 0.02, "zero": 4} if integer else {}))
    scales = [0.01, 0.008, 0.012, 0.009]
    weights = [rng.integers(-127, 128, (5, n)).astype(np.int8) for n in [3] * 4 + [5] * 4]
    steps = [np.float32(0.02) * np.float32(s) for s in scales]
    biases = [rng.integers(-4000, 4000, 5).astype(np.int32) for _ in range(4)]
    real_b = [b * s for b, s in zip(biases, steps)]
    stored_b = [file.constant(b, scale=float(s), zero=0) if integer
                else file.constant(r.astype(np.float32)) for b, s, r in zip(biases, steps, real_b)]
    stored_w = [file.constant(w, scale=s, zero=0) for w, s in zip(weights, scales * 2)]
    real_w = [w * np.float32(s) for w, s in zip(weights, scales * 2)]
    states = [file.tensor([2, 5], kind, variable=True,
                          **({"scale": 2.0 ** -k, "zero": 0} if integer else {}))
              for kind, k in ((activations, 7), ("int16" if integer else "float32", 11))]
    y = file.tensor((2, 4, 5), activations, **({"scale": 2.0 ** -7, "zero": 0} if integer else {}))
    file.op("UNIDIRECTIONAL_SEQUENCE_LSTM",
            [x, *stored_w, -1, -1, -1, *stored_b, -1, -1, *states, -1, -1, -1, -1], [y],
            ("UnidirectionalSequenceLSTMOptions", {"fused_activation_function": 4,
                                                   "cell_clip": 10.0}))
    real_x = (codes - np.float32(4)) * np.float32(0.02)
    expected = lstm(real_x, real_w[:4], real_w[4:], real_b)
    return file.build([x], [y]), codes if integer else real_x, expected


@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_lstm_of_int8_weights_keeps_them_and_its_meaning(activations: str, tmp_path: Path) -> None:
    data, x, expected = lstm_network(activations)
    model = read(data, tmp_path)
    [y] = evaluate(model, {"t0": x}).values()
    if activations == "int8":
        assert np.abs(y.astype(int) - np.rint(expected * 128).clip(-128, 127)).max() <= 1
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert [n.op_type for n in model.graph].count("LSTM") == 1
    assert {str(v.dtype) for v in model.graph.initializers.values() if v.shape is not None
            and len(v.shape) == 3} == {"INT8"}


def test_an_image_of_codes_grows_by_exact_shares_and_halves_leave_zero(tmp_path: Path) -> None:
    """Twice the size by half pixels: quarters and sixteenths of codes, in whole numbers."""
    codes = np.random.default_rng(5).integers(-128, 128, (1, 5, 6, 2)).astype(np.int8)
    file = TfliteFile()
    x, y = (file.tensor([1, *s, 2], "int8", scale=0.0326739, zero=-77) for s in ((5, 6), (10, 12)))
    file.op("RESIZE_BILINEAR", [x, file.constant(np.int32([10, 12]))], [y],
            ("ResizeBilinearOptions", {"half_pixel_centers": True}))
    (tmp_path / "net.tflite").write_bytes(file.build([x], [y]))
    sums = codes.astype(np.int64)
    for axis in (1, 2):
        ends = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        wide = np.pad(sums, ends, "edge")
        left, middle, right = (np.take(wide, range(k, k + sums.shape[axis]), axis)
                               for k in range(3))
        sums = np.stack([left + 3 * middle, 3 * middle + right], axis + 1).reshape(
            [n * 2 if a == axis else n for a, n in enumerate(sums.shape)])
    wanted = np.sign(sums) * ((np.abs(sums) + 8) // 16)
    assert (np.abs(sums) % 16 == 8).any()
    built = gg.compile(load(tmp_path / "net.tflite"), isas=("scalar",))
    np.testing.assert_array_equal(built.session().run(codes), wanted)
