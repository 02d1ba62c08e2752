"""A device's part: takes a task, learns from its own rows, answers."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError
from ganglion.federated.device.codecs import Codec, Dense
from ganglion.federated.device.lattice import MOST, STEPS, Lattice, from_lattice, to_lattice
from ganglion.federated.device.messages import Answer, Task, checksum, draws
from ganglion.federated.device.methods import Method
from ganglion.federated.device.naming import made, table
from ganglion.runtime import StateTensor, Trainer
from ganglion.runtime.batches import Batch
from ganglion.runtime.trainer import CORRECTION, PROXIMAL

SHUFFLE, ROUND, DROP = range(3)
"""What a device draws for."""


class OutOfStep(DataError):
    """A device and the server differ about what the device has; the whole model mends it."""


@dataclass(frozen=True)
class Settings:
    """What all devices of a run do alike; the plan gives it to them. `run`: the run's first bytes
    of digest; `artefact`: the digest of the training artefact; `shared`: the names of the tensors
    that are learned together, the others stay on the device."""

    run: bytes
    artefact: str
    shared: tuple[str, ...]
    method: Method
    up: Codec
    down: Codec
    epochs: int
    learning_rate: float
    seed: int

    def to_json(self) -> str:
        """All of it as text, for the wire."""
        return json.dumps({**{f.name: getattr(self, f.name) for f in fields(self)},
                           "run": self.run.hex(), **{name: table(getattr(self, name))
                                                     for name in ("method", "up", "down")}})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises DataError for what `to_json` of this version does not write."""
        try:
            found = json.loads(text)
            return cls(**found | {"run": bytes.fromhex(found["run"]),
                                  "shared": tuple(found["shared"]),
                                  **{name: made(found[name], name)
                                     for name in ("method", "up", "down")}})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"the server's settings are none of this version's ({error}): update "
                            "the device or the server") from error


@dataclass
class Memory:
    """What a device keeps between rounds; it lies in flash as well as in memory.

    `held`: the shared weights that it last had; `own`: those that stay with it; `control`,
    `common`: its own control variates and those of all; `left`: what codecs left out.
    """

    held: NDArray[np.int32]
    own: np.ndarray
    number: int = -1
    control: Lattice | None = None
    common: Lattice | None = None
    left: Lattice | None = None
    answer: bytes = b""

    def save(self) -> bytes:
        """All of it, with a checksum in front."""
        file = io.BytesIO()
        arrays = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        np.savez(file, allow_pickle=False, number=self.number,
                 answer=np.frombuffer(self.answer, np.uint8), **arrays)
        data = file.getvalue()
        return hashlib.sha256(data).digest() + data

    @classmethod
    def restore(cls, saved: bytes) -> "Memory":
        """Takes up what `save` gave. Raises DataError for other and for damaged bytes."""
        if saved[:32] != hashlib.sha256(saved[32:]).digest():
            raise DataError("a device's memory is damaged: remove it, and the device begins with "
                            "the model that was built in")
        with np.load(io.BytesIO(saved[32:]), allow_pickle=False) as found:
            fields = dict(found)
        return cls(number=int(fields.pop("number")), answer=fields.pop("answer").tobytes(),
                   **fields)


@dataclass
class Worker:
    """One device of a run: a trainer, its rows, and what it remembers.

    Raises DataError for a trainer of another artefact, a part without rows, and a method that the
    artefact lacks.
    """

    settings: Settings
    trainer: Trainer
    x: Batch
    y: Batch
    memory: Memory
    client: int = 0

    def __post_init__(self) -> None:
        require_fit(self.settings, self.trainer)
        self.rows = rows_of(self.y)
        if self.trainer.steps_of(self.rows) == 0:
            raise DataError(f"a device's part has {self.rows} rows, a step takes "
                            f"{self.trainer.batch_size}: build the artefact with "
                            "compile_training(sample_weight=True), or with a smaller batch_size")
        self._own = own_names(self.trainer.state, self.settings.shared)

    def work(self, message: bytes) -> bytes:
        """The answer to a task. The same task again gets the same answer without learning twice.

        Raises DataError for a damaged task and one of another run or of an earlier round; nothing
        is changed then."""
        task = Task.from_bytes(message)
        if task.run != self.settings.run:
            raise DataError("a task of another run: this device has another plan or another "
                            "training artefact; let it join anew")
        if task.number < self.memory.number:
            raise DataError(f"a task of round {task.number} after one of round "
                            f"{self.memory.number}: it was delayed or replayed; nothing was done")
        if task.number == self.memory.number:
            return self.memory.answer
        start, common = self._taken(task)
        loss, steps = self._learn(start, common, task.number)
        return self._answered(task, start, common, loss, steps)

    def _taken(self, task: Task) -> tuple[Lattice, Lattice | None]:
        """Where the device starts from, and the control variates of all."""
        sizes = sizes_of(self.trainer.state, self.settings.shared)
        if not task.whole and task.base != checksum(self.memory.held):
            raise OutOfStep("the task builds on a model that this device does not have: ask for "
                            "the whole one")
        codec, memory = Dense() if task.whole else self.settings.down, self.memory
        start = codec.decode(task.model, sizes) + (0 if task.whole else memory.held)
        if task.control is None:
            return start, None
        before = 0 if task.whole or memory.common is None else memory.common
        return start, codec.decode(task.control, sizes) + before

    def _learn(self, start: Lattice, common: Lattice | None, number: int) -> tuple[float, int]:
        """Loads the weights and learns; the mean loss and the number of steps."""
        settings, trainer = self.settings, self.trainer
        trainer.set_flat(from_lattice(start), settings.shared)
        trainer.set_flat(self.memory.own, self._own)
        trainer.reset_optimizer()
        trainer.reseed(_seed(settings.seed, number, self.client, DROP))
        if settings.method.corrects:
            self._correct(start, common)
        losses = trainer.fit(self.x, self.y, epochs=settings.epochs,
                             learning_rate=settings.learning_rate,
                             seed=_seed(settings.seed, number, self.client, SHUFFLE))
        return losses[-1], settings.epochs * trainer.steps_of(self.rows)

    def _correct(self, start: Lattice, common: Lattice | None) -> None:
        """c - c_i - proximal·start, for the weights that gradients move."""
        method, trainer = self.settings.method, self.trainer
        drift = np.zeros(len(start))
        if common is not None:
            own = np.zeros_like(start) if self.memory.control is None else self.memory.control
            drift += (common - own) / STEPS
        drift -= method.proximal * (start / STEPS)
        ends = np.cumsum(sizes_of(trainer.state, self.settings.shared))
        parts = zip(self.settings.shared, np.split(drift.astype(np.float32), ends[:-1]))
        shapes = {t.name: t.shape for t in trainer.state}
        trainer.set_optimizer({f"{name}{CORRECTION}": part.reshape(shapes[name])
                               for name, part in parts if f"{name}{CORRECTION}" in shapes}
                              | {PROXIMAL: np.float32(method.proximal)})

    def _answered(self, task: Task, start: Lattice, common: Lattice | None, loss: float,
                  steps: int) -> bytes:
        settings, memory = self.settings, self.memory
        moved = to_lattice(self.trainer.get_flat(settings.shared)) - start
        if np.abs(moved).max(initial=0) >= MOST:
            raise DataError("a weight moved by 2048 or more: take a smaller learning rate")
        control = memory.control
        if common is not None:
            before = np.zeros_like(start) if control is None else control
            control = before - common + gradient(moved, steps, settings.learning_rate)
        left = memory.left if settings.up.feedback else None
        wanted = moved if left is None else moved + left
        sizes = sizes_of(self.trainer.state, settings.shared)
        coded = settings.up.encode(wanted, sizes, draws(settings.seed, task.number, self.client,
                                                        ROUND))
        if settings.up.feedback:
            left = wanted - settings.up.decode(coded, sizes)
        answer = Answer(task.run, task.number, self.rows, steps, loss, checksum(start),
                        coded).to_bytes()
        self.memory = Memory(start.astype(np.int32), self.trainer.get_flat(self._own), task.number,
                             control, common, left, answer)
        return answer


def first_memory(settings: Settings, trainer: Trainer) -> Memory:
    """What a device remembers that has the artefact and nothing else yet."""
    held = to_lattice(trainer.get_flat(settings.shared)).astype(np.int32)
    return Memory(held, trainer.get_flat(own_names(trainer.state, settings.shared)))


def gradient(moved: Lattice, steps: int, rate: float) -> Lattice:
    """The mean gradient of steps that moved the weights so, on the lattice."""
    return np.rint(-moved / (steps * rate)).astype(np.int64)


def require_fit(settings: Settings, trainer: Trainer) -> None:
    """DataError where the run was planned with another artefact or with what it lacks."""
    require_artefact(settings.artefact, trainer.digest)
    if settings.method.corrects and not any(t.name == PROXIMAL for t in trainer.state):
        raise DataError(f"{type(settings.method).__name__} needs a training artefact with "
                        "corrections: build it with compile_training(correction=True)")


def require_artefact(learned: str, found: str) -> None:
    """DataError where a device has another artefact than the run learns."""
    if found != learned:
        raise DataError(f"the run learns artefact {learned[:16]}, this device has {found[:16]}: "
                        "copy the run's artefact to it")


def rows_of(y: Batch) -> int:
    """The rows of a part. DataError for one that has none."""
    first = y[0] if isinstance(y, list | tuple) and isinstance(y[0], np.ndarray) else y
    count = len(np.asarray(first))
    if count == 0:
        raise DataError("a device's part has no rows: leave the device out until it has some")
    return count


def own_names(state: Sequence[StateTensor], shared: Sequence[str]) -> list[str]:
    """The weights that stay on the device."""
    return [t.name for t in state if t.weight and t.name not in shared]


def sizes_of(state: Sequence[StateTensor], names: Sequence[str]) -> list[int]:
    """How many numbers each of the named tensors has."""
    sizes = {t.name: int(np.prod(t.shape)) for t in state}
    return [sizes[name] for name in names]


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
