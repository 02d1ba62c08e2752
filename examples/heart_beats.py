"""What kind of heart beat is this? A GRU over the 140 samples of one beat.

    python -m examples.heart_beats

Data: ECG5000_TRAIN.txt of the UCR time series archive (Dau and others 2018,
https://www.timeseriesclassification.com/description.php?Dataset=ECG5000): 500 beats of 140 samples,
label first, 1 (normal) to 5; in the data's folder or its sub-folder `timeseries`. The archive
publishes no checksum, so nothing is downloaded.

Five parts, each holding its share of every kind, are tested in turn by a network trained on the
other four. Settings were chosen on a quarter held out of the first four parts (--select).
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

import ganglion as gg
from examples.common import accuracy, held_out, need, options, report
from ganglion import layers as L

EPOCHS, PARTS, SAMPLES_A_STEP = 40, 5, 4
KINDS = 5


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """x float32 [500, 35, 4], four samples a step; y from 0."""
    places = [folder / "timeseries" / "ECG5000_TRAIN.txt", folder / "ECG5000_TRAIN.txt"]
    path = next((p for p in places if p.exists()), places[1])
    table = np.loadtxt(need(path, "https://www.timeseriesclassification.com"), dtype=np.float32)
    return table[:, 1:].reshape(len(table), -1, SAMPLES_A_STEP), table[:, 0].astype(np.int32) - 1


def network(seed: int) -> ir.Model:
    """GRU(32), then the five kinds."""
    return gg.Sequential([
        gg.Input((140 // SAMPLES_A_STEP, SAMPLES_A_STEP)), L.GRU(32),
        L.Dense(KINDS, activation="softmax"),
    ], name="heart_beats", seed=seed)


def train(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> ir.Model:
    """The network after these beats."""
    net, _ = gg.fit(network(seed), x, y, loss="sparse_categorical_crossentropy",
                    optimizer=gg.optimizers.Adam(learning_rate=0.003), epochs=epochs,
                    batch_size=16, seed=seed)
    return net


def cases(y: np.ndarray, select: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to train on, rows to test on) in turn."""
    part = held_out(y, PARTS)
    if not select:
        yield from ((np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(PARTS))
        return
    seen = np.flatnonzero(part != PARTS - 1)
    inner = held_out(y[seen], 4)
    yield from ((seen[inner != k], seen[inner == k]) for k in range(4))


def main() -> None:
    """Trains, tests and compiles as the command line asks."""
    chosen = options(__doc__, EPOCHS)
    x, y = load(chosen.data)
    start, found = time.perf_counter(), []
    for learn, test in cases(y, chosen.select):
        net = train(x[learn], y[learn], chosen.seed, chosen.epochs)
        found.append(accuracy(net, x[test], y[test]))
    parts = ", ".join(f"{a:.1%}" for a in found)
    report(net, x, [f"accuracy {np.mean(found):.2%}, the mean of {parts}",
                    f"trained and tested in {time.perf_counter() - start:.1f} s"])


if __name__ == "__main__":
    main()
