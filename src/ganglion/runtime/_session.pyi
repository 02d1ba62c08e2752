from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganglion.runtime.ports import Port
from ganglion.tensors import Array

class Core:
    """One generated function with its working memory: what both bindings implement.

    `run`: the address of NAME_run. `state`: an aligned block that the calls read and write, or
    None. Arenas are made as they are needed, one per simultaneous call, and kept. `run_with`: the
    address of NAME_run_with, 0 where the network is not divided, and the scratch that each worker
    needs. `owner`: what keeps those addresses valid, for as long as this is there.

    `threads`: how many a call may use. A Core's pool of them serves one call at a time; other calls
    meanwhile, and all calls through ctypes, run on the caller's thread, with the same bits.
    """

    def __init__(self, run: int, arena_bytes: int, state: NDArray[np.uint8] | None,
                 inputs: tuple[Port, ...], outputs: tuple[Port, ...], run_with: int = 0,
                 worker_bytes: int = 0, owner: object = None) -> None: ...
    def run_into(self, inputs: Array | Sequence[Array],
                 outputs: Array | Sequence[Array], threads: int = 1) -> None:
        """One call, without a copy. Every array is checked; raises DataError."""
    def run_exact(self, inputs: tuple[object, ...], threads: int = 1
                  ) -> tuple[Array, ...] | None:
        """One call into new outputs; None, and no call, unless every input is already an array of
        exactly the right kind."""
    def run_rows(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...],
                 start: int, stop: int) -> None:
        """One call for each of the rows [start, stop) of arrays [rows, ...], already checked."""
