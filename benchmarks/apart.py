"""A trainer in a process of its own: Keras has one back end a process.

`python -m benchmarks.apart TRAINER NETWORK BATCH` (an .npz with x and y) answers one line of JSON
for each line that it reads: {"turn": seconds} by the median of that turn's calls in µs, {"loss":
true} by the loss of one step. It waits in between and so leaves the core to the others.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from benchmarks.networks import TRAINING, Network
from benchmarks.timing import Turn, turn_of
from benchmarks.trainers import TRAINERS, Trainer


class Apart:
    """The other process, started by `with`; pinned to this process's core, as its child."""

    def __init__(self, trainer: Trainer, network: Network, x: np.ndarray, y: np.ndarray) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "batch.npz"
        np.savez(file, x=x, y=y)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.apart", trainer.name, network.name, str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **trainer.environment})

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with self._process:
            _open(self._process.stdin).close()
        self._folder.cleanup()

    def turn(self, seconds: float) -> float:
        """The median of the calls made in `seconds`, µs."""
        return self._ask({"turn": seconds})

    def loss(self) -> float:
        """Of one step."""
        return self._ask({"loss": True})

    def _ask(self, question: Mapping[str, object]) -> float:
        requests = _open(self._process.stdin)
        requests.write(json.dumps(question) + "\n")
        requests.flush()
        answer = _open(self._process.stdout).readline()
        if not answer:
            raise RuntimeError(f"benchmarks.apart ended with exit code {self._process.wait()}; "
                               "its own message is above")
        return float(json.loads(answer))


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the process was started without a pipe")
    return stream


def main() -> None:
    """Serves until its input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    trainer, wanted, file = sys.argv[1:]
    network = next(n for n in TRAINING if n.name == wanted)
    with np.load(file) as batch:
        step = TRAINERS[trainer].load(network, batch["x"], batch["y"])
    turn: Turn | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "loss" in asked:
            found = step.loss()
        else:
            turn = turn or turn_of(step.call)
            found = turn(asked["turn"])
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
