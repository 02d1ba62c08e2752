"""`python -m benchmarks.learning TRAINER`: seconds until a network tells MNIST's digits apart.

The CNN conv16-pool-conv32-pool-64-10, batch 32, Adam; the others see the rows in one same order,
our `fit` in the one that it draws; after each quarter of an epoch the test set is judged while the
clock stands. Prints JSON:
`seconds` from the imported library (compiling and tracing included) to `WANTED`, `start_seconds`
of them before the first step, `peak_bytes` of resident memory of this process, and
`points` [[seconds, accuracy], ...]. Each trainer works by the loop that its own documentation
shows: ours and Keras's `fit`, PyTorch's and JAX's loop over batches.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core import pin, resident_bytes
from benchmarks.networks import TRAINING, Network
from benchmarks.trainers import BATCH, TRAINERS, keras_model
from benchmarks.trainers_jax import jax_learner
from benchmarks.trainers_torch import torch_learner
from ganglion.training.callbacks import Callback, Logs, Run
from ganglion.training.fit import fit
from ganglion.training.loop.compiled import predict

NETWORK = "conv16-conv32-64-10 28x28"
WANTED = 0.985
EPOCHS = 6
QUARTERS = 4


@dataclass
class Digits:
    """MNIST as float32 [N, 28, 28, 1] from 0 to 1 and int32 labels."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> "Digits":
        """From mnist.npz."""
        with np.load(folder / "mnist.npz") as archive:
            x, x_test = (archive[n].astype(np.float32)[..., None] / 255 for n in
                         ("x_train", "x_test"))
            return cls(x, archive["y_train"].astype(np.int32), x_test,
                       archive["y_test"].astype(np.int32))

    def parts(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The quarters of an epoch, whole batches, in an order of its own."""
        order = np.random.default_rng(epoch).permutation(len(self.x))
        size = len(order) // QUARTERS // BATCH * BATCH
        rows = [order[k * size:(k + 1) * size] for k in range(QUARTERS)]
        return [(self.x[r], self.y[r]) for r in rows]


@dataclass
class Meter:
    """A clock that stands while the network is judged."""

    digits: Digits
    seconds: float = 0.0
    start_seconds: float = 0.0
    points: list[tuple[float, float]] = field(default_factory=list)
    _since: float = 0.0

    def start(self) -> None:
        """Lets the clock run."""
        self._since = time.perf_counter()

    def ready(self) -> None:
        """Everything before the first step is done."""
        self.start_seconds = time.perf_counter() - self._since

    def reached(self, outputs: Callable[[np.ndarray], Any]) -> bool:
        """Judges on the test set, `outputs` giving [N, 10]; whether that is enough."""
        self.seconds += time.perf_counter() - self._since
        right = np.argmax(np.asarray(outputs(self.digits.x_test)), 1) == self.digits.y_test
        self.points.append((self.seconds, float(right.mean())))
        self.start()
        return self.points[-1][1] >= WANTED


def ganglion(network: Network, digits: Digits, meter: Meter) -> None:
    """`fit`, with a callback that judges."""
    model = network.model()

    class Judge(Callback):
        def on_train_begin(self, run: Run) -> None:
            meter.ready()

        def on_batch_end(self, step: int, logs: Logs, run: Run) -> None:
            if (step + 1) % (run.steps // QUARTERS) or run.stop:
                return
            trained = run.trained()
            run.stop = meter.reached(lambda x: predict(trained, x)[0])

    meter.start()
    fit(model, digits.x, digits.y, loss=network.loss, optimizer=network.optimizer,
        epochs=EPOCHS, batch_size=BATCH, callbacks=[Judge()])


def keras(network: Network, digits: Digits, meter: Meter) -> None:
    """`fit` on a quarter of an epoch at a time."""
    meter.start()
    model = keras_model(network)
    meter.ready()
    for epoch in range(EPOCHS):
        for x, y in digits.parts(epoch):
            model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
            if meter.reached(lambda x: model.predict(x, batch_size=1000, verbose=0)):
                return


def looped(make: Callable[[Network, np.ndarray], tuple[Callable[[np.ndarray, np.ndarray], object],
                                                       Callable[[np.ndarray], Any]]]
           ) -> Callable[[Network, Digits, Meter], None]:
    """A loop over batches of `make`'s step(x, y), judged by its outputs(x)."""
    def learn(network: Network, digits: Digits, meter: Meter) -> None:
        meter.start()
        step, outputs = make(network, digits.x[:BATCH])
        meter.ready()
        for epoch in range(EPOCHS):
            for x, y in digits.parts(epoch):
                for k in range(0, len(x), BATCH):
                    step(x[k:k + BATCH], y[k:k + BATCH])
                if meter.reached(outputs):
                    return
    return learn


LEARNERS: Mapping[str, Callable[[Network, Digits, Meter], None]] = {
    "ganglion": ganglion, "PyTorch": looped(torch_learner), "JAX": looped(jax_learner),
    "Keras on JAX": keras, "Keras on TensorFlow": keras}
"""A row for each of `TRAINERS`."""


def apart(name: str) -> dict[str, Any]:
    """The figures of a trainer, from a process of its own on this process's core."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.learning", name], check=True,
                          stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **TRAINERS[name].environment})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Prints the figures of the trainer that the command line names."""
    [name] = sys.argv[1:]
    pin()
    os.environ.update(TRAINERS[name].environment)
    import_module(TRAINERS[name].module)
    meter = Meter(Digits.load(Path(os.environ["GANGLION_DATA"])))
    LEARNERS[name](next(n for n in TRAINING if n.name == NETWORK), meter.digits, meter)
    there = [seconds for seconds, accuracy in meter.points if accuracy >= WANTED]
    sys.stdout.write(json.dumps({
        "seconds": there[0] if there else None, "start_seconds": meter.start_seconds,
        "peak_bytes": resident_bytes("VmHWM"), "points": meter.points}) + "\n")


if __name__ == "__main__":
    main()
