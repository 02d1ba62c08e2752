"""Where the batches of a run come from: arrays in a drawn order, or a stream of batches.

Batch `k` of epoch `e` is the same in every run of the same call, whether it starts at the
beginning or continues from there.
"""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import onnx_ir as ir

from ganglion.data.augment import Augmentation, augmented
from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.runtime.batches import batches, epoch_order
from ganglion.tensors import is_tensor
from ganglion.training.losses import Loss
from ganglion.training.rows.data import Arrays, Dataset, prepare
from ganglion.training.rows.sample_weights import ClassWeight, of_classes, with_weights

Batch = tuple[Arrays, Arrays] | tuple[Arrays, Arrays, Arrays]
"""What a stream gives at each step: (x, y), or (x, y, sample_weight)."""


class Source(Protocol):
    """`rows`: of a whole batch. `steps`: batches in an epoch. `uneven`: whether some batches may
    have another number of rows."""

    @property
    def rows(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def uneven(self) -> bool: ...

    def first(self) -> Dataset:
        """The rows that steps are checked with, at least one batch of them."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Dataset]:
        """The batches of an epoch, counted from 0, from number `start` on."""

    def marks(self) -> tuple[dict[str, object], Sequence[Array]]:
        """Settings and arrays that tell this source from others."""


@dataclass(frozen=True)
class Augment:
    """Augmentations in turn, with the seed that they draw by."""

    steps: tuple[Augmentation, ...]
    seed: int

    def __call__(self, batch: Dataset, epoch: int, number: int) -> Dataset:
        if not self.steps:
            return batch
        made = Dataset(*augmented(self.steps, batch.inputs, batch.targets, seed=self.seed,
                                  epoch=epoch, batch=number), batch.weights)
        for before, after in zip(batch.arrays, made.arrays, strict=True):
            if before.shape != after.shape or before.dtype != after.dtype:
                names = ", ".join(type(step).__name__ for step in self.steps)
                raise DataError(f"augment ({names}) made {after.dtype} {list(after.shape)} of "
                                f"{before.dtype} {list(before.shape)}; expected the same: what "
                                "changes sizes belongs before fit")
        return made


def choose_augment(given: Augmentation | Sequence[Augmentation] | None, seed: int) -> Augment:
    """The checked form of `fit`'s `augment`."""
    steps = () if given is None else (given,) if isinstance(given, Augmentation) else tuple(given)
    for step in steps:
        if not isinstance(step, Augmentation):
            raise DataError(f"augment holds {step!r}; expected augmentations such as "
                            "RandomFlip('horizontal'), from ganglion.data")
    return Augment(steps, seed)


@dataclass(frozen=True)
class ArraySource:
    """Batches cut from arrays, each epoch in another order if `shuffle`."""

    data: Dataset
    batch_size: int
    shuffle: bool
    seed: int
    augment: Augment

    @property
    def rows(self) -> int:
        return min(self.batch_size, self.data.rows)

    @property
    def steps(self) -> int:
        return -(-self.data.rows // self.rows)

    @property
    def uneven(self) -> bool:
        return self.data.rows % self.rows != 0

    def first(self) -> Dataset:
        return self.data

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Dataset]:
        rows = self.data.rows
        order = epoch_order(rows, self.seed, epoch) if self.shuffle else np.arange(rows)
        for k, index in enumerate(batches(order, self.rows)):
            if k >= start:
                yield self.augment(self.data.part(index), epoch, k)

    def marks(self) -> tuple[dict[str, object], Sequence[Array]]:
        return {"rows": self.rows, "shuffle": self.shuffle, "seed": self.seed,
                "augment": repr(self.augment.steps)}, self.data.arrays


class StreamSource:
    """Batches from an iterable of (x, y) or (x, y, sample_weight).

    One that starts anew whenever it is iterated (a list, a class with `__iter__`) does so every
    epoch; a generator goes on from epoch to epoch. Wrong batches raise DataError with their number.
    """

    def __init__(self, model: ir.Model, losses: Sequence[Loss], stream: Arrays | Iterable[Batch],
                 steps: int | None, augment: Augment, classes: ClassWeight | None = None) -> None:
        """`model`: of one row, as `prepare` takes it. `steps`: None for all that `stream` has.
        `classes`: what the samples of each class weigh."""
        if is_tensor(stream) or not isinstance(stream, Iterable):
            raise DataError(f"x is a {type(stream).__name__} and there is no y; give the targets, "
                            "or an iterable of batches (x, y)")
        self._model, self._losses, self._augment = model, losses, augment
        self._stream: Iterable[object] = stream
        self._classes, self.uneven = classes, True
        given = iter(stream)
        self._restarts = given is not stream
        try:
            head = next(given)
        except StopIteration:
            raise DataError("x gives no batch at all; expected an iterable of (x, y), one batch "
                            "each") from None
        self.steps = _steps(stream, steps)
        self._head: list[object] = [] if self._restarts else [head]
        self._rest, self._at = given, 0
        self._first = self._prepared(head, "batch 1")
        self.rows = self._first.rows

    def first(self) -> Dataset:
        return self._first

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Dataset]:
        for k, batch in enumerate(self._taken(epoch, start), start):
            place = f"epoch {epoch + 1}, batch {k + 1}"
            data = self._prepared(batch, place)
            if data.weight_ranks != self._first.weight_ranks:
                raise DataError(f"{place}: its sample weights have {data.weight_ranks} dimensions, "
                                f"those of the first batch {self._first.weight_ranks}; give every "
                                "batch the same kind of weights, or none")
            yield self._augment(data, epoch, k)

    def marks(self) -> tuple[dict[str, object], Sequence[Array]]:
        return {"steps": self.steps, "augment": repr(self._augment.steps)}, self._first.arrays

    def _taken(self, epoch: int, start: int) -> Iterator[object]:
        stop = self.steps
        if self._restarts:
            left = islice(iter(self._stream), start, stop)
        else:
            skip = epoch * stop + start - self._at
            left = islice(self._counted(), skip, skip + stop - start)
        number = start
        for number, batch in enumerate(left, start + 1):  # noqa: B007
            yield batch
        if number < stop:
            raise DataError(f"x ended in epoch {epoch + 1} after {number} of {stop} batches; lower "
                            "steps_per_epoch or epochs, or let it go on for ever")

    def _counted(self) -> Iterator[object]:
        while True:
            try:
                batch = self._head.pop() if self._head else next(self._rest)
            except StopIteration:
                return
            self._at += 1
            yield batch

    def _prepared(self, batch: object, place: str) -> Dataset:
        parts = batch if isinstance(batch, tuple | list) else ()
        if len(parts) not in (2, 3):
            found = f"{len(parts)} things" if parts else type(batch).__name__
            raise DataError(f"{place}: found {found}; expected a tuple (x, y), or (x, y, "
                            "sample_weight)")
        try:
            data = with_weights(prepare(self._model, self._losses, *parts[:2]),
                                self._model.graph.outputs, parts[2] if len(parts) == 3 else None)
            return of_classes(data, self._classes)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error


def _steps(stream: Iterable[object], steps: int | None) -> int:
    if steps is None and isinstance(stream, Sized):
        steps = len(stream)
    if steps is None:
        raise DataError(f"x is a {type(stream).__name__} whose end is not known; say "
                        "steps_per_epoch, the number of batches in an epoch")
    if not isinstance(steps, int) or steps < 1:
        raise DataError(f"steps_per_epoch={steps!r}: expected a whole number from 1 up")
    return steps
