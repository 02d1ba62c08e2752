"""A live PyTorch module as `fit` sees it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import onnx_ir as ir

from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.formats.torch.live import TorchModule, from_torch, to_torch
from ganglion.tensors import Array, as_array, is_tensor
from ganglion.training.optimizers import Optimizer
from ganglion.training.options import FitOptions, LossSpec
from ganglion.training.rows.data import Arrays
from ganglion.training.rows.source import Batch
from ganglion.training.torch.settings import read_loss, read_optimizer

ROWS = 2
"""Of the data, that the module is called with while it is exported."""


@dataclass(frozen=True)
class LiveModule:
    """A module, read in training mode."""

    module: TorchModule
    model: ir.Model

    def options(self, given: FitOptions) -> FitOptions:
        """`given`, PyTorch's own loss and optimizer in our words."""
        learning = [p for _, p in self.module.named_parameters(remove_duplicate=True)
                    if p.requires_grad]
        ranks = [len(v.shape or ()) for v in self.model.graph.outputs]
        made = given.copy()
        made["loss"] = cast(LossSpec | None, read_loss(given.get("loss"), ranks))
        made["optimizer"] = cast(Optimizer | str | None,
                                 read_optimizer(given.get("optimizer"), learning))
        return made

    def put_back(self, trained: ir.Model) -> None:
        """The trained weights into the module."""
        to_torch(trained, self.module)


def read_module(module: TorchModule, x: Arrays | Samples | Iterable[Batch], streamed: bool
                ) -> tuple[LiveModule, Arrays | Samples | Iterable[Batch]]:
    """The module, exported with the first rows of the data, and the data, all of it still to come.

    `streamed`: x holds batches. Raises what `from_torch` does, DataError for data without rows.
    """
    if isinstance(x, Samples):
        return _read(module, x.x), x
    if not streamed:
        return _read(module, x), x
    rest: Iterator[object] = iter(x)
    try:
        first = next(rest)
    except StopIteration:
        raise DataError("x gives no batch at all; expected an iterable of (x, y)") from None
    if not isinstance(first, tuple | list) or not first:
        raise DataError(f"x gives {type(first).__name__}; expected tuples (x, y) or (x, y, "
                        "sample_weight)")
    whole = x if rest is not x else cast(Iterable[Batch], chain([first], rest))
    return _read(module, first[0]), whole


def _read(module: TorchModule, x: object) -> LiveModule:
    several = isinstance(x, list | tuple) and all(map(is_tensor, x))
    given = cast(Sequence[object], x) if several else [x]
    return LiveModule(module, from_torch(module, [_first(each) for each in given], training=True))


def _first(given: object) -> Array:
    array = as_array("x", given)
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"x has the shape {list(array.shape)}; expected rows of a batch, [N, ...]")
    return array[:ROWS]
