"""Layers that torch exports as loops or drawn numbers, called otherwise while it exports them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Protocol

from ganglion.formats.torch.inputs import TorchTensor


class Forward(Protocol):
    """EmbeddingBag's own call."""

    def __call__(self, input: TorchTensor, offsets: TorchTensor | None,
                 per_sample_weights: TorchTensor | None) -> object: ...


class Layer(Protocol):
    """What is asked of such a layer; a Dropout has `p`, an EmbeddingBag the rest."""

    training: bool
    p: float
    weight: TorchTensor
    mode: str
    padding_idx: int | None
    max_norm: float | None
    forward: object


@contextmanager
def written_out(torch: ModuleType, parts: Iterator[object]) -> Iterator[None]:
    """EmbeddingBag(x [N, L]) ⇒ reduction over L of Embedding(x); DropoutNd(x [N, C, ...]) ⇒
    x · Dropout(ones [N, C, 1...]); for a while, in all parts that are such layers.

    Exact up to the order of additions. Bags given by offsets, with padding or with a largest norm
    stay as they are.
    """
    nn = torch.nn
    found: list[Layer] = []
    for part in parts:
        if "forward" in vars(part):  # the user's own
            continue
        if isinstance(part, nn.EmbeddingBag) and part.padding_idx is None and part.max_norm is None:
            part.forward = partial(_bag, torch, part, part.forward)
        elif isinstance(part, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
            part.forward = partial(_drop, torch, part)
        else:
            continue
        found.append(part)
    try:
        yield
    finally:
        for part in found:
            del part.forward


def _bag(torch: ModuleType, bag: Layer, own: Forward, input: TorchTensor,
         offsets: TorchTensor | None = None, per_sample_weights: TorchTensor | None = None
         ) -> object:
    if offsets is not None or len(input.shape) != 2:
        return own(input, offsets, per_sample_weights)
    rows = torch.nn.functional.embedding(input, bag.weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[..., None]
    return {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[bag.mode](rows, 1)


def _drop(torch: ModuleType, layer: Layer, input: TorchTensor) -> object:
    if not layer.training:
        return input
    channels = [*input.shape[:2], *(1 for _ in input.shape[2:])]
    ones = torch.ones(channels, dtype=input.dtype)
    return input * torch.nn.functional.dropout(ones, layer.p)
