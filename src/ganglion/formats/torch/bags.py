"""EmbeddingBag for bags of one length, which torch exports as a loop over offsets."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Protocol

from ganglion.formats.torch.inputs import TorchTensor


class Forward(Protocol):
    """The layer's own."""

    def __call__(self, input: TorchTensor, offsets: TorchTensor | None,
                 per_sample_weights: TorchTensor | None) -> object: ...


class Bag(Protocol):
    """What is asked of a torch.nn.EmbeddingBag."""

    weight: TorchTensor
    mode: str
    padding_idx: int | None
    max_norm: float | None
    forward: Forward


@contextmanager
def written_out(torch: ModuleType, parts: Iterator[object]) -> Iterator[None]:
    """EmbeddingBag(x [N, L]) ⇒ reduction over L of Embedding(x), for a while, in all parts that are
    such layers. Exact up to the order of additions. Bags given by offsets, with padding or with a
    largest norm stay as they are."""
    bags: list[Bag] = [part for part in parts if isinstance(part, torch.nn.EmbeddingBag)
                       and part.padding_idx is None and part.max_norm is None]
    for bag in bags:
        bag.forward = partial(_forward, torch, bag, bag.forward)
    try:
        yield
    finally:
        for bag in bags:
            del bag.forward


def _forward(torch: ModuleType, bag: Bag, own: Forward, input: TorchTensor,
             offsets: TorchTensor | None = None,
             per_sample_weights: TorchTensor | None = None) -> object:
    if offsets is not None or len(input.shape) != 2:
        return own(input, offsets, per_sample_weights)
    rows = torch.nn.functional.embedding(input, bag.weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[..., None]
    return {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[bag.mode](rows, 1)
