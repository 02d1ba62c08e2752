"""Layers that torch exports as loops or drawn numbers, called otherwise while it exports them."""

from collections.abc import Callable, Iterator, Sequence
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
    """What is asked of such a layer; a Dropout has `p`, a pool its size, a convolution its bias
    and channels, an EmbeddingBag the rest."""

    training: bool
    p: float
    output_size: int | Sequence[int | None] | None
    weight: TorchTensor
    mode: str
    padding_idx: int | None
    max_norm: float | None
    bias: TorchTensor | None
    out_channels: int
    _conv_forward: Callable[[TorchTensor, TorchTensor, TorchTensor], object]
    forward: object


@contextmanager
def written_out(torch: ModuleType, parts: Iterator[object]) -> Iterator[None]:
    """EmbeddingBag(x [N, L]) ⇒ reduction over L of Embedding(x); DropoutNd(x [N, C, ...]) ⇒
    x · Dropout(ones [N, C, 1...]); AdaptiveAvgPoolNd(x) whose windows are of several sizes ⇒
    products with the matrices of means; Conv3d without a bias ⇒ one with a bias of zeros, as torch
    exports one of the shape [O, 2]; for a while, in all parts that are such layers.

    Exact up to the order of additions. Bags given by offsets, with padding or with a largest norm
    stay as they are, and so do pools of open sizes.
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
        elif isinstance(part, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d):
            part.forward = partial(_pool, torch, part, part.forward)
        elif isinstance(part, nn.Conv3d) and part.bias is None:
            part.forward = partial(_conv, torch, part)
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


def _conv(torch: ModuleType, layer: Layer, input: TorchTensor) -> object:
    zeros = torch.zeros(layer.out_channels, dtype=input.dtype)
    return layer._conv_forward(input, layer.weight, zeros)


def _pool(torch: ModuleType, layer: Layer, own: Callable[[TorchTensor], object],
          input: TorchTensor) -> object:
    """Place i of n is the mean of the input's places from floor(i·size/n) to ceil((i+1)·size/n)."""
    given, sizes = layer.output_size, list(input.shape[2:])
    listed = list(given) if isinstance(given, Sequence) else [given] * len(sizes)
    counts = [size if n is None else n for n, size in zip(listed, sizes)]
    if (len(sizes) != len(listed) or not sizes or not all(type(size) is int for size in sizes)
            or all(size % n == 0 for n, size in zip(counts, sizes))):
        return own(input)
    means = [torch.tensor(_means(n, size), dtype=input.dtype) for n, size in zip(counts, sizes)]
    pooled = torch.matmul(input, means[-1].T)
    return torch.matmul(means[0], pooled) if len(means) == 2 else pooled


def _means(count: int, size: int) -> list[list[float]]:
    """[count, size]: what each place inside contributes to each outside."""
    windows = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    return [[(begin <= k < end) / (end - begin) for k in range(size)] for begin, end in windows]
