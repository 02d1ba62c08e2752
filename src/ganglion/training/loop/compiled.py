"""Steps and predictions as compiled for this machine: where training meets the build."""

import sys
from collections.abc import Sequence

import onnx_ir as ir

from ganglion.artifact import compile
from ganglion.ops.base import Array
from ganglion.runtime import Session
from ganglion.runtime.stream import Stream
from ganglion.training.callbacks import Stepper
from ganglion.training.rows.data import Arrays, prepare_inputs
from ganglion.training.step.batch import fix_batch


def compiled(model: ir.Model, example: Sequence[Array]) -> Stepper:
    """The Model built for this machine and checked on `example`, an array for each input of a
    call; its state is kept between calls."""
    session = compile(model, name="step", calibration=list(example), cores=1).session()
    return _Stateful(session.stream()) if session.state_bytes else _Stateless(session)


class _Stateful:
    """A stream whose answer is always a tuple."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def run(self, *inputs: Array) -> Sequence[Array]:
        return _listed(self._stream.run(*inputs))

    def get(self, name: str) -> Array:
        return self._stream.get(name)

    def set(self, name: str, array: Array) -> None:
        self._stream.set(name, array)


class _Stateless:
    """A session as a stepper without state."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, *inputs: Array) -> Sequence[Array]:
        return _listed(self._session.run(*inputs))

    def get(self, name: str) -> Array:
        raise KeyError(name)

    def set(self, name: str, array: Array) -> None:
        raise KeyError(name)


def predict(model: ir.Model, x: Arrays) -> list[Array]:
    """What the network answers for every row of `x`, one array [rows, ...] for each output."""
    return answers(model, prepare_inputs(fix_batch(model, 1), x))


def answers(model: ir.Model, arrays: Sequence[Array]) -> list[Array]:
    """Every output of a Model of one row for all rows of `arrays`, one for each of its inputs."""
    built = compile(model, name="rows", calibration=list(arrays), samples=1, cores=1,
                    memory_bytes=sys.maxsize)  # the batch is the caller's own
    return list(_listed(built.session().run(*arrays)))


def _listed(found: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return found if isinstance(found, tuple) else (found,)
