"""The ctypes binding: the same calls as `_session.pyx`, for devices without the extension.

It has no pool: one inference runs on the thread that calls, whatever `threads` says.
"""

import ctypes
import threading
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from ganglion.runtime.arrays import (
    aligned_block,
    busy,
    overlap,
    refusal,
    refused,
    wrong_count,
)
from ganglion.runtime.ports import Port
from ganglion.tensors import Array

RUN = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)


class Core:
    """One generated function with its working memory. See `_session.pyi` for the contract."""

    def __init__(self, run: int, arena_bytes: int, state: NDArray[np.uint8] | None,
                 inputs: tuple[Port, ...], outputs: tuple[Port, ...], run_with: int = 0,
                 worker_bytes: int = 0, owner: object = None) -> None:
        self._run, self._owner = RUN(run), owner
        self._arena_bytes = arena_bytes
        self._state = state
        self._state_data = None if state is None else state.ctypes.data
        self._inputs, self._outputs = inputs, outputs
        self._in_table = ctypes.c_void_p * len(inputs)
        self._out_table = ctypes.c_void_p * len(outputs)
        self._arenas: list[tuple[int, NDArray[np.uint8]]] = []
        self._lock = threading.Lock()

    def run_into(self, inputs: Array | Sequence[Array], outputs: Array | Sequence[Array],
                 threads: int = 1) -> None:
        ins = _listed("input", self._inputs, inputs)
        outs = _listed("output", self._outputs, outputs)
        for k, (port, array) in enumerate(zip(self._outputs, outs, strict=True)):
            if any(np.may_share_memory(array, other) for other in (*ins, *outs[:k])):
                raise overlap(port)
        self._call(ins, outs, [a.ctypes.data for a in ins], [a.ctypes.data for a in outs])

    def run_exact(self, inputs: tuple[object, ...], threads: int = 1
                  ) -> tuple[Array, ...] | None:
        arrays = [array for port, array in zip(self._inputs, inputs) if _fits(array, port)]
        if len(arrays) != len(inputs) or len(arrays) != len(self._inputs):
            return None
        outputs = tuple(np.empty(port.shape, port.dtype) for port in self._outputs)
        self._call(arrays, outputs, [a.ctypes.data for a in arrays],
                   [a.ctypes.data for a in outputs])
        return outputs

    def run_rows(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...],
                 start: int, stop: int) -> None:
        ins = [(a.ctypes.data, a.strides[0]) for a in inputs]
        outs = [(a.ctypes.data, a.strides[0]) for a in outputs]
        for row in range(start, stop):
            self._call(inputs, outputs, [data + row * step for data, step in ins],
                       [data + row * step for data, step in outs])

    def _call(self, ins: Sequence[Array], outs: Sequence[Array], in_data: list[int],
              out_data: list[int]) -> None:
        """`ins` and `outs` are held only to outlive the call."""
        if self._state is None:
            self._enter_c(in_data, out_data, None)
            return
        if not self._lock.acquire(blocking=False):
            raise busy()
        try:
            self._enter_c(in_data, out_data, self._state_data)
        finally:
            self._lock.release()

    def _enter_c(self, in_data: list[int], out_data: list[int], state: int | None) -> None:
        try:
            arena = self._arenas.pop()
        except IndexError:
            block = aligned_block(self._arena_bytes)
            arena = block.ctypes.data, block
        code = self._run(self._in_table(*in_data), self._out_table(*out_data), state, arena[0])
        self._arenas.append(arena)
        if code:
            raise refused(code)


def _listed(what: str, ports: tuple[Port, ...], given: object) -> list[Array]:
    """The arrays of one call, checked: a sequence of them, or the only one by itself."""
    values = given if isinstance(given, tuple | list) else (given,)
    if len(values) != len(ports):
        raise wrong_count(what, ports, len(values))
    arrays: list[Array] = []
    for port, value in zip(ports, values, strict=True):
        if not _fits(value, port) or (what == "output" and not value.flags.writeable):
            raise refusal(what, port, value)
        arrays.append(value)
    return arrays


def _fits(array: object, port: Port) -> TypeGuard[Array]:
    """Whether the code can read this array as it lies in memory."""
    return (isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
            and array.dtype == port.dtype
            and array.shape == port.shape and array.flags.c_contiguous and array.flags.aligned)
