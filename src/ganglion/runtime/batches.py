"""What a step takes: arrays of rows, checked before anything learns from them, in the order that an
epoch draws."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganglion.errors import DataError
from ganglion.runtime.ports import Port
from ganglion.tensors import Array, as_array

Batch = ArrayLike | Sequence[ArrayLike]
"""One array [rows, ...], or one for each input (or target) of the network."""


def listed(ports: Sequence[Port], given: Batch, name: str) -> list[Array]:
    """One array of rows for each port; a missing or additional last axis of size 1 is mended."""
    several = isinstance(given, list | tuple) and len(ports) > 1
    values = list(given) if several and isinstance(given, list | tuple) else [given]
    if len(values) != len(ports):
        raise DataError(f"{name} holds {len(values)} arrays, expected {len(ports)}: "
                        f"{', '.join(repr(p.name) for p in ports)}")
    return [_shaped(port, as_array(f"input {port.name!r}", value))
            for port, value in zip(ports, values)]


def _shaped(port: Port, array: Array) -> Array:
    row, found = port.shape[1:], array.shape[1:]
    if array.ndim and ((*found, 1) == row or found == (*row, 1)):
        return array.reshape(len(array), *row)
    if array.ndim == 0 or found != row:
        raise DataError(f"input {port.name!r} has shape {list(array.shape)}, expected "
                        f"{['rows', *row]}")
    return array


def require_sound(port: Port, array: Array) -> None:
    """DataError for NaN and infinity, and for indices without a row."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise DataError(f"{port.name!r} holds {bad} values that are NaN or infinite: drop or fill "
                        "them (numpy.nan_to_num)")
    if port.limit is not None and array.size and not (
            array.min() >= 0 and array.max() < port.limit):
        raise DataError(f"{port.name!r} holds numbers from {array.min()} to {array.max()}, but "
                        f"what they index has {port.limit} rows: expected 0 to {port.limit - 1}")


def factors(given: ArrayLike, rows: int) -> NDArray[np.float32]:
    """A factor for each row's loss, float32 [rows]; DataError for others than finite ones from 0
    up."""
    array = np.asarray(as_array("sample_weight", given), np.float32)
    if array.shape != (rows,) or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(f"sample_weight of shape {list(array.shape)}: expected {[rows]} finite "
                        "numbers from 0 up")
    return array


def checked_rate(given: float) -> np.float32:
    """A learning rate as a step takes it; DataError for one that would spoil the weights."""
    if not isinstance(given, int | float | np.number) or not 0 <= given < np.inf:
        raise DataError(f"learning_rate={given!r}: expected a finite number from 0 up")
    return np.float32(given)


def loss_name(output: str) -> str:
    """The name of a loss in the history: "loss", or "NAME_loss" of one output."""
    return "loss" if output == "loss" else f"{output.removeprefix('loss.')}_loss"


def batches(order: Array, size: int) -> Iterator[Array]:
    """The row numbers of each batch in turn, the last one shorter if `size` does not divide."""
    for start in range(0, len(order), size):
        yield order[start:start + size]


def epoch_order(rows: int, seed: int, epoch: int) -> Array:
    """The order of rows in an epoch, drawn from (seed, epoch): a resumed run draws the same."""
    return np.random.default_rng([seed, epoch]).permutation(rows)
