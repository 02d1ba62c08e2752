"""The server's part of a run, without a wire: tasks out, answers in, a model a round.

Every transport drives this same machine, so the same answers give the same bits: in one process,
through Flower, over HTTP.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError
from ganglion.federated.device.codecs import Codec, Dense
from ganglion.federated.device.lattice import Lattice, from_lattice
from ganglion.federated.device.messages import Answer, Task, checksum, draws
from ganglion.federated.device.worker import first_memory, gradient, sizes_of
from ganglion.federated.plan import Plan
from ganglion.runtime import Trainer

CHOICE, MODEL, CONTROL = range(100, 103)
"""What the server draws for."""


@dataclass
class Known:
    """What the server knows that a device has: the model and the control variates it last had."""

    held: NDArray[np.int32]
    common: Lattice | None = None


@dataclass(frozen=True)
class Round:
    """What a round came to. `clients`: those whose answers counted; `refused`: device -> why;
    bytes are those of the messages; `loss`: the devices' mean, weighted by rows."""

    number: int
    clients: tuple[int, ...]
    refused: Mapping[int, str]
    bytes_up: int
    bytes_down: int
    loss: float

    def to_json(self) -> str:
        """The account as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The account that `to_json` wrote."""
        found = json.loads(text)
        return cls(**found | {"clients": tuple(found["clients"]),
                              "refused": {int(c): why for c, why in found["refused"].items()}})


@dataclass
class Server:
    """A run at the server. `rows`: device -> how many rows it said it has when it joined.

    Raises DataError for a run without devices, and for fewer than a round asks.
    """

    plan: Plan
    rows: Mapping[int, int]
    number: int = 0
    model: Lattice = field(init=False)
    common: Lattice | None = field(init=False)
    known: dict[int, Known] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        wanted = self.plan.clients_per_round or len(self.rows)
        if not self.rows or wanted > len(self.rows):
            raise DataError(f"a round asks {wanted} devices, {len(self.rows)} have joined: wait "
                            "for more, or ask fewer (clients_per_round)")
        self._first = first_memory(self.plan.settings, self.plan.trainer).held
        self.model = self._first.astype(np.int64)
        self.common = np.zeros_like(self.model) if self.plan.method.controlled else None
        self._sizes = sizes_of(self.plan.trainer.state, self.plan.shared)
        self._open: dict[int, Known] = {}
        self._answers: dict[int, tuple[Answer, Lattice]] = {}
        self._refused: dict[int, str] = {}
        self.sent: dict[int, int] = {}
        self._up = 0
        self._judge = self.plan.trainer.another()

    def judge(self) -> Trainer:
        """A trainer with the model as it is now, and the weights that stay on devices as built."""
        self._judge.reset()
        self._judge.set_flat(from_lattice(self.model), self.plan.shared)
        return self._judge

    def choose(self) -> list[int]:
        """The devices that are asked in this round."""
        everyone = sorted(self.rows)
        if self.plan.clients_per_round is None:
            return everyone
        draw = draws(self.plan.seed, self.number, 0, CHOICE)
        return sorted(draw.choice(everyone, self.plan.clients_per_round, replace=False).tolist())

    def task(self, client: int, whole: bool = False) -> bytes:
        """This round's message to a device. `whole`: it told that it is out of step."""
        before = self.known.get(client) or Known(self._first)
        codec: Codec = Dense() if whole else self.plan.down
        model, held = self._coded(codec, self.model, None if whole else before.held, client, MODEL)
        control, common = None, None
        if self.common is not None:
            base = None if whole else before.common
            control, common = self._coded(codec, self.common, base, client, CONTROL)
        self._open[client] = Known(held.astype(np.int32), common)
        message = Task(self.plan.settings.run, self.number, model, checksum(before.held), whole,
                       control).to_bytes()
        self.sent[client] = self.sent.get(client, 0) + len(message)
        return message

    def _coded(self, codec: Codec, goal: Lattice, base: Lattice | NDArray[np.int32] | None,
               client: int, purpose: int) -> tuple[bytes, Lattice]:
        """The difference from `base` as bytes, and what the device has once it took them."""
        start = np.zeros_like(goal) if base is None else base.astype(np.int64)
        data = codec.encode(goal - start, self._sizes,
                            draws(self.plan.seed, self.number, client, purpose))
        return data, start + codec.decode(data, self._sizes)

    def receive(self, client: int, message: bytes) -> None:
        """Takes a device's answer. Raises DataError for one that is damaged, of another run or
        round, from a device that was not asked, or that cannot be right; it is counted as refused
        and changes nothing. The same answer twice counts once."""
        self._up += len(message)
        if client in self._answers:
            return
        try:
            answer = Answer.from_bytes(message)
            self._require_sound(client, answer)
            difference = self.plan.up.decode(answer.difference, self._sizes)
            if not difference.any():
                raise DataError("the device sent the model back as it was: it did not learn")
            self._answers[client] = answer, difference
        except DataError as error:
            self.refuse(client, str(error))
            raise

    def replay(self, client: int, message: bytes | None, refused: str | None, down: int) -> None:
        """Takes a device's answer of this round a second time, after the server was restarted:
        `message`, or why there is none, and the bytes that went down to it."""
        self.task(client)
        self.sent[client] = down
        if message is not None:
            with suppress(DataError):  # as it was refused at first, for the same reason
                self.receive(client, message)
        elif refused is not None:
            self.refuse(client, refused)

    def refuse(self, client: int, reason: str) -> None:
        """Counts a device's answer as refused, for this reason."""
        self._refused[client] = reason

    def _require_sound(self, client: int, answer: Answer) -> None:
        opened = self._open.get(client)
        if opened is None:
            raise DataError(f"device {client} was not asked in round {self.number}")
        if answer.run != self.plan.settings.run:
            raise DataError("an answer of another run: the device has another plan or artefact")
        if answer.number != self.number:
            raise DataError(f"an answer of round {answer.number} in round {self.number}: it is "
                            "late or was replayed")
        if answer.held != checksum(opened.held):
            raise DataError("the device worked from another model than it was given")
        rows, steps = self.rows[client], self.plan.local_epochs * self.plan.trainer.steps_of(
            self.rows[client])
        if answer.rows != rows or answer.steps != steps:
            raise DataError(f"an answer from {answer.rows} rows in {answer.steps} steps; the "
                            f"device joined with {rows} rows, which take {steps}")
        if not np.isfinite(answer.loss):
            raise DataError(f"the device's loss is {answer.loss}")

    def close(self) -> Round:
        """Ends the round: the model moves by the answers that came, in whatever order."""
        self._drop_far()
        clients = sorted(self._answers)
        loss = float("nan")
        if clients:
            loss = self._move(clients)
            self.known.update({c: self._open[c] for c in clients})
        found = Round(self.number, tuple(clients), dict(sorted(self._refused.items())), self._up,
                      sum(self.sent.values()), loss)
        self.number += 1
        self._open, self._answers, self._refused = {}, {}, {}
        self._up, self.sent = 0, {}
        return found

    def _drop_far(self) -> None:
        if self.plan.most_norm is None or len(self._answers) < 3:
            return
        norms = {c: float(np.linalg.norm(d)) for c, (_, d) in self._answers.items()}
        most = self.plan.most_norm * float(np.median(list(norms.values())))
        for client, norm in norms.items():
            if norm > most:
                del self._answers[client]
                self.refuse(client, f"the answer moves the weights by {norm:.3g}, more than "
                                    f"{self.plan.most_norm} times the round's median")

    def _move(self, clients: Sequence[int]) -> float:
        answers = [self._answers[c][0] for c in clients]
        differences = np.stack([self._answers[c][1] for c in clients])
        rows = np.array([a.rows for a in answers], np.int64)
        steps = np.array([a.steps for a in answers], np.int64)
        if self.common is not None:
            self._move_common(differences, steps)
        if self.plan.method.normalised:
            differences = _by_step(differences, rows, steps)
        moved = self.plan.rule.combine(differences, rows)
        if self.plan.server_learning_rate != 1:
            moved = np.rint(moved * self.plan.server_learning_rate).astype(np.int64)
        self.model = self.model + moved
        return float(np.average([a.loss for a in answers], weights=rows))

    def _move_common(self, differences: Lattice, steps: NDArray[np.int64]) -> None:
        """c moves by the mean over all devices of what their control variates changed by."""
        assert self.common is not None
        rate = self.plan.settings.learning_rate
        change = np.zeros_like(self.common)
        for difference, count in zip(differences, steps):
            change += gradient(difference, int(count), rate) - self.common
        self.common = self.common + np.rint(change / len(self.rows)).astype(np.int64)


def _by_step(differences: Lattice, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> Lattice:
    """Each difference as if the device had made the mean number of steps, weighted by rows."""
    usual = float(rows @ steps) / float(rows.sum())
    return np.rint(differences * (usual / steps)[:, None]).astype(np.int64)
