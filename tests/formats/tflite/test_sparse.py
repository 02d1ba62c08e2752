"""Laws: a constant that is stored sparse is the same constant; one that does not fit is refused."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_files import Sparse, TfliteFile

import ganglion as gg
from ganglion.errors import GanglionError
from ganglion.ops.evaluate import evaluate

RNG = np.random.default_rng(0)
WEIGHTS = (RNG.normal(size=(4, 6)) * (RNG.random((4, 6)) < 0.4)).astype(np.float32)
BLOCKS = (RNG.normal(size=(4, 8)) * np.repeat(RNG.random((4, 2)) < 0.6, 4, 1)).astype(np.float32)


def compressed(mask: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Segments and indices of the rows of a mask."""
    return (np.concatenate([[0], mask.sum(1).cumsum()]).astype(dtype),
            np.nonzero(mask)[1].astype(dtype))


def by_rows(dtype: type = np.int32) -> tuple[np.ndarray, np.ndarray, Sparse]:
    mask = WEIGHTS != 0
    return WEIGHTS, WEIGHTS[mask], ((0, 1), (), [4, compressed(mask, dtype)])


def by_columns() -> tuple[np.ndarray, np.ndarray, Sparse]:
    mask = WEIGHTS.T != 0
    return WEIGHTS, WEIGHTS.T[mask], ((1, 0), (), [6, compressed(mask, np.int32)])


def in_blocks() -> tuple[np.ndarray, np.ndarray, Sparse]:
    """Four neighbours in a row are stored together."""
    parts = BLOCKS.reshape(4, 2, 4)
    mask = (parts != 0).any(2)
    return BLOCKS, parts[mask].reshape(-1), ((0, 1, 2), (1,), [4, compressed(mask, np.uint8), 4])


def read(values: np.ndarray, shape: tuple[int, ...], sparse: Sparse, folder: Path) -> ir.Model:
    file = TfliteFile()
    x, y = file.tensor([1, shape[1]]), file.tensor([1, shape[0]])
    w, whole = file.tensor(shape, data=values, sparse=sparse), file.tensor(shape)
    file.op("DENSIFY", [w], [whole])
    file.op("FULLY_CONNECTED", [x, whole, -1], [y], ("FullyConnectedOptions", {}))
    (folder / "net.tflite").write_bytes(file.build([x], [y]))
    return gg.load(folder / "net.tflite")


@pytest.mark.parametrize("case", [by_rows(), by_rows(np.uint16), by_rows(np.uint8), by_columns(),
                                  in_blocks()])
def test_what_is_stored_sparse_means_the_same(
        case: tuple[np.ndarray, np.ndarray, Sparse], tmp_path: Path) -> None:
    whole, values, sparse = case
    model = read(values, whole.shape, sparse, tmp_path)
    x = RNG.normal(size=(1, whole.shape[1])).astype(np.float32)
    found, = evaluate(model, {str(model.graph.inputs[0].name): x}).values()
    np.testing.assert_allclose(found, x @ whole.T, rtol=1e-5, atol=1e-6)


SEGMENTS, INDICES = compressed(WEIGHTS != 0, np.int32)
WRONG: dict[str, Sparse] = {
    "an order of other dimensions": ((0, 2), (), [4, (SEGMENTS, INDICES)]),
    "one level too few": ((0, 1), (), [4]),
    "a block of a dimension that is not there": ((0, 1, 2), (7,), [4, (SEGMENTS, INDICES), 2]),
    "a block without size": ((0, 1, 2), (1,), [4, (SEGMENTS, INDICES), 0]),
    "falling segments": ((0, 1), (), [4, (SEGMENTS[::-1].copy(), INDICES)]),
    "too many segments": ((0, 1), (), [4, (np.append(SEGMENTS, SEGMENTS[-1]), INDICES)]),
    "an index outside": ((0, 1), (), [4, (SEGMENTS, INDICES + 3)]),
    "an index below 0": ((0, 1), (), [4, (SEGMENTS, INDICES - 9)]),
    "all dense": ((0, 1), (), [4, 6]),
    "nothing": ((), (), []),
}


@pytest.mark.parametrize("name", WRONG)
def test_parts_that_do_not_fit_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(GanglionError):
        read(WEIGHTS[WEIGHTS != 0], WEIGHTS.shape, WRONG[name], tmp_path)
