"""What a call costs beyond the network itself: python benchmarks/overhead.py

The network is the smallest there is, y = x w + b from two numbers to one, so that nearly all of the
time is the way from Python into C and back. Microseconds a call: the best and the median of many
short runs of the clock.
"""

import statistics
import sys
import timeit

import numpy as np

import ganglion as gg
from ganglion import layers
from ganglion.errors import ToolchainError
from ganglion.runtime import Session

CALLS, RUNS = 2000, 100


def measure(call: str, names: dict[str, object]) -> tuple[float, float]:
    """Best and median microseconds of one call."""
    times = timeit.repeat(call, globals=names, number=CALLS, repeat=RUNS)
    return min(times) / CALLS * 1e6, statistics.median(times) / CALLS * 1e6


def main() -> None:
    """Print the table, one line for each binding and way of calling."""
    net = gg.Sequential([gg.Input((2,)), layers.Dense(1)])
    files = gg.compile(net, target="host").files
    x, y = np.ones((1, 2), np.float32), np.empty((1, 1), np.float32)
    sys.stdout.write(f"{'binding':10}{'call':24}{'best µs':>10}{'median µs':>12}\n")
    for binding in ("cython", "ctypes"):
        try:
            session = Session.from_files(files, binding=binding)
        except ToolchainError as missing:
            sys.stdout.write(f"{binding:10}{missing}\n")
            continue
        names = {"session": session, "stream": session.stream(), "x": x, "y": y}
        for call in ("session.run_into(x, y)", "stream.run_into(x, y)", "session.run(x)"):
            best, median = measure(call, names)
            sys.stdout.write(f"{binding:10}{call:24}{best:10.3f}{median:12.3f}\n")


if __name__ == "__main__":
    main()
