"""Laws: a file whose batch is open, as converters write it, answers as the fixed one does; sizes
that a file leaves open are the caller's."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tflite_files import TfliteFile

import ganglion as gg
from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate

RNG = np.random.default_rng(0)
W, B = (RNG.normal(size=s).astype(np.float32) for s in ((3, 4), (3,)))
KERNEL = RNG.normal(size=(2, 3, 3, 1)).astype(np.float32)


def dense_over(rank: int) -> tuple[TfliteFile, list[int], np.ndarray, np.ndarray]:
    """A Dense layer on [1, ..., 4]: FULLY_CONNECTED that keeps the axes."""
    file, inner = TfliteFile(), (2, 3)[:rank - 2]
    x = file.tensor([1, *inner, 4], signature=[-1, *inner, 4])
    y = file.tensor([1, *inner, 3], signature=[-1, *inner, 3])
    file.op("FULLY_CONNECTED", [x, file.constant(W), file.constant(B)], [y],
            ("FullyConnectedOptions", {"keep_num_dims": True}))
    given = RNG.normal(size=(1, *inner, 4)).astype(np.float32)
    return file, [x, y], given, given @ W.T + B


def dense_through_rows() -> tuple[TfliteFile, list[int], np.ndarray, np.ndarray]:
    """The same on [1, 6, 4] by way of [6, 4] and back."""
    file = TfliteFile()
    x, rows = (file.tensor([1, 6, 4], signature=[-1, 6, 4]),
               file.tensor([6, 4], signature=[-1, 4]))
    wide, y = (file.tensor([6, 3], signature=[-1, 3]),
               file.tensor([1, 6, 3], signature=[-1, 6, 3]))
    file.op("RESHAPE", [x, file.constant(np.int32([-1, 4]))], [rows])
    file.op("FULLY_CONNECTED", [rows, file.constant(W), file.constant(B)], [wide],
            ("FullyConnectedOptions", {}))
    file.op("RESHAPE", [wide, file.constant(np.int32([-1, 6, 3]))], [y])
    given = RNG.normal(size=(1, 6, 4)).astype(np.float32)
    return file, [x, y], given, given @ W.T + B


def dilated() -> tuple[TfliteFile, list[int], np.ndarray, np.ndarray]:
    """A convolution of every second pixel: SPACE_TO_BATCH_ND, CONV_2D, BATCH_TO_SPACE_ND."""
    file = TfliteFile()
    x, dealt = (file.tensor([1, 8, 8, 1], signature=[-1, 8, 8, 1]),
                file.tensor([4, 4, 4, 1], signature=[-1, 4, 4, 1]))
    made, y = (file.tensor([4, 2, 2, 2], signature=[-1, 2, 2, 2]),
               file.tensor([1, 4, 4, 2], signature=[-1, 4, 4, 2]))
    block, none = file.constant(np.int32([2, 2])), file.constant(np.zeros((2, 2), np.int32))
    file.op("SPACE_TO_BATCH_ND", [x, block, none], [dealt])
    file.op("CONV_2D", [dealt, file.constant(KERNEL), file.constant(B[:2])], [made],
            ("Conv2DOptions", {"padding": 1, "stride_w": 1, "stride_h": 1,
                               "dilation_w_factor": 1, "dilation_h_factor": 1}))
    file.op("BATCH_TO_SPACE_ND", [made, block, none], [y])
    given = RNG.normal(size=(1, 8, 8, 1)).astype(np.float32)
    taps = np.stack([given[0, i:i + 4, j:j + 4, 0] for i in (0, 2, 4) for j in (0, 2, 4)], -1)
    return file, [x, y], given, (taps @ KERNEL.reshape(2, 9).T + B[:2])[None]


CASES = {"dense over three axes": lambda: dense_over(3), "dense over four axes":
         lambda: dense_over(4), "dense through rows": dense_through_rows, "dilated": dilated}


@pytest.mark.parametrize("name", CASES)
def test_an_open_batch_is_no_hindrance(name: str, tmp_path: Path) -> None:
    file, (x, y), given, expected = CASES[name]()
    (tmp_path / "net.tflite").write_bytes(file.build([x], [y]))
    model = gg.load(tmp_path / "net.tflite")
    found, = evaluate(model, {model.graph.inputs[0].name or "": given}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    built, = (np.asarray(v) for v in [gg.compile(model, isas=("scalar",)).session().run(given)])
    np.testing.assert_allclose(built, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in CASES if n != "dilated"])
def test_an_open_batch_may_be_chosen(name: str, tmp_path: Path) -> None:
    file, (x, y), given, _ = CASES[name]()
    (tmp_path / "net.tflite").write_bytes(file.build([x], [y]))
    many = RNG.normal(size=(5, *given.shape[1:])).astype(np.float32)
    model = gg.load(tmp_path / "net.tflite", shapes={f"t{x}": many.shape})
    found, = evaluate(model, {f"t{x}": many}).values()
    np.testing.assert_allclose(found, many @ W.T + B, rtol=1e-5, atol=1e-5)


def steps(**declared: list[int]) -> bytes:
    """y = the mean over the steps of x·Wᵀ + b, x [batch, steps, 4], both open."""
    file = TfliteFile()
    x, wide = file.tensor([1, 1, 4], name="x", **declared), file.tensor(
        [1, 1, 3], signature=[-1, -1, 3])
    y = file.tensor([1, 3], signature=[-1, 3])
    file.op("FULLY_CONNECTED", [x, file.constant(W), file.constant(B)], [wide],
            ("FullyConnectedOptions", {"keep_num_dims": True}))
    file.op("MEAN", [wide, file.constant(np.int32([1]))], [y], ("ReducerOptions", {}))
    return file.build([x], [y])


@pytest.mark.parametrize("shape", [(1, 7, 4), (3, 2, 4)])
def test_open_sizes_are_the_callers(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(steps(signature=[-1, -1, 4]))
    model = gg.load(tmp_path / "net.tflite", shapes={"x": shape})
    given = RNG.normal(size=shape).astype(np.float32)
    found, = evaluate(model, {"x": given}).values()
    np.testing.assert_allclose(found, (given @ W.T + B).mean(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shapes", "text"), [
    ({"x": (1, 7, 5)}, "is 4 already"), ({"x": (1, 7)}, "3 axes"), ({"y": (1, 7, 4)}, "no input"),
    ({"x": (None, None, 4)}, "no fixed shape"), (None, r"load\(path, shapes="),
    ({"x": (1, 0, 4)}, "from 1 up")])
def test_sizes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]] | None, text: str,
                                           tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(steps(signature=[-1, -1, 4]))
    with pytest.raises(ModelError, match=text):
        gg.load(tmp_path / "net.tflite", shapes=shapes)


def test_a_size_of_minus_one_is_open(tmp_path: Path) -> None:
    """In the shape itself, where converters before the signature wrote it."""
    file = TfliteFile()
    x, y = file.tensor([-1, 3], name="x"), file.tensor([-1, 3])
    file.op("RELU", [x], [y])
    (tmp_path / "net.tflite").write_bytes(file.build([x], [y]))
    for shapes, batch in ((None, 1), ({"x": (6, 3)}, 6)):
        model = gg.load(tmp_path / "net.tflite", shapes=shapes)
        assert [list(v.shape or ()) for v in model.graph.outputs] == [[batch, 3]]
