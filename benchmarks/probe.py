"""What a runtime takes to start, in a process of its own: `python -m benchmarks.probe NAME FILE
INPUTS` (an .npz with one array for each input). Prints JSON.

`import_ms`: importing the runtime. `start_ms`: from a file to a network that can be called.
`first_ms`: the first call. `resident_bytes`: resident memory afterwards beyond that of a process
with NumPy and the inputs.
"""

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.core import pin, resident_bytes
from benchmarks.runtimes import RUNTIMES

IMPORTED = {"ganglion": "ganglion.runtime", "ai_edge_litert": "ai_edge_litert.interpreter"}
PROCESSES = 3


def probe(runtime: str, file: Path, inputs: list[np.ndarray]) -> dict[str, float]:
    """The figures, for this process."""
    row = RUNTIMES[runtime]
    before = resident_bytes()
    moments = [time.perf_counter()]
    import_module(IMPORTED.get(row.module, row.module))
    moments.append(time.perf_counter())
    loaded = row.load(file, inputs)
    moments.append(time.perf_counter())
    loaded.call()
    moments.append(time.perf_counter())
    names = ("import_ms", "start_ms", "first_ms")
    found = {n: (b - a) * 1e3 for n, a, b in zip(names, moments, moments[1:])}
    return {**found, "resident_bytes": resident_bytes() - before}


def apart(runtime: str, file: Path, inputs: Path) -> dict[str, float]:
    """The least of each figure, measured in `PROCESSES` new processes; empty where one fails."""
    found: list[dict[str, float]] = []
    for _ in range(PROCESSES):
        done = subprocess.run([sys.executable, "-m", "benchmarks.probe", runtime, str(file),
                               str(inputs)], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stderr[-2000:])
            return {}
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: min(each[name] for each in found) for name in found[0]}


def main() -> None:
    """Prints the figures of the runtime, file and inputs that the command line names."""
    pin()
    with np.load(sys.argv[3]) as archive:
        inputs = [archive[name] for name in archive.files]
    sys.stdout.write(json.dumps(probe(sys.argv[1], Path(sys.argv[2]), inputs)) + "\n")


if __name__ == "__main__":
    main()
