"""Learning on a device: a step, an evaluation and a prediction over one state."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ganglion.errors import DataError
from ganglion.runtime.arrays import busy
from ganglion.runtime.binding import BINDING
from ganglion.runtime.ports import Port
from ganglion.runtime.session import Session
from ganglion.tensors import Array, as_array

Batch = ArrayLike | Sequence[ArrayLike]
"""One array [rows, ...], or one for each input (or target) of the network."""

ENTRIES = ("evaluate", "predict")


class Trainer:
    """A network that learns: what `compile_training` built, with its own weights.

    `path`: the folder that `Artifact.save` wrote, or the library file. Starts with the weights that
    were built in. Two threads must not call one trainer at once (DataError); each may have its own.
    `learning_rate` is what `step` uses unless told otherwise; the optimiser's own to begin with.
    Raises what `Session` raises, and DataError for a build that does not train.
    """

    learning_rate: float

    def __init__(self, path: str | os.PathLike[str], *, binding: str = BINDING) -> None:
        self._prepare(Session(Path(path), binding=binding))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, binding: str = BINDING) -> "Trainer":
        """A trainer of an artefact in memory: its files by name, `manifest.json` among them."""
        trainer = cls.__new__(cls)
        trainer._prepare(Session.from_files(files, binding=binding))
        return trainer

    def _prepare(self, session: Session) -> None:
        missing = [name for name in ENTRIES if name not in session.functions]
        if missing or session.inputs[-1].name != "learning_rate":
            raise DataError(f"network {session.name!r} does not train (it has no function "
                            f"{', '.join(missing) or 'with a learning rate'}): build it with "
                            "compile_training, or run it with Session")
        self._session, self._stream = session, session.stream()
        answer = session.function("predict")
        count = len(answer.inputs)
        self._x, self._y = session.inputs[:count], session.inputs[count:-1]
        self._classes = [out.shape[-1] if y.dtype.kind in "iu" and y.shape == out.shape[:-1]
                         else None for y, out in zip(self._y, answer.outputs)]
        self._losses = tuple(_loss_name(port.name) for port in session.outputs)
        self._lock = threading.Lock()
        self.learning_rate = float(session.inputs[-1].default or 0.0)

    @property
    def name(self) -> str:
        """The network's C name."""
        return self._session.name

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What the network reads in a step; the first axis is the batch."""
        return self._x

    @property
    def targets(self) -> tuple[Port, ...]:
        """What the network is to answer in a step."""
        return self._y

    @property
    def batch_size(self) -> int:
        """The rows of a step."""
        return self._x[0].shape[0]

    @property
    def arena_bytes(self) -> int:
        """Working memory of a step; the other functions take no more."""
        return self._session.arena_bytes

    @property
    def state_bytes(self) -> int:
        """Memory of the trained weights and of the optimiser."""
        return self._session.state_bytes

    def step(self, x: Batch, y: Batch, learning_rate: float | None = None) -> float:
        """Learns from one batch of exactly `batch_size` rows; the loss before the update.

        Raises DataError for a wrong number of arrays or rows, a wrong shape or dtype, a label that
        is no class, an index that has no row in an embedding, numbers and a rate that are not
        finite, and numbers so large that the loss or a weight would not be; weights and optimiser
        stay then.
        """
        rate = _rate(self.learning_rate if learning_rate is None else learning_rate)
        arrays = [*_listed(self._x, x, "x"), *self._targets(y)]
        self._require_rows(arrays)
        for port, array in zip((*self._x, *self._y), arrays):
            _require_sound(port, array)
        return self._guarded(*arrays, rate)

    def _guarded(self, *arrays: ArrayLike) -> float:
        """One step whose loss and state are finite; else DataError, and the state as before."""
        with self._exclusive():
            before = self._stream.copied()
            found = self._stream.run(*arrays)
            loss = float((found[0] if isinstance(found, tuple) else found).item())
            broken = self._stream.broken()
            if np.isfinite(loss) and broken is None:
                return loss
            self._stream.put(before)
        what = f"{broken!r} not finite" if np.isfinite(loss) else f"the loss {loss}"
        raise DataError(f"the step would make {what}; nothing was learned from this batch: scale "
                        "its numbers to about 1, or take a smaller learning rate")

    def evaluate(self, x: Batch, y: Batch) -> dict[str, float]:
        """The mean loss over any number of rows, and of each output where there are several.

        What the network is as it would be deployed: without dropout, with running statistics.
        """
        arrays = [*_listed(self._x, x, "x"), *self._targets(y)]
        found = self._rows("evaluate", arrays, len(self._losses))
        return {name: float(each.astype(np.float64).mean())
                for name, each in zip(self._losses, found)}

    def predict(self, x: Batch) -> Array | tuple[Array, ...]:
        """What the network answers for any number of rows: one array, or one for each output."""
        outputs = len(self._session.function("predict").outputs)
        found = self._rows("predict", _listed(self._x, x, "x"), outputs)
        return found[0] if len(found) == 1 else found

    def get_weights(self) -> dict[str, Array]:
        """Copies of the trained weights and running statistics, by name: what `write_back` puts
        into a Model."""
        return self._named(True)

    def set_weights(self, weights: Mapping[str, ArrayLike]) -> None:
        """Overwrites the named weights. Raises DataError, and changes nothing, for an unknown name,
        a wrong shape or dtype."""
        self._overwrite(weights, True)

    def get_optimizer(self) -> dict[str, Array]:
        """Copies of everything else that steps keep: the optimiser's slots and counters, and the
        generators of dropout."""
        return self._named(False)

    def set_optimizer(self, slots: Mapping[str, ArrayLike]) -> None:
        """Overwrites what `get_optimizer` gives. Raises DataError as `set_weights`."""
        self._overwrite(slots, False)

    def save(self) -> bytes:
        """The whole state, with the network's digest and a checksum in front."""
        with self._exclusive():
            return self._stream.save()

    def restore(self, saved: bytes) -> None:
        """Takes up what `save` gave: the next step has the same bits. Raises DataError, and changes
        nothing, for the state of another network and for damaged bytes."""
        with self._exclusive():
            self._stream.restore(saved)

    def reset(self) -> None:
        """Back to the weights that were built in, and to a fresh optimiser."""
        with self._exclusive():
            self._stream.reset()

    def _targets(self, y: Batch) -> list[Array]:
        """`y` for each target; DataError for labels outside of the network's classes."""
        arrays = _listed(self._y, y, "y")
        for array, port, classes in zip(arrays, self._y, self._classes):
            if (classes and array.size and array.dtype.kind in "iu"
                    and not 0 <= array.min() <= array.max() < classes):
                raise DataError(f"{port.name!r} holds labels from {array.min()} to {array.max()}, "
                                f"but the network has {classes} classes: expected 0 to "
                                f"{classes - 1}")
        return arrays

    def _rows(self, function: str, arrays: Sequence[Array], count: int) -> tuple[Array, ...]:
        """The first `count` outputs for all rows, a batch at a time; the last one is filled up."""
        rows = {len(a) for a in arrays}
        if len(rows) != 1 or rows == {0}:
            raise DataError(f"the arrays have {[len(a) for a in arrays]} rows; expected one equal "
                            "number, at least 1")
        total, parts = rows.pop(), []
        for start in range(0, total, self.batch_size):
            index = np.resize(np.arange(start, min(total, start + self.batch_size)),
                              self.batch_size)
            found = self._call(function, *(a[index] for a in arrays))
            parts.append([a[:total - start] for a in found[:count]])
        return tuple(np.concatenate(each) for each in zip(*parts))

    def _call(self, function: str, *arrays: ArrayLike) -> tuple[Array, ...]:
        with self._exclusive():
            found = self._stream.call(function, *arrays)
        return found if isinstance(found, tuple) else (found,)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Holds the trainer's lock; DataError where another thread does."""
        if not self._lock.acquire(blocking=False):
            raise busy()
        try:
            yield
        finally:
            self._lock.release()

    def _require_rows(self, arrays: Sequence[Array]) -> None:
        wrong = [len(a) for a in arrays if len(a) != self.batch_size]
        if wrong:
            raise DataError(f"a step takes exactly {self.batch_size} rows, found {wrong[0]}: "
                            "gather as many, or build it with another batch_size")

    def _named(self, weights: bool) -> dict[str, Array]:
        with self._exclusive():
            return {t.name: self._stream.get(t.name) for t in self._session.state
                    if t.weight == weights}

    def _overwrite(self, values: Mapping[str, ArrayLike], weights: bool) -> None:
        known = {t.name for t in self._session.state if t.weight == weights}
        wrong = sorted(set(values) - known)
        if wrong:
            raise DataError(f"{wrong[0]!r} is none of the {'weights' if weights else 'slots'} of "
                            f"this trainer: {', '.join(map(repr, sorted(known)))}")
        with self._exclusive():
            before = {name: self._stream.get(name) for name in values}
            try:
                for name, value in values.items():
                    self._stream.set(name, value)
            except DataError:
                for name, array in before.items():
                    self._stream.set(name, array)
                raise


def _listed(ports: Sequence[Port], given: Batch, name: str) -> list[Array]:
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


def _require_sound(port: Port, array: Array) -> None:
    """DataError for NaN and infinity, and for indices without a row."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise DataError(f"{port.name!r} holds {bad} values that are NaN or infinite: drop or fill "
                        "them (numpy.nan_to_num)")
    if port.limit is not None and array.size and not (
            array.min() >= 0 and array.max() < port.limit):
        raise DataError(f"{port.name!r} holds numbers from {array.min()} to {array.max()}, but "
                        f"what they index has {port.limit} rows: expected 0 to {port.limit - 1}")


def _rate(given: float) -> np.float32:
    """A learning rate as a step takes it; DataError for one that would spoil the weights."""
    if not isinstance(given, int | float | np.number) or not 0 <= given < np.inf:
        raise DataError(f"learning_rate={given!r}: expected a finite number from 0 up")
    return np.float32(given)


def _loss_name(output: str) -> str:
    """The name of a loss in the history: "loss", or "NAME_loss" of one output."""
    return "loss" if output == "loss" else f"{output.removeprefix('loss.')}_loss"
