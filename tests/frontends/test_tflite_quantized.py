"""Quantised .tflite networks: the same numbers, and integer arithmetic in the end."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_files import TfliteFile
from tests.support.tflite_quantized import Quantized, quantized_examples

from ganglion.build.check import is_exact
from ganglion.build.compile import ready_to_plan
from ganglion.errors import UnsupportedOp
from ganglion.frontends import load
from ganglion.ops.evaluate import evaluate

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


def test_uint8_weights_with_any_zero_point_stay_right(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(0, 256, (4, 20)).astype(np.uint8)
    w = rng.integers(0, 256, (3, 20)).astype(np.uint8)
    file = TfliteFile()
    i = file.tensor(x.shape, "uint8", scale=0.02, zero=120)
    k = file.constant(w, scale=0.01, zero=60)
    o = file.tensor([4, 3], "uint8", scale=0.05, zero=100)
    file.op("FULLY_CONNECTED", [i, k, -1], [o], ("FullyConnectedOptions", {}))
    real = ((x - 120.0) * 0.02) @ ((w - 60.0) * 0.01).T
    expected = np.clip(np.rint(real / 0.05) + 100, 0, 255)
    [found] = evaluate(ready_to_plan(read(file.build([i], [o]), tmp_path)), {"t0": x}).values()
    assert np.abs(found - expected).max() <= 1


def test_an_activation_scaled_by_channel_is_refused(tmp_path: Path) -> None:
    file = TfliteFile()
    x, y = file.tensor([1, 2]), file.tensor([1, 2], "int8", scale=[0.1, 0.2], axis=1)
    file.op("QUANTIZE", [x], [y])
    with pytest.raises(UnsupportedOp, match="one scale a channel"):
        read(file.build([x], [y]), tmp_path)
