"""Calling a built network on arrays."""

import os
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganglion import cpu
from ganglion.errors import DataError
from ganglion.runtime.arrays import Given, arrange, convert, dequantize, quantize
from ganglion.runtime.binding import BINDING, Core, core_of
from ganglion.runtime.library import Loaded, load_files, load_path
from ganglion.runtime.ports import Function, Port, StateTensor
from ganglion.runtime.stream import Stream
from ganglion.tensors import Array

WORTH_SECONDS = 300e-6
"""Work below this is done by the calling thread: waking others takes tens of microseconds."""

MOST_THREADS = 256
"""What a pool of the compiled binding holds."""

RANGES_PER_THREAD = 4
"""Rows are handed out in this many parts per thread, for cores that are not equally fast."""


class Session:
    """A built network, ready to be called.

    `path`: the folder that `Artifact.save` wrote, or a library file. Threads may share a session.
    `threads`: how many threads a call may use, for many rows or inside of one inference; by default
    rows take as many as this process may use, and an inference stays on the thread that calls.
    Raises ModelError for what is no artefact, TrustError for a changed file, TargetError for a
    library of another machine, DataError for `threads` that is no number from 1 up.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None,
                 binding: str = BINDING) -> None:
        self._prepare(load_path(Path(path)), threads, binding)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, threads: int | None = None,
                   binding: str = BINDING) -> "Session":
        """A session of an artefact in memory: its files by name, `manifest.json` among them."""
        session = cls.__new__(cls)
        session._prepare(load_files(files, "the artefact"), threads, binding)
        return session

    def _prepare(self, loaded: Loaded, threads: int | None, binding: str) -> None:
        self._threads = _checked(threads)
        self._loaded = loaded
        self._binding = binding
        self._inputs, self._outputs = loaded.description.inputs, loaded.description.outputs
        self._one_row = loaded.description.one_row
        self._stateless = loaded.state_bytes == 0
        self._core = core_of(loaded, binding, None)

    @property
    def name(self) -> str:
        """The network's C name."""
        return self._loaded.description.name

    @property
    def digest(self) -> str:
        """Names the Model that it was built from: SHA-256, as hexadecimal digits."""
        return self._loaded.description.digest

    @property
    def description(self) -> Mapping[str, object]:
        """The library's own description: names, shapes, scales, version, the Model's digest."""
        return self._loaded.raw_description

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What `run` takes, in order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What `run` gives, in order."""
        return self._outputs

    @property
    def arena_bytes(self) -> int:
        """Working memory of one call on one thread."""
        return self._loaded.arena_bytes

    @property
    def worker_bytes(self) -> int:
        """What is added to it for each thread, of two or more, inside of one inference."""
        return self._loaded.worker_bytes

    @property
    def divided(self) -> bool:
        """Whether one inference can use several threads: large networks, built for several cores,
        called through the compiled binding."""
        return self._loaded.run_with != 0 and self._binding == "cython"

    @property
    def state_bytes(self) -> int:
        """Memory kept between the calls of a stream; 0 for a network without state."""
        return self._loaded.state_bytes

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of its functions: "run", then those that streams may `call` besides."""
        return ("run", *(f.name for f in self._loaded.description.entries))

    @property
    def state(self) -> tuple[StateTensor, ...]:
        """What a stream keeps between calls."""
        return self._loaded.description.state

    def function(self, name: str = "run") -> Function:
        """What a function of the library takes and gives: `run`, or a further one that streams
        may call. Raises DataError for an unknown name."""
        return self._loaded.function(name)

    def run(self, *inputs: Given, threads: int | None = None) -> Array | tuple[Array, ...]:
        """The outputs, freshly allocated: one array, or a tuple in the order of `outputs`.

        `inputs`: arrays in the order of `inputs`, or one mapping by name. They are converted where
        no meaning is lost (see `runtime.arrays`); NaN passes through. A network of one row, with
        shapes [1, ...], takes any number of rows [rows, ...] and gives as many; long work is spread
        over `threads` (default: the session's) and gives the same bits.
        Raises DataError for a wrong number, shape or dtype, and for a network with state.
        """
        if not self._stateless:
            raise self._keeps_state()
        threads = self._threads if threads is None else _checked(threads)
        exact = self._core.run_exact(inputs, threads or 1)
        if exact is not None:
            return exact[0] if len(exact) == 1 else exact
        one_row = self._one_row
        arrays = tuple(convert(port, value, one_row)
                       for port, value in zip(self._inputs, arrange(self._inputs, inputs)))
        rows = _common_rows(self._inputs, arrays) if one_row else 1
        outputs = tuple(np.empty((rows, *p.shape[1:]) if one_row else p.shape, p.dtype)
                        for p in self._outputs)
        if one_row and rows != 1:
            _run_rows(self._core, arrays, outputs, rows, threads)
        else:
            self._core.run_into(arrays, outputs, threads or 1)
        return outputs[0] if len(outputs) == 1 else outputs

    def run_into(self, inputs: Array | Sequence[Array], outputs: Array | Sequence[Array]) -> None:
        """One call without allocating: an array each where there is one, else sequences in order.

        Shapes, dtypes, byte order and layout must be exactly those of `inputs` and `outputs`;
        outputs must not overlap inputs. It uses the session's threads.
        Raises DataError otherwise, and for a network with state.
        """
        if not self._stateless:
            raise self._keeps_state()
        self._core.run_into(inputs, outputs, self._threads or 1)

    def stream(self) -> Stream:
        """A run of calls that share state, freshly reset. Each stream has its own memory."""
        return Stream(self._loaded, self._binding, self._threads or 1)

    def quantize_input(self, value: ArrayLike, index: int = 0) -> Array:
        """Real numbers as input `index`'s integers: value / scale + zero point, rounded half to
        even, saturated. Raises DataError for NaN or an input that is not quantised."""
        return quantize(self._inputs[index], value)

    def dequantize_output(self, value: Array, index: int = 0) -> NDArray[np.float32]:
        """The real numbers that output `index`'s integers stand for. Raises DataError for an
        output that is not quantised."""
        return dequantize(self._outputs[index], value)

    def _keeps_state(self) -> DataError:
        return DataError(f"network {self.name!r} keeps state between calls: take "
                         f"stream = session.stream(), then stream.run(...)")


def _common_rows(ports: Sequence[Port], arrays: Sequence[Array]) -> int:
    """The number of rows that all inputs have. Raises DataError where they differ."""
    found = {port.name: array.shape[0] for port, array in zip(ports, arrays)}
    if len(set(found.values())) != 1:
        raise DataError("the inputs differ in their number of rows: "
                        + ", ".join(f"{name!r} has {rows}" for name, rows in found.items()))
    return int(arrays[0].shape[0])


def _run_rows(core: Core, inputs: tuple[Array, ...], outputs: tuple[Array, ...], rows: int,
              threads: int | None) -> None:
    """All rows, over threads where the first ones say that it is worth it."""
    available = cpu.usable() if threads is None else threads
    done, took, tried = 0, 0.0, 1
    while done < rows and took < WORTH_SECONDS / 4:
        until = min(rows, done + tried)
        start = time.perf_counter()
        core.run_rows(inputs, outputs, done, until)
        took = time.perf_counter() - start
        left = took / (until - done) * (rows - until)
        done, tried = until, tried * 4
        if done < rows and (available == 1 or left < WORTH_SECONDS):
            core.run_rows(inputs, outputs, done, rows)
            return
    if done < rows:
        _spread(core, inputs, outputs, done, rows, available)


def _spread(core: Core, inputs: tuple[Array, ...], outputs: tuple[Array, ...], start: int,
            stop: int, threads: int) -> None:
    """Rows [start, stop) over that many threads, each range with an arena of its own."""
    from concurrent.futures import ThreadPoolExecutor

    parts = min(threads * RANGES_PER_THREAD, stop - start)
    bounds = [start + (stop - start) * k // parts for k in range(parts + 1)]
    with ThreadPoolExecutor(min(threads, parts), "ganglion") as pool:
        ranges = [pool.submit(core.run_rows, inputs, outputs, first, last)
                  for first, last in pairwise(bounds)]
        for part in ranges:
            part.result()


def _checked(threads: int | None) -> int | None:
    """`threads` as given. Raises DataError for what is no number of threads."""
    if threads is None or (isinstance(threads, int) and not isinstance(threads, bool)
                           and 1 <= threads <= MOST_THREADS):
        return threads
    raise DataError(f"threads={threads!r}: expected a whole number from 1 to {MOST_THREADS}, or "
                    "None for the default")
