from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganglion.runtime.arrays import Array
from ganglion.runtime.ports import Port

class Core:
    """One generated function with its working memory: what both bindings implement.

    `run`: the address of NAME_run. `state`: an aligned block that the calls read and write, or
    None. Arenas are made as they are needed, one per simultaneous call, and kept.
    """

    def __init__(self, run: int, arena_bytes: int, state: NDArray[np.uint8] | None,
                 inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None: ...
    def run_into(self, inputs: Array | Sequence[Array],
                 outputs: Array | Sequence[Array]) -> None:
        """One call, without a copy. Every array is checked; raises DataError."""
    def run_exact(self, inputs: tuple[object, ...]) -> tuple[Array, ...] | None:
        """One call into new outputs; None, and no call, unless every input is already an array of
        exactly the right kind."""
    def run_rows(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...],
                 start: int, stop: int) -> None:
        """One call for each of the rows [start, stop) of arrays [rows, ...], already checked."""
