"""One core, one thread. Imports nothing that a measurement of memory would miss."""

import os
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
              "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "jax",
              "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
"""What other runtimes are told through the environment, before they are imported."""


def pin(core: int | None = None) -> int:
    """This process, and all threads that it starts from now on, on one core; which one."""
    os.environ.update(ONE_THREAD)
    if not hasattr(os, "sched_setaffinity"):
        return -1
    chosen = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {chosen})
    return chosen


def resident_bytes(field: str = "VmRSS") -> int:
    """Of this process, from /proc; 0 where there is none. "VmHWM": the most that it had, while
    what getrusage gives begins with the parent's."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    line = next(x for x in status.read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024
