"""A whole run on this machine: every device's part is here, all cores work."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from ganglion import cpu
from ganglion.errors import DataError
from ganglion.federated.device.worker import (
    Memory,
    OutOfStep,
    Worker,
    first_memory,
    own_names,
    rows_of,
)
from ganglion.federated.plan import Plan
from ganglion.federated.server import Round, Server
from ganglion.federated.store import Store
from ganglion.runtime import Trainer
from ganglion.runtime.batches import Batch
from ganglion.tensors import Array

Part = tuple[Batch, Batch]
"""A device's rows: (x, y)."""


@dataclass
class History:
    """What a run came to. `rounds`: each round's account; `figures`: the loss and accuracy of the
    model on the validation data after each round, as `Trainer.evaluate` gives them; `weights`: the
    model at the end, by name."""

    rounds: list[Round] = field(default_factory=list)
    figures: list[Mapping[str, float]] = field(default_factory=list)
    weights: Mapping[str, Array] = field(default_factory=dict)

    @property
    def bytes_up(self) -> int:
        """Of all answers, headers included."""
        return sum(r.bytes_up for r in self.rounds)

    @property
    def bytes_down(self) -> int:
        """Of all tasks, headers included."""
        return sum(r.bytes_down for r in self.rounds)

    @property
    def refused(self) -> int:
        """How many answers were refused."""
        return sum(len(r.refused) for r in self.rounds)


class Simulation:
    """The devices of a run, and the server they answer to.

    `change`: what becomes of a device's answer on its way, (device, message) -> message; tests
    put attackers there. `run`: a folder that the run is kept in; what is there of the same run is
    taken up.
    """

    def __init__(self, plan: Plan, parts: Sequence[Part],
                 change: Callable[[int, bytes], bytes] | None = None,
                 run: Path | None = None) -> None:
        if not parts:
            raise DataError("a run needs at least one device's part: (x, y)")
        self.plan, self.parts, self.change = plan, parts, change
        self.server = Server(plan, {c: rows_of(y) for c, (_, y) in enumerate(parts)})
        self._memories: dict[int, Memory] = {}
        self._first = first_memory(plan.settings, plan.trainer)
        self._trainers: SimpleQueue[Trainer] = SimpleQueue()
        self._threads = min(cpu.usable(), len(parts))
        for _ in range(self._threads):
            self._trainers.put(plan.trainer.another())
        self.store = None if run is None else Store(run, self.server)
        self._answered: list[int] = []
        if self.store is not None:
            self._memories = {c: Memory.restore(m) for c, m in self.store.memories().items()}
            self._answered = self.store.resume(self.server)

    def step(self, validation_data: Part | None = None) -> tuple[Round, Mapping[str, float]]:
        """One round, and what the model then is on the validation data."""
        clients = [c for c in self.server.choose() if c not in self._answered]
        tasks = [(c, self.server.task(c)) for c in clients]
        with ThreadPoolExecutor(self._threads) as pool:
            for client, answer in zip(clients, pool.map(lambda item: self._work(*item), tasks)):
                self._take(client, answer)
        done = self.server.close()
        figures = {} if validation_data is None else self.evaluate(*validation_data)
        if self.store is not None:
            self.store.closed(done, self.server, figures)
        self._answered = []
        return done, figures

    def _take(self, client: int, answer: bytes | DataError) -> None:
        if isinstance(answer, DataError):
            self.server.refuse(client, str(answer))
        else:
            with suppress(DataError):  # the server counts it and says why in the round's account
                self.server.receive(client, answer)
        if self.store is not None:
            memory = self._memories.get(client)
            message, refused = ((None, str(answer)) if isinstance(answer, DataError)
                                else (answer, None))
            self.store.answered(client, message, refused, self.server.sent[client],
                                None if memory is None else memory.save())

    def _work(self, client: int, task: bytes) -> bytes | DataError:
        trainer = self._trainers.get()
        try:
            worker = Worker(self.plan.settings, trainer, *self.parts[client],
                            self._memories.get(client, self._first), client)
            try:
                answer = worker.work(task)
            except OutOfStep:
                answer = worker.work(self.server.task(client, whole=True))
            self._memories[client] = worker.memory
        except DataError as error:
            return error
        finally:
            self._trainers.put(trainer)
        return answer if self.change is None else self.change(client, answer)

    def evaluate(self, x: Batch, y: Batch) -> dict[str, float]:
        """The server's model on these rows."""
        return self.server.judge().evaluate(x, y)

    def evaluate_device(self, client: int, x: Batch, y: Batch) -> dict[str, float]:
        """The same with the weights that stay on this device."""
        judge, memory = self.server.judge(), self._memories.get(client, self._first)
        judge.set_flat(memory.own, own_names(judge.state, self.plan.shared))
        return judge.evaluate(x, y)

    def weights(self) -> Mapping[str, Array]:
        """The server's model by name: what `write_back` puts into a network."""
        found = self.server.judge().get_weights()
        return {name: found[name] for name in self.plan.shared}


def simulate(plan: Plan, parts: Sequence[Part], validation_data: Part | None = None, *,
             run: str | Path | None = None,
             on_round: Callable[[Round, Mapping[str, float]], None] | None = None,
             change: Callable[[int, bytes], bytes] | None = None) -> History:
    """Runs the plan with one device for each part; the same bits for the same seed.

    `validation_data`: (x, y) that the model is measured on after each round. `run`: a folder that
    the run is kept in: killed at any moment and called again, it goes on and ends with the bits of
    the undisturbed run. `on_round`: called with each round's account and figures. `change`: as in
    `Simulation`. Raises DataError for parts without rows, for a folder that holds another run, and
    for what `Plan` and `Server` refuse.
    """
    simulation = Simulation(plan, parts, change, None if run is None else Path(run))
    history = History()
    if simulation.store is not None:
        for done, found in simulation.store.rounds():
            history.rounds.append(done)
            history.figures.append(found)
    while simulation.server.number < plan.rounds:
        done, figures = simulation.step(validation_data)
        history.rounds.append(done)
        history.figures.append(figures)
        if on_round is not None:
            on_round(done, figures)
    history.weights = simulation.weights()
    return history


def dirichlet(y: Array, devices: int, alpha: float, seed: int = 0) -> list[Array]:
    """Rows for each device, whose classes differ: the shares of every class are drawn from
    Dirichlet(alpha) (Hsu, Qi and Brown, 2019); a small alpha gives a device few classes. A device
    that came away empty gets one row of the one that has most."""
    draw = np.random.default_rng([seed, devices])
    rows: list[list[int]] = [[] for _ in range(devices)]
    for label in np.unique(y):
        members = draw.permutation(np.flatnonzero(y == label))
        cuts = np.cumsum(draw.dirichlet(np.full(devices, alpha)))[:-1] * len(members)
        for mine, part in zip(rows, np.split(members, cuts.astype(int))):
            mine.extend(part.tolist())
    for mine in rows:
        if not mine:
            mine.append(max(rows, key=len).pop())
    return [np.sort(np.array(mine)) for mine in rows]
