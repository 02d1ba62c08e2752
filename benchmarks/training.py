"""`python -m benchmarks.training [-o FOLDER]`: one training step, ours and every peer's.

One process on one pinned core, batch 32, in turn over many rounds (see `timing`). Writes
training.json, training.md and training.png into the folder.
"""

import argparse
import math
import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import learning, machine, report, work
from benchmarks.apart import Apart
from benchmarks.core import pin
from benchmarks.installed import installed_bytes
from benchmarks.networks import TRAINING, Network
from benchmarks.runtimes import version
from benchmarks.timing import take_turns, turn_of
from benchmarks.trainers import BATCH, TRAINERS
from ganglion.errors import GanglionError
from ganglion.ops.values import static_shape
from ganglion.training.step.batch import fix_batch

OURS = "ganglion"
Row = dict[str, Any]


def main() -> None:
    """Measures what the command line asks for, prints and writes the table."""
    options = _options()
    found: Row = {
        "core": pin(options.core), "machine": machine.name(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "load_before": machine.load(),
        "runtimes": {t.name: version(t.module) for t in TRAINERS.values()}}
    peaks = machine.measure()
    rows: list[Row] = []
    for network in TRAINING:
        if options.only and options.only not in network.name:
            continue
        try:
            rows.append(measure(network, options.seconds))
        except GanglionError as error:
            rows.append({"name": network.name, "skipped": f"{type(error).__name__}: {error}"})
        _say(report.one_line(rows[-1]))
    peaks = peaks.best(machine.measure())
    for row in rows:
        if "us" in row:
            # Forward, the gradient of the inputs and that of the weights.
            bound = peaks.bound_us(3 * row["macs"] * BATCH, 0, False)
            row |= {"bound_us": bound, "bound_share": bound / row["us"][OURS]}
    found |= {"networks": rows, "learning": [] if options.only else learned(),
              "load_after": machine.load(),
              "float_gmacs": peaks.float_macs / 1e9}
    report.write_training(found, options.output)
    _say((options.output / "training.md").read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--only", help="networks whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each trainer and network")
    parser.add_argument("--core", type=int, help="to run on; the last one by default")
    return parser.parse_args()


def measure(network: Network, seconds: float) -> Row:
    """Everything about one network."""
    model = fix_batch(network.model(), 1)
    x, y = batch(network, static_shape(model.graph.inputs[0])[1:],
                 static_shape(model.graph.outputs[0])[1:])
    with ExitStack() as processes:
        turns, losses = {}, {}
        for trainer in (t for t in TRAINERS.values() if version(t.module)):
            if trainer.environment:
                other = processes.enter_context(Apart(trainer, network, x, y))
                losses[trainer.name], turns[trainer.name] = other.loss, other.turn
            else:
                step = trainer.load(network, x, y)
                losses[trainer.name], turns[trainer.name] = step.loss, turn_of(step.call)
        first = {name: loss() for name, loss in losses.items()}
        times = take_turns(turns, seconds, 0.05)
        last = {name: loss() for name, loss in losses.items()}
    for name in losses:
        if not last[name] < first[name] or not math.isfinite(last[name]):
            raise SystemExit(f"{network.name}: {name} did not learn its batch "
                             f"({first[name]} -> {last[name]})")
    peers = {name: us for name, us in times.items() if name != OURS}
    return {"name": network.name, "macs": work.macs(model), "us": times,
            "best_peer": min(peers, key=peers.__getitem__, default=""),
            "ratio": min(peers.values()) / times[OURS] if peers else None,
            "samples_a_second": BATCH / times[OURS] * 1e6, "loss_first": first, "loss_last": last}


def learned() -> list[Row]:
    """Of every trainer: seconds to an accuracy, peak memory and installed bytes; empty without
    GANGLION_DATA."""
    if "GANGLION_DATA" not in os.environ:
        _say("GANGLION_DATA is not set: no MNIST, so no seconds to an accuracy")
        return []
    rows = []
    for trainer in (t for t in TRAINERS.values() if version(t.module)):
        rows.append({"name": trainer.name, **learning.apart(trainer.name),
                     "installed_bytes": installed_bytes(trainer.module, *trainer.beside)})
        _say(f"{trainer.name}: {rows[-1]['seconds']} s to {learning.WANTED:.1%} on MNIST")
    return rows


def batch(network: Network, inputs: tuple[int, ...], outputs: tuple[int, ...]
          ) -> tuple[np.ndarray, np.ndarray]:
    """One drawn batch: labels for cross-entropy, zeros and ones for the binary one, else reals."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((BATCH, *inputs)).astype(np.float32)
    if network.loss == "sparse_categorical_crossentropy":
        return x, generator.integers(0, outputs[-1], BATCH, np.int32)
    y = generator.standard_normal((BATCH, *outputs)).astype(np.float32)
    return x, (y > 0).astype(np.float32) if network.loss == "binary_crossentropy" else y


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
