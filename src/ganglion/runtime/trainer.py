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
from ganglion.runtime.batches import (
    Batch,
    batches,
    checked_rate,
    epoch_order,
    factors,
    listed,
    loss_name,
    require_sound,
)
from ganglion.runtime.binding import BINDING
from ganglion.runtime.ports import Port, StateTensor
from ganglion.runtime.session import Session
from ganglion.tensors import Array

ENTRIES = ("evaluate", "predict")
CORRECT, CORRECTION, PROXIMAL = "correct", ".correction", "proximal"
"""The function that corrects a step; what follows a weight's name in that of its correction; the
factor's name."""


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

    def another(self) -> "Trainer":
        """A further trainer of the same library in memory, with the weights that were built in."""
        trainer = type(self).__new__(type(self))
        trainer._prepare(self._session)
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
        targets = count + len(answer.outputs)
        self._x, self._y = session.inputs[:count], session.inputs[count:targets]
        self._factors = session.inputs[targets:-1]
        self._classes = [out.shape[-1] if y.dtype.kind in "iu" and y.shape == out.shape[:-1]
                         else None for y, out in zip(self._y, answer.outputs)]
        self._losses = tuple(loss_name(port.name) for port in session.outputs)
        self._outputs = tuple(port.name for port in answer.outputs)
        self._lock = threading.Lock()
        self._corrects = CORRECT in session.functions
        self.learning_rate = float(session.inputs[-1].default or 0.0)

    @property
    def name(self) -> str:
        """The network's C name."""
        return self._session.name

    @property
    def digest(self) -> str:
        """Names the step that it was built from: SHA-256, as hexadecimal digits."""
        return self._session.digest

    @property
    def state(self) -> tuple[StateTensor, ...]:
        """What steps keep: the weights, running statistics among them, and all else."""
        return self._session.state

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

    def steps_of(self, rows: int) -> int:
        """The steps of an epoch over so many rows."""
        return -(-rows // self.batch_size) if self._factors else rows // self.batch_size

    @property
    def arena_bytes(self) -> int:
        """Working memory of a step; the other functions take no more."""
        return self._session.arena_bytes

    @property
    def state_bytes(self) -> int:
        """Memory of the trained weights and of the optimiser."""
        return self._session.state_bytes

    def step(self, x: Batch, y: Batch, learning_rate: float | None = None,
             sample_weight: ArrayLike | None = None) -> float:
        """Learns from one batch of `batch_size` rows; the loss before the update.

        A build with sample_weight=True takes fewer rows as well, whose mean the loss then is, and
        a factor [rows] for each row's loss.
        Raises DataError for a wrong number of arrays or rows, a wrong shape or dtype, a label that
        is no class, an index that has no row in an embedding, numbers and a rate that are not
        finite, and numbers so large that the loss or a weight would not be; weights and optimiser
        stay then.
        """
        arrays = [*listed(self._x, x, "x"), *listed(self._y, y, "y")]
        return self._learn(arrays, learning_rate, sample_weight)

    def _learn(self, arrays: Sequence[Array], learning_rate: float | None,
               sample_weight: ArrayLike | None = None) -> float:
        rate = checked_rate(self.learning_rate if learning_rate is None else learning_rate)
        self._require_rows(arrays, sample_weight)
        self._require_classes(arrays[len(self._x):])
        for port, array in zip((*self._x, *self._y), arrays):
            require_sound(port, array)
        if not self._factors:
            return self._guarded(*arrays, rate)
        rows = len(arrays[0])
        given = np.ones(rows, np.float32) if sample_weight is None else sample_weight
        factor = np.zeros(self.batch_size, np.float32)
        factor[:rows] = np.float32(self.batch_size / rows) * factors(given, rows)
        index = np.resize(np.arange(rows), self.batch_size)
        full = arrays if rows == self.batch_size else [a[index] for a in arrays]
        return self._guarded(*full, *([factor] * len(self._factors)), rate)

    def fit(self, x: Batch, y: Batch, *, epochs: int = 1, learning_rate: float | None = None,
            shuffle: bool = True, seed: int = 0, initial_epoch: int = 0) -> list[float]:
        """Learns from all rows, `epochs` times; the mean loss of each epoch.

        Rows come in the order that `ganglion.fit` draws from (seed, number of the epoch), counted
        from `initial_epoch`. Rows that fill no batch are the last one, smaller, in a build with
        sample_weight=True, and sit out the epoch in others. Raises DataError as `step`; what was
        learned before the bad batch stays.
        """
        arrays = [*listed(self._x, x, "x"), *listed(self._y, y, "y")]
        rows = len(arrays[0])
        if self.steps_of(rows) == 0:
            least = 1 if self._factors else self.batch_size
            raise DataError(f"{rows} rows; an epoch takes at least {least}: give more, or build "
                            "with sample_weight=True")
        means = []
        for epoch in range(initial_epoch, initial_epoch + epochs):
            order = epoch_order(rows, seed, epoch) if shuffle else np.arange(rows)
            taken = [b for b in batches(order, self.batch_size)
                     if self._factors or len(b) == self.batch_size]
            losses = [self._learn([a[b] for a in arrays], learning_rate) for b in taken]
            means.append(float(np.average(losses, weights=[len(b) for b in taken])))
        return means

    def _guarded(self, *arrays: ArrayLike) -> float:
        """One step whose loss and state are finite; else DataError, and the state as before."""
        with self._exclusive():
            before = self._stream.copied()
            found = self._stream.run(*arrays)
            if self._corrects:
                self._stream.call(CORRECT, arrays[-1])
            loss = float((found[0] if isinstance(found, tuple) else found).item())
            broken = self._stream.broken()
            if np.isfinite(loss) and broken is None:
                return loss
            self._stream.put(before)
        what = f"{broken!r} not finite" if np.isfinite(loss) else f"the loss {loss}"
        raise DataError(f"the step would make {what}; nothing was learned from this batch: scale "
                        "its numbers to about 1, or take a smaller learning rate")

    def evaluate(self, x: Batch, y: Batch) -> dict[str, float]:
        """The mean loss over any number of rows, and of each output where there are several; the
        accuracy of outputs whose targets are class numbers.

        What the network is as it would be deployed: without dropout, with running statistics.
        """
        targets = listed(self._y, y, "y")
        self._require_classes(targets)
        found = self._rows("evaluate", [*listed(self._x, x, "x"), *targets],
                           len(self._losses) + len(self._outputs))
        figures = {name: float(each.astype(np.float64).mean())
                   for name, each in zip(self._losses, found)}
        for output, classes, target, answer in zip(self._outputs, self._classes, targets,
                                                   found[len(self._losses):]):
            if classes:
                name = "accuracy" if len(self._outputs) == 1 else f"{output}_accuracy"
                figures[name] = float((answer.argmax(-1) == target).mean())
        return figures

    def predict(self, x: Batch) -> Array | tuple[Array, ...]:
        """What the network answers for any number of rows: one array, or one for each output."""
        outputs = len(self._session.function("predict").outputs)
        found = self._rows("predict", listed(self._x, x, "x"), outputs)
        return found[0] if len(found) == 1 else found

    def get_weights(self) -> dict[str, Array]:
        """Copies of the trained weights and running statistics, by name: what `write_back` puts
        into a Model."""
        return self._named(True)

    def set_weights(self, weights: Mapping[str, ArrayLike]) -> None:
        """Overwrites the named weights. Raises DataError, and changes nothing, for an unknown name,
        a wrong shape or dtype, and numbers that are not finite."""
        self._overwrite(weights, True)

    def get_optimizer(self) -> dict[str, Array]:
        """Copies of everything else that steps keep: the optimiser's slots and counters, and the
        generators of dropout."""
        return self._named(False)

    def set_optimizer(self, slots: Mapping[str, ArrayLike]) -> None:
        """Overwrites what `get_optimizer` gives. Raises DataError as `set_weights`."""
        self._overwrite(slots, False)

    def get_flat(self, names: Sequence[str] | None = None) -> Array:
        """The numbers of the named tensors, of all weights by default: float32 [n], one tensor
        behind the other in the order of the names, each row by row."""
        with self._exclusive():
            return self._stream.gather(self._weights if names is None else names)

    def set_flat(self, numbers: Array, names: Sequence[str] | None = None) -> None:
        """Puts back what `get_flat` gives. Raises DataError, and changes nothing, for another count
        of numbers, and for numbers that are not finite."""
        if not np.isfinite(numbers).all():
            raise _not_finite("the numbers")
        with self._exclusive():
            self._stream.scatter(self._weights if names is None else names, numbers)

    def reset_optimizer(self) -> None:
        """Everything that steps keep besides weights, back to how it was built."""
        with self._exclusive():
            kept = self._stream.gather(self._weights)
            self._stream.reset()
            self._stream.scatter(self._weights, kept)

    def reseed(self, seed: int) -> None:
        """Other numbers for every dropout: devices that learn together each give their own."""
        with self._exclusive():
            for k, tensor in enumerate(t for t in self.state if t.dtype == np.uint32):
                start = self._stream.get(tensor.name)
                key = np.random.SeedSequence([seed, k]).generate_state(2, np.uint32)
                self._stream.set(tensor.name, np.concatenate([key, np.zeros_like(start[2:])]))

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

    def _require_classes(self, arrays: Sequence[Array]) -> None:
        """DataError for labels outside of the network's classes."""
        for array, port, classes in zip(arrays, self._y, self._classes):
            if (classes and array.size and array.dtype.kind in "iu"
                    and not 0 <= array.min() <= array.max() < classes):
                raise DataError(f"{port.name!r} holds labels from {array.min()} to {array.max()}, "
                                f"but the network has {classes} classes: expected 0 to "
                                f"{classes - 1}")

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

    def _require_rows(self, arrays: Sequence[Array], sample_weight: object) -> None:
        if self._factors:
            found = sorted({len(a) for a in arrays})
            if len(found) != 1 or not 1 <= found[0] <= self.batch_size:
                raise DataError(f"the arrays have {found} rows; a step takes one equal number from "
                                f"1 to {self.batch_size}")
            return
        if sample_weight is not None:
            raise DataError("this build's step takes no sample_weight: build it with "
                            "compile_training(sample_weight=True)")
        wrong = [len(a) for a in arrays if len(a) != self.batch_size]
        if wrong:
            raise DataError(f"a step takes exactly {self.batch_size} rows, found {wrong[0]}: "
                            "gather as many, or build it with another batch_size or with "
                            "sample_weight=True")

    @property
    def _weights(self) -> list[str]:
        return [t.name for t in self.state if t.weight]

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
        for name, value in values.items():
            array = np.asarray(value)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise _not_finite(repr(name))
        with self._exclusive():
            before = {name: self._stream.get(name) for name in values}
            try:
                for name, value in values.items():
                    self._stream.set(name, value)
            except DataError:
                for name, array in before.items():
                    self._stream.set(name, array)
                raise


def _not_finite(what: str) -> DataError:
    return DataError(f"{what} hold NaN or infinity; nothing was changed: give finite numbers")
