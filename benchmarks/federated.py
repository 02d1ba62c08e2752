"""What few bytes cost: runs of learning together on MNIST, as docs/federated.md shows them.

    GANGLION_DATA=... python -m benchmarks.federated [--seeds 3]

Accuracies and bytes do not depend on the machine; times are not measured. Accuracy is the mean of
the last five of 50 rounds.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import ganglion as gg
from ganglion import federated as fed
from ganglion import layers as L

ROUNDS = 50


@dataclass(frozen=True)
class Row:
    """One setting: so many devices, of which so many learn in a round."""

    devices: int
    a_round: int
    alpha: float
    up: fed.Codec
    down: fed.Codec
    method: fed.Method


ROWS = (
    Row(10, 10, 0.5, fed.Dense(), fed.Dense(), fed.FedAvg()),
    Row(10, 10, 0.5, fed.Stochastic(2), fed.TopK(0.1), fed.FedAvg()),
    Row(10, 10, 0.5, fed.TopK(0.02), fed.TopK(0.1), fed.FedAvg()),
    Row(100, 10, 0.5, fed.Dense(), fed.Dense(), fed.FedAvg()),
    Row(100, 10, 0.5, fed.Stochastic(2), fed.TopK(0.2), fed.FedAvg()),
    Row(10, 10, 0.1, fed.Dense(), fed.Dense(), fed.FedAvg()),
    Row(10, 10, 0.1, fed.Dense(), fed.Dense(), fed.FedProx(0.01)),
    Row(10, 10, 0.1, fed.Dense(), fed.Dense(), fed.FedNova()),
    Row(10, 10, 0.1, fed.Dense(), fed.Dense(), fed.Scaffold()))


def mnist() -> tuple[fed.Part, fed.Part]:
    """Rows to learn from and rows to measure on."""
    with np.load(Path(os.environ["GANGLION_DATA"]) / "mnist.npz") as found:
        x, x_test = (found[n].reshape(-1, 784).astype(np.float32) / 255
                     for n in ("x_train", "x_test"))
        return (x, found["y_train"].astype(np.int64)), (x_test, found["y_test"].astype(np.int64))


def figures(seeds: int) -> Iterator[tuple[Row, int, float, int, int, int | None]]:
    """Row, seed, accuracy in percent, bytes up, bytes down, first round with 95 %."""
    (x, y), held_out = mnist()
    net = gg.Sequential([gg.Input((784,)), L.Dense(64, "relu"), L.Dense(10, "softmax")],
                        name="mlp")
    step = gg.compile_training(net, loss="sparse_categorical_crossentropy", batch_size=32,
                               optimizer=gg.optimizers.SGD(0.1), sample_weight=True,
                               correction=True)
    for row in ROWS:
        for seed in range(seeds):
            parts = [(x[rows], y[rows]) for rows in fed.dirichlet(y, row.devices, row.alpha, seed)]
            plan = fed.Plan(step, rounds=ROUNDS, clients_per_round=row.a_round, method=row.method,
                            up=row.up, down=row.down, seed=seed)
            history = fed.simulate(plan, parts, held_out)
            right = [f["accuracy"] for f in history.figures]
            first = next((k + 1 for k, a in enumerate(right) if a >= 0.95), None)
            yield (row, seed, 100 * float(np.mean(right[-5:])), history.bytes_up,
                   history.bytes_down, first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    for row, seed, accuracy, up, down, first in figures(parser.parse_args().seeds):
        print(f"{row.devices} devices, {row.a_round} a round, alpha {row.alpha}, {row.method}, "  # noqa: T201
              f"{row.up} / {row.down}, seed {seed}: {accuracy:.2f} %, {up:,} bytes up, {down:,} "
              f"down, 95 % in round {first}", flush=True)


if __name__ == "__main__":
    main()
