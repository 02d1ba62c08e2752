"""What a PyTorch module is called with while it is exported, and which sizes of it stay open."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol

import numpy as np

from ganglion.errors import ModelError

Dynamic = Mapping[str, object]
"""Argument of `forward` -> {axis: name}; for an argument that is a tuple, a list or a dict of
tensors, one such entry in each place."""

BATCH = "batch"


class TorchTensor(Protocol):
    """What is asked of a tensor."""

    requires_grad: bool

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> object: ...

    def __getitem__(self, index: object) -> "TorchTensor": ...

    def __mul__(self, other: "TorchTensor") -> "TorchTensor": ...


def as_tensors(torch: ModuleType, value: object) -> object:
    """`value` with tensors in place of arrays, however deep; float64, which is NumPy's own default,
    becomes PyTorch's."""
    if isinstance(value, np.ndarray):
        made = torch.from_numpy(np.ascontiguousarray(value))
        return made.to(torch.get_default_dtype()) if value.dtype == np.float64 else made
    if isinstance(value, Mapping):
        return {key: as_tensors(torch, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_tensors(torch, each) for each in value)
    return value


def batch_of(torch: ModuleType, arguments: Mapping[str, object]) -> Dynamic:
    """The first axis of each tensor as the batch; where that has another size than the first
    tensor's, the first axis that has it, as states of recurrent layers do."""
    sizes = [t.shape[0] for t in _leaves(torch, arguments) if len(t.shape)]

    def axes(value: object) -> object:
        if isinstance(value, torch.Tensor):
            shape = list(value.shape)
            if shape and (shape[0] == sizes[0] or (sizes[0] > 1 and sizes[0] in shape)):
                return {shape.index(sizes[0]): BATCH}
            return None
        if isinstance(value, Mapping):
            return {key: axes(each) for key, each in value.items()}
        return [axes(each) for each in value] if isinstance(value, list | tuple) else None

    return {name: axes(value) for name, value in arguments.items()}


def _leaves(torch: ModuleType, value: object) -> Iterator[TorchTensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(torch, each)


@dataclass
class Opening:
    """One export: the open sizes by their names, each made once."""

    torch: ModuleType
    dims: dict[str, object] = field(default_factory=dict)

    def open(self, value: object, spec: object, where: str) -> tuple[object, object]:
        """`value` with every open axis of at least 2, as an axis of 1 would be fixed, and the
        entry of `dynamic_shapes` for it. `where` names it in errors, which are ModelErrors."""
        if isinstance(value, self.torch.Tensor):
            return self._tensor(value, spec, where)
        if isinstance(value, Mapping):
            kept = spec if isinstance(spec, Mapping) else {}
            both = {k: self.open(v, kept.get(k), f"{where}[{k!r}]") for k, v in value.items()}
            return {k: v for k, (v, _) in both.items()}, {k: d for k, (_, d) in both.items()}
        if isinstance(value, list | tuple):
            listed = list(spec) if isinstance(spec, Sequence) else [None] * len(value)
            if len(listed) != len(value):
                raise ModelError(f"dynamic: {where} holds {len(value)} values, found "
                                 f"{len(listed)} entries; give one for each")
            pairs = [self.open(v, s, f"{where}[{k}]")
                     for k, (v, s) in enumerate(zip(value, listed))]
            return type(value)(v for v, _ in pairs), type(value)(d for _, d in pairs)
        return value, None

    def _tensor(self, value: TorchTensor, spec: object, where: str) -> tuple[object, object]:
        found: dict[int, object] = {}
        if spec is not None and not isinstance(spec, Mapping):
            raise ModelError(f"dynamic: {where} is given {spec!r}; expected {{axis: name}}")
        for axis, name in (spec or {}).items():
            if not isinstance(axis, int) or not 0 <= axis < len(value.shape):
                raise ModelError(f"dynamic: {where} has the axes 0 to {len(value.shape) - 1}, "
                                 f"found {axis!r}")
            if isinstance(name, str):
                name = self.dims.setdefault(name, self.torch.export.Dim(name))
            found[axis] = name
            if value.shape[axis] == 1:
                value = self.torch.cat([value, value], axis)
        return value, found
