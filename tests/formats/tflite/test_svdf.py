"""Laws: an SVDF looks back over the calls before as NumPy and LiteRT do, in floats and in codes."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_files import TfliteFile

import ganglion as gg
from ganglion.errors import GanglionError
from ganglion.ops.bindings import bindings

RNG = np.random.default_rng(7)
STEPS = 200
SIZE, UNITS, RANK, MEMORY = 6, 5, 2, 4
FILTERS = UNITS * RANK
FEATURES = RNG.normal(size=(FILTERS, SIZE)).astype(np.float32)
TIMES = RNG.normal(size=(FILTERS, MEMORY)).astype(np.float32)
BIAS = RNG.normal(size=UNITS).astype(np.float32)
RELU = 1
STATE = 1 / 1471.3


def floats(state: int = FILTERS * MEMORY, rank: int = RANK) -> bytes:
    file = TfliteFile()
    x, y = file.tensor([1, SIZE], name="x"), file.tensor([1, UNITS], name="y")
    file.op("SVDF", [x, *map(file.constant, (FEATURES, TIMES, BIAS)),
                     file.tensor([1, state], variable=True)], [y],
            ("SVDFOptions", {"rank": rank, "fused_activation_function": RELU}))
    return file.build([x], [y])


def codes() -> bytes:
    """As TensorFlow Lite Micro has it: int8 input, int16 state and times, int32 bias."""
    file = TfliteFile()
    x = file.tensor([1, SIZE], "int8", scale=0.02, zero=-3, name="x")
    y = file.tensor([1, UNITS], "int8", scale=0.06, zero=-128, name="y")
    features = file.constant(np.clip(np.rint(FEATURES * 40), -127, 127).astype(np.int8),
                             scale=1 / 40, zero=0)
    times = file.constant(np.rint(TIMES * 9000).astype(np.int16), scale=1 / 9000, zero=0)
    bias = file.constant(np.rint(BIAS * 9000 / STATE).astype(np.int32), scale=STATE / 9000,
                         zero=0)
    state = file.tensor([1, FILTERS * MEMORY], "int16", scale=STATE, zero=0, variable=True)
    file.op("SVDF", [x, features, times, bias, state], [y],
            ("SVDFOptions", {"rank": RANK, "fused_activation_function": RELU}))
    return file.build([x], [y])


def load(data: bytes, folder: Path) -> ir.Model:
    (folder / "net.tflite").write_bytes(data)
    return gg.load(folder / "net.tflite")


def test_it_answers_from_the_last_calls(tmp_path: Path) -> None:
    model = load(floats(), tmp_path)
    assert len(bindings(model)) == 1
    stream = gg.compile(model, isas=("scalar",)).session().stream()
    state = np.zeros((FILTERS, MEMORY), np.float32)
    for _ in range(3 * MEMORY):
        x = RNG.normal(size=(1, SIZE)).astype(np.float32)
        state = np.concatenate([state[:, 1:], FEATURES @ x.T], 1)
        sums = (state * TIMES).sum(1).reshape(UNITS, RANK).sum(1)
        np.testing.assert_allclose(stream.run(x)[0], np.maximum(sums + BIAS, 0), rtol=1e-4,
                                   atol=1e-5)


@pytest.mark.litert
@pytest.mark.parametrize("kind", ["floats", "codes"])
def test_litert_goes_on_alike(kind: str, tmp_path: Path) -> None:
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    data = {"floats": floats, "codes": codes}[kind]()
    stream = gg.compile(load(data, tmp_path), isas=("scalar",)).session().stream()
    runner = lite.Interpreter(model_content=data,
                              experimental_op_resolver_type=lite.OpResolverType.BUILTIN_REF)
    runner.allocate_tensors()
    seen = []
    for _ in range(STEPS):
        x = (RNG.normal(size=(1, SIZE)).astype(np.float32) if kind == "floats" else
             RNG.integers(-128, 128, (1, SIZE)).astype(np.int8))
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        runner.invoke()
        seen.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
        if kind == "codes":
            np.testing.assert_array_equal(stream.run(x), seen[-1])
        else:
            np.testing.assert_allclose(stream.run(x), seen[-1], rtol=1e-4, atol=1e-5)
    assert len(np.unique(seen)) > 50


@pytest.mark.parametrize(("state", "rank", "text"), [
    (FILTERS * MEMORY - 1, RANK, "do not fit"), (FILTERS * MEMORY, 3, "do not fit"),
    (FILTERS * MEMORY, 0, "must be positive")])
def test_sizes_that_do_not_fit_are_refused(state: int, rank: int, text: str, tmp_path: Path
                                           ) -> None:
    with pytest.raises(GanglionError, match=text):
        load(floats(state, rank), tmp_path)


def test_codes_become_32_bits_by_rounding_halves_up(tmp_path: Path) -> None:
    """QUANTIZE from int16 to int32 of twice the scale."""
    file = TfliteFile()
    x = file.tensor([1, 6], "int16", scale=0.5, zero=0, name="x")
    y = file.tensor([1, 6], "int32", scale=1.0, zero=0, name="y")
    file.op("QUANTIZE", [x], [y])
    built = gg.compile(load(file.build([x], [y]), tmp_path), isas=("scalar",))
    found = built.session().run(np.int16([[1, 2, 3, -1, -3, 32767]]))
    np.testing.assert_array_equal(found, [[1, 1, 2, 0, -1, 16384]])
