"""What a built network says about itself: its inputs, outputs and state."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import ModelError

MAX_RANK = 32
_NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")


@dataclass(frozen=True)
class Port:
    """One input or output: row-major [shape] of dtype.

    `scale` and `zero_point` where the element is quantised: real = (element - zero_point) * scale.
    `default`: what a caller without a wish gives, where there is such a number. `limit`: for
    indices, the rows of what they index. `classes`: names of what the columns of an output stand
    for, where they have names; two of a single column, for 0 and 1.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None
    default: float | None = None
    limit: int | None = None
    classes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of one array of this port."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class StateTensor:
    """A tensor that lives between calls, at `offset` bytes into the state block.

    `order`: its axes as they lie in memory, outermost first. `weight`: whether it is a weight of
    the network; `statistic`: whether that is a running statistic, which batches move and not
    gradients.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int
    order: tuple[int, ...]
    weight: bool = False
    statistic: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self, block: NDArray[np.uint8]) -> NDArray[np.generic]:
        """The tensor inside a state block, with its axes in the order of `shape`."""
        raw = block[self.offset:self.offset + self.nbytes].view(self.dtype)
        stored = raw.reshape([self.shape[axis] for axis in self.order])
        return stored.transpose(np.argsort(self.order).tolist())


@dataclass(frozen=True)
class Function:
    """One C function of a library: `NAME_<name>`; `arena_bytes`: the working memory of a call."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: int


@dataclass(frozen=True)
class Description:
    """A network's own description, read from the constant `NAME_description` in its library.

    `digest` names the Model that it was built from. `inputs` and `outputs` are those of its first
    function, `run`; `entries` are the further ones over the same state.
    """

    name: str
    digest: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    state: tuple[StateTensor, ...]
    entries: tuple[Function, ...] = ()

    @property
    def one_row(self) -> bool:
        """Whether it computes one row of a batch: every port is [1, ...] and nothing is kept."""
        ports = (*self.inputs, *self.outputs)
        return bool(self.inputs) and not self.state and all(p.shape[:1] == (1,) for p in ports)


def parse_description(text: bytes) -> Description:
    """Read the description's JSON. Raises ModelError where it is not one."""
    from ganglion.files import parse_json  # not needed to import the runtime, and slow to load

    try:
        raw: Any = parse_json(text, ModelError, "the library's description")
        if raw["version"] != 1:
            raise ModelError(f"the library's description has version {raw['version']!r}; this "
                             f"runtime reads version 1: build the network again, or update")
        return Description(str(raw["name"]), str(raw["digest"]), _ports(raw["inputs"]),
                           _ports(raw["outputs"]),
                           tuple(_state(tensor) for tensor in raw["state"]),
                           tuple(_function(*item) for item in raw.get("entries", {}).items()))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"the library's description is malformed ({error}): build the network "
                         f"again") from error


def _ports(raw: Sequence[Mapping[str, object]]) -> tuple[Port, ...]:
    return tuple(_port(port) for port in raw)


def _function(name: str, raw: Mapping[str, Any]) -> Function:
    return Function(name, _ports(raw["inputs"]), _ports(raw["outputs"]), int(raw["arena_bytes"]))


def _port(raw: Mapping[str, object]) -> Port:
    scale, zero_point, default = raw.get("scale"), raw.get("zero_point"), raw.get("default")
    limit = raw.get("limit")
    return Port(str(raw["name"]), _dtype(raw["dtype"]), _shape(raw["shape"]),
                None if scale is None else float(str(scale)),
                None if zero_point is None else int(str(zero_point)),
                None if default is None else float(str(default)),
                None if limit is None else int(str(limit)),
                tuple(str(name) for name in _listed(raw.get("classes", []))))


def _listed(raw: object) -> Sequence[object]:
    if not isinstance(raw, list):
        raise ValueError(f"{raw!r} is no list of names")
    return raw


def _state(raw: Mapping[str, object]) -> StateTensor:
    shape = _shape(raw["shape"])
    order = _shape(raw.get("order", list(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"order {order} names not every axis of shape {shape}")
    return StateTensor(str(raw["name"]), _dtype(raw["dtype"]), shape, int(str(raw["offset"])),
                       order, raw.get("weight") is True, raw.get("statistic") is True)


def _dtype(raw: object) -> np.dtype[np.generic]:
    if raw == "bfloat16":
        return _bfloat16()
    if not isinstance(raw, str) or not _NUMBERS.fullmatch(raw):
        raise ValueError(f"dtype {raw!r} is no number")
    return np.dtype(raw)


def _bfloat16() -> np.dtype[np.generic]:
    try:
        return np.dtype("bfloat16")
    except TypeError as error:
        raise ValueError("bfloat16 is a type of the package ml_dtypes: install it and import "
                         "it before the network") from error


def _shape(raw: object) -> tuple[int, ...]:
    if not isinstance(raw, list) or len(raw) > MAX_RANK:
        raise ValueError(f"shape {raw!r} is no list of at most {MAX_RANK} sizes")
    sizes = tuple(int(size) for size in raw)
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape {raw!r} has a negative size")
    return sizes
