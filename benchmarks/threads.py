"""One inference on several threads: `python -m benchmarks.threads`, µs a call by number of threads.

Unlike the other benchmarks it is not pinned to one core. The least time of all calls is told: a
thread that has to wait for a busy core tells of the machine's other work, not of the network.
"""

import argparse
import os
import sys
import time
from types import ModuleType

import numpy as np

import ganglion as gg
from benchmarks.networks import INFERENCE, Described, Network, chain

SLICE_SECONDS = 0.05


def image_layers(L: ModuleType) -> Described:
    """Five convolutions over 96 x 96 x 3, 239 million multiply-adds."""
    return chain(L.Input((96, 96, 3)), L.Conv2D(32, 3, padding="same", activation="relu"),
                 L.Conv2D(64, 3, padding="same", strides=2, activation="relu"),
                 L.Conv2D(64, 3, padding="same", activation="relu"),
                 L.Conv2D(128, 1, activation="relu"),
                 L.Conv2D(128, 3, strides=2, padding="same", activation="relu"),
                 L.GlobalAveragePooling2D(), L.Dense(10))


NETWORKS = (*(n for n in INFERENCE if n.name in ("ResNet-8 32x32", "MobileNetV2 0.35 96x96")),
            Network("five convolutions 96x96", image_layers))


def measured(network: Network, integer: bool, threads: list[int], seconds: float
             ) -> dict[int, float]:
    """Least µs of a call for each number of threads, all in turn in one process."""
    model = network.model()
    shape = [int(d) for d in list(model.graph.inputs[0].shape or ())[1:]]  # type: ignore[arg-type]
    x = np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)
    if integer:
        model = gg.quantize(model, calibration=x)
    files = gg.compile(model, cores=max(threads), check=False).files
    sessions = {count: gg.Session.from_files(files, threads=count) for count in threads}
    best = dict.fromkeys(threads, float("inf"))
    for _ in range(max(1, round(seconds / SLICE_SECONDS))):
        for count, session in sessions.items():
            best[count] = min(best[count], _least(session, x[:1]))
    return best


def _least(session: gg.Session, x: np.ndarray) -> float:
    """The quickest of the calls of one slice of time, in µs."""
    y = np.empty(session.outputs[0].shape, session.outputs[0].dtype)
    best, clock = float("inf"), time.perf_counter
    end = clock() + SLICE_SECONDS
    while (start := clock()) < end:
        session.run_into(x, y)
        best = min(best, clock() - start)
    return best * 1e6


def main() -> None:
    """Prints a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each number of threads")
    chosen = parser.parse_args()
    for network in NETWORKS:
        for integer in (False, True):
            times = measured(network, integer, chosen.threads, chosen.seconds)
            shown = ", ".join(f"{count} threads {us:.1f} µs" for count, us in times.items())
            sys.stdout.write(f"{network.name}, {'int8' if integer else 'f32'}: {shown}\n")


if __name__ == "__main__":
    main()
