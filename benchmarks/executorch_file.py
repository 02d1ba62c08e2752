"""A described network as an ExecuTorch program, in a process of its own:
`python -m benchmarks.executorch_file NETWORK FILE`.

The PyTorch twin in inference mode, lowered for XNNPACK. It has weights of its own, so its answers
are not compared. Exporting unrolls recurrent layers, which can take very long: there is a limit.
"""

import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np

from benchmarks.core import pin
from benchmarks.networks import INFERENCE, Network

LIMIT_SECONDS = 60.0


def write(network: Network, path: Path) -> bool:
    """Whether there is a program at `path` now: not without ExecuTorch, nor for a network with a
    layer that has no twin."""
    if util.find_spec("executorch") is None:
        return False
    command = [sys.executable, "-m", "benchmarks.executorch_file", network.name, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and path.is_file()


def main() -> None:
    """Exports the named network."""
    pin()
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from benchmarks.trainers_torch import graph
    from ganglion.ops.values import static_shape
    from ganglion.training.step.batch import fix_batch

    network = next(n for n in INFERENCE if n.name == sys.argv[1])
    shape = static_shape(fix_batch(network.model(), 1).graph.inputs[0])
    x = np.zeros(shape, np.float32)
    given = torch.from_numpy(np.array(np.moveaxis(x, -1, 1), order="C") if x.ndim == 4 else x)
    module = graph(network, x).eval().to(memory_format=torch.contiguous_format)
    program = to_edge_transform_and_lower(torch.export.export(module, (given,)),
                                          partitioner=[XnnpackPartitioner()]).to_executorch()
    Path(sys.argv[2]).write_bytes(program.buffer)


if __name__ == "__main__":
    main()
