"""Calls that share state: a recurrent network step by step, a training step after another."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganglion.errors import DataError
from ganglion.runtime.arrays import Given, aligned_block, arrange, convert
from ganglion.runtime.binding import Core, core_of, core_type
from ganglion.runtime.library import Loaded
from ganglion.runtime.ports import Port, StateTensor
from ganglion.tensors import Array

MAGIC = b"GANGLION-STATE-1"
DIGEST_BYTES = 32
HEADER_BYTES = len(MAGIC) + 2 * DIGEST_BYTES


class Stream:
    """A network with its own state block. Made by `Session.stream()`, freshly reset.

    Two threads must not call one stream at once (DataError); each may have its own.
    """

    def __init__(self, loaded: Loaded, binding: str, threads: int = 1) -> None:
        self._loaded = loaded
        self._block = aligned_block(loaded.state_bytes)
        self._state = self._block[:loaded.state_bytes]
        self._inputs, self._outputs = loaded.description.inputs, loaded.description.outputs
        self._tensors = {tensor.name: tensor for tensor in loaded.description.state}
        self._views = {name: tensor.view(self._state) for name, tensor in self._tensors.items()}
        self._binding = binding
        self._core = core_of(loaded, binding, self._block)
        self._threads = threads
        self._cores = {"run": self._core}
        self.reset()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the state's tensors."""
        return tuple(self._tensors)

    def run(self, *inputs: Given) -> Array | tuple[Array, ...]:
        """One step: like `Session.run`, but for exactly the shapes of the ports, and it moves the
        state on. Raises DataError for a wrong number, shape or dtype; the state stays then."""
        exact = self._core.run_exact(inputs, self._threads)
        if exact is not None:
            return exact[0] if len(exact) == 1 else exact
        return self._converted(self._core, self._inputs, self._outputs, inputs)

    def call(self, function: str, *inputs: Given) -> Array | tuple[Array, ...]:
        """One call of another function of the library on this state; else as `run`, which is
        `call("run", ...)`. Raises DataError for an unknown name."""
        described = self._loaded.function(function)
        if function not in self._cores:
            self._cores[function] = core_type(self._binding)(
                self._loaded.address(function), described.arena_bytes, self._block,
                described.inputs, described.outputs, owner=self._loaded.library)
        return self._converted(self._cores[function], described.inputs, described.outputs, inputs)

    def run_into(self, inputs: Array | Sequence[Array], outputs: Array | Sequence[Array]) -> None:
        """One step without allocating, as `Session.run_into`."""
        self._core.run_into(inputs, outputs, self._threads)

    def reset(self) -> None:
        """Back to the initial state, as built into the network."""
        self._state[...] = 0
        if self._loaded.state_bytes:
            self._loaded.reset(self._block.ctypes.data)

    def get(self, name: str) -> Array:
        """A copy of one tensor of the state. Raises DataError for an unknown name."""
        return self._view(name).copy()

    def set(self, name: str, value: ArrayLike) -> None:
        """Overwrite one tensor of the state; converted as `run` converts inputs. Raises DataError
        for an unknown name, a wrong shape or dtype."""
        tensor = self._tensor(name)
        port = Port(name, tensor.dtype, tensor.shape)
        self._view(name)[...] = convert(port, value, False)

    def gather(self, names: Sequence[str]) -> Array:
        """The numbers of these tensors of the state, float32 [n], one behind the other."""
        views = [self._view(name).reshape(-1) for name in names]
        return np.concatenate([*views, np.zeros(0, np.float32)], dtype=np.float32)

    def scatter(self, names: Sequence[str], numbers: Array) -> None:
        """Puts `numbers`, float32 [n], where `gather` took them from. Raises DataError, and changes
        nothing, for another count of numbers."""
        views = [self._view(name) for name in names]
        sizes = [view.size for view in views]
        if numbers.shape != (sum(sizes),):
            raise DataError(f"numbers of shape {list(numbers.shape)} for {len(views)} tensors "
                            f"that hold {sum(sizes)}")
        for view, part in zip(views, np.split(numbers, np.cumsum(sizes)[:-1])):
            view[...] = part.reshape(view.shape)

    def copied(self) -> NDArray[np.uint8]:
        """A copy of the whole state, for `put`."""
        return self._state.copy()

    def put(self, state: NDArray[np.uint8]) -> None:
        """Back to a state that this stream itself `copied`."""
        self._state[...] = state

    def broken(self) -> str | None:
        """The first float tensor of the state that holds NaN or infinity; None where none does."""
        return next((name for name, view in self._views.items() if view.dtype.kind == "f"
                     and not np.isfinite(view).all()), None)

    def save(self) -> bytes:
        """The whole state, with the network's digest and a checksum in front."""
        payload = self._state.tobytes()
        return MAGIC + self._identity() + hashlib.sha256(payload).digest() + payload

    def restore(self, saved: bytes) -> None:
        """Take up what `save` gave. Raises DataError, and changes nothing, for the state of another
        network and for damaged bytes."""
        start = saved[:HEADER_BYTES]
        payload = saved[HEADER_BYTES:]
        if start[:len(MAGIC)] != MAGIC:
            raise DataError("these bytes are no saved state: give what Stream.save() returned")
        if start[len(MAGIC):len(MAGIC) + DIGEST_BYTES] != self._identity():
            raise DataError(f"this state was saved by another network than "
                            f"{self._loaded.description.name!r} as built now: restore it into the "
                            f"build that saved it")
        if (start[len(MAGIC) + DIGEST_BYTES:] != hashlib.sha256(payload).digest()
                or len(payload) != self._loaded.state_bytes):
            raise DataError(f"the saved state is damaged: {len(payload)} bytes, expected "
                            f"{self._loaded.state_bytes} with the checksum in front")
        self._state[...] = np.frombuffer(payload, np.uint8)

    def _converted(self, core: Core, ins: Sequence[Port], outs: Sequence[Port],
                   given: Sequence[Given]) -> Array | tuple[Array, ...]:
        arrays = tuple(convert(port, value, False)
                       for port, value in zip(ins, arrange(ins, given)))
        outputs = tuple(np.empty(port.shape, port.dtype) for port in outs)
        core.run_into(arrays, outputs, self._threads)
        return outputs[0] if len(outputs) == 1 else outputs

    def _view(self, name: str) -> Array:
        self._tensor(name)
        return self._views[name]

    def _tensor(self, name: str) -> StateTensor:
        if name not in self._tensors:
            known = ", ".join(map(repr, self._tensors)) or "none"
            raise DataError(f"the state has no tensor {name!r}; it has {known}")
        return self._tensors[name]

    def _identity(self) -> bytes:
        """32 bytes that only this network with this layout of the state has."""
        tensors = self._loaded.description.state
        layout = [(t.name, str(t.dtype), t.shape, t.order, t.offset) for t in tensors]
        text = repr((self._loaded.description.digest, self._loaded.state_bytes, layout))
        return hashlib.sha256(text.encode()).digest()
