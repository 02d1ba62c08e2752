"""Ranges of activations, measured by running the float Model over calibration inputs."""

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.tensors import as_array

Arrays = np.ndarray | tuple[np.ndarray, ...] | list[np.ndarray] | Mapping[str, np.ndarray]
Ranges = dict[str, tuple[float, float]]
METHODS = ("minmax", "percentile", "mse")
BINS = 4096
CHUNK = 32
"""Rows evaluated at once where the Model's batch is symbolic."""


def ranges(model: ir.Model, calibration: Arrays, names: Collection[str], method: str,
           percentile: float) -> Ranges:
    """{value name: (least, greatest)} of the float values `names`, 0 included.

    "minmax" takes the extremes; "percentile" leaves out the rarest (100 - percentile) % at each
    end; "mse" cuts where the squared error of 256 codes is least (both from a histogram of
    `BINS` bins, so a second run). Raises DataError for wrong, empty or non-finite inputs,
    ModelError naming a node that answers finite inputs with NaN or infinity.
    """
    if method not in METHODS:
        raise DataError(f"calibration method {method!r} is not one of {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise DataError(f"percentile {percentile} must lie above 50 and at most at 100")
    rows = named_rows(model, calibration)
    extremes = _extremes(model, rows, names)
    if method == "minmax":
        return extremes
    counts = _histograms(model, rows, extremes)
    if method == "percentile":
        return {n: _percentile(counts[n], extremes[n], percentile) for n in extremes}
    return {n: _least_error(counts[n], extremes[n]) for n in extremes}


def named_rows(model: ir.Model, calibration: Arrays) -> dict[str, np.ndarray]:
    """The calibration arrays by input name, rows along the first axis, floats as float32.

    Raises DataError: not one array an input, no rows, differing lengths, NaN or infinity.
    """
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    names = [v.name or "" for v in inputs]
    if isinstance(calibration, Iterator):
        raise DataError(f"calibration is a {type(calibration).__name__}, whose length is not "
                        "known; give an array [rows, ...], such as np.concatenate(list(batches)), "
                        "or one for each input")
    if isinstance(calibration, Mapping):
        given = dict(calibration)
    else:
        arrays = calibration if isinstance(calibration, tuple | list) else (calibration,)
        if len(arrays) != len(names):
            raise DataError(f"calibration has {len(arrays)} arrays, the model {len(names)} inputs "
                            f"{names}; give one array for each")
        given = dict(zip(names, arrays))
    if set(given) != set(names):
        raise DataError(f"calibration names {sorted(given)}, expected the inputs {sorted(names)}")
    rows = {v.name or "": _row_array(v, given[v.name or ""]) for v in inputs}
    lengths = {name: len(a) for name, a in rows.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"calibration arrays have different numbers of rows: {lengths}")
    return rows


def _row_array(value: ir.Value, given: np.ndarray) -> np.ndarray:
    array = as_array(f"calibration for input {value.name!r}", given)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"calibration for input {value.name!r} is empty (shape "
                        f"{list(array.shape)}); give at least one row, 100 to 500 serve best")
    if value.dtype is not None and array.dtype != value.dtype.numpy():
        if array.dtype.kind not in "fiub" or (array.dtype.kind == "f"
                                              and not value.dtype.is_floating_point()):
            raise DataError(f"calibration for input {value.name!r} has dtype {array.dtype}, "
                            f"expected {value.dtype.numpy()}")
        array = array.astype(value.dtype.numpy())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise DataError(f"calibration for input {value.name!r} holds {bad} NaN or infinite "
                        "elements; remove those rows")
    return array


def _chunks(model: ir.Model, rows: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The rows in the batches that the Model takes; a last short one is filled from the front."""
    total = len(next(iter(rows.values()))) if rows else 1
    batch = min(CHUNK, total)
    for value in model.graph.inputs:
        if value.name in rows and value.shape is not None and len(value.shape) > 0:
            first = value.shape[0]
            if isinstance(first, int):
                batch = first
    for start in range(0, total, batch):
        picked = np.arange(start, start + batch) % total
        yield {name: array[picked] for name, array in rows.items()}


def _watch(model: ir.Model, rows: Mapping[str, np.ndarray], names: Collection[str],
           see: Callable[[str, np.ndarray], None]) -> None:
    """Runs the Model over all rows; `see(name, array)` for every value of `names`."""
    def on_node(node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        for value, array in zip(node.outputs, outputs):
            if value.name in names:
                if not np.isfinite(array).all():
                    raise ModelError(f"node {node.name!r} ({node.op_type}) gives NaN or infinity "
                                     "for the calibration data; check its weights")
                see(value.name or "", array)
        return outputs

    for chunk in _chunks(model, rows):
        for name, array in chunk.items():
            if name in names:
                see(name, array)
        evaluate(model, chunk, on_node=on_node)


def _extremes(model: ir.Model, rows: Mapping[str, np.ndarray], names: Collection[str]) -> Ranges:
    found: Ranges = {}

    def see(name: str, array: np.ndarray) -> None:
        lo, hi = found.get(name, (0.0, 0.0))
        found[name] = (min(lo, float(array.min(initial=0))), max(hi, float(array.max(initial=0))))

    _watch(model, rows, names, see)
    return found


def _histograms(model: ir.Model, rows: Mapping[str, np.ndarray], extremes: Ranges
                ) -> dict[str, np.ndarray]:
    counts = {name: np.zeros(BINS, np.int64) for name in extremes}

    def see(name: str, array: np.ndarray) -> None:
        lo, hi = extremes[name]
        if hi > lo:
            counts[name] += np.histogram(array, BINS, (lo, hi))[0]

    _watch(model, rows, extremes, see)
    return counts


def _percentile(counts: np.ndarray, extremes: tuple[float, float], percentile: float
                ) -> tuple[float, float]:
    lo, hi = extremes
    total = counts.sum()
    if not total:
        return extremes
    share = np.cumsum(counts) / total
    cut = 1 - percentile / 100
    first = int(np.searchsorted(share, cut, side="right"))
    last = int(np.searchsorted(share, 1 - cut, side="left"))
    width = (hi - lo) / BINS
    return min(lo + first * width, 0.0), max(lo + (last + 1) * width, 0.0)


def _least_error(counts: np.ndarray, extremes: tuple[float, float]) -> tuple[float, float]:
    """The range, both ends shrunk by one factor, whose 256 codes err least over the histogram."""
    lo, hi = extremes
    if not counts.any():
        return extremes
    centres = lo + (np.arange(BINS) + 0.5) * (hi - lo) / BINS
    best, best_error = extremes, np.inf
    for factor in np.linspace(1.0, 0.2, 81):
        low, high = lo * factor, hi * factor
        step = (high - low) / 255
        nearest = np.clip(np.rint((centres - low) / step), 0, 255) * step + low
        error = float((counts * (nearest - centres) ** 2).sum())
        if error < best_error:
            best, best_error = (low, high), error
    return best
