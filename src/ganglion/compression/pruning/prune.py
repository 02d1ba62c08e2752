"""Magnitude pruning: the smallest weights become zero while training goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.facts import is_op, weights_of
from ganglion.ops.graph import require_model
from ganglion.ops.marks import PRUNED
from ganglion.ops.named import CONV
from ganglion.passes.quantized.qdq import array_of, is_constant
from ganglion.training.callbacks import Callback
from ganglion.training.fit import fit
from ganglion.training.optimizers import Optimizer
from ganglion.training.options import LossSpec
from ganglion.training.rows.data import Arrays
from ganglion.training.step.weights import origin, trainable


class Trainer(Protocol):
    """What trains on with some weights held at zero: `training.fit` with all but this settled."""

    def __call__(self, model: ir.Model, masks: Mapping[str, np.ndarray], epochs: int) -> ir.Model:
        """A trained copy of the Model."""


@dataclass(frozen=True)
class PolynomialDecay:
    """The share of zeros in epoch e (from 0), between `begin` and `finish`:

    end + (start - end) · (1 - (e - begin) / (finish - begin))^power; `start` before, `end` behind.
    It changes every `frequency` epochs. (Zhu and Gupta, To prune, or not to prune, 2017.)
    Raises DataError for shares outside [0, 1) and epochs out of order.
    """

    start: float
    end: float
    begin: int = 0
    finish: int = 1
    power: float = 3.0
    frequency: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.start < 1 and 0 <= self.end < 1):
            raise DataError(f"sparsity from {self.start} to {self.end}: both must lie in [0, 1)")
        if not 0 <= self.begin <= self.finish or self.frequency < 1 or self.power <= 0:
            raise DataError(f"schedule from epoch {self.begin} to {self.finish} every "
                            f"{self.frequency} epochs, power {self.power}: epochs must be in "
                            "order, frequency and power positive")

    def at(self, epoch: int) -> float:
        """The share of zeros in this epoch."""
        held = self.begin + (epoch - self.begin) // self.frequency * self.frequency
        if epoch >= self.finish:
            return self.end
        if epoch < self.begin:
            return self.start
        rest = 1 - (held - self.begin) / (self.finish - self.begin)
        return self.end + (self.start - self.end) * float(rest ** self.power)


def prunable(model: ir.Model) -> list[str]:
    """Names of the weights that magnitude pruning may thin out, in the order of the nodes.

    Kernels of convolutions, dense and recurrent layers; not biases, normalisations, embeddings,
    depthwise filters (few weights, much work each) nor what training leaves alone.
    """
    trained = set(trainable(model))
    found: dict[str, None] = {}
    for node in model.graph:
        for place in weights_of(node):
            read = node.inputs[place] if place < len(node.inputs) else None
            value = None if read is None else origin(read)
            if value is None or not is_constant(value) or value.name is None:
                continue
            if value in trained and _is_kernel(node, value):
                found[value.name] = None
    return list(found)


def _is_kernel(node: ir.Node, value: ir.Value) -> bool:
    shape = array_of(value).shape
    if len(shape) < 2 or value.dtype != ir.DataType.FLOAT:
        return False
    return not (is_op(node, CONV) and node.attributes.get_int("group", 1) > 1 and shape[1] == 1)


def magnitude_masks(model: ir.Model, sparsity: float | Mapping[str, float]
                    ) -> dict[str, np.ndarray]:
    """{weight name: bool array}: False for the smallest magnitudes, round(sparsity · size) of
    each weight; among equal ones the first go.

    `sparsity`: one share for all weights of `prunable`, or one by name. Raises DataError for a
    share outside [0, 1) or an unknown name, ModelError for weights that are not finite.
    """
    names = prunable(model)
    wanted = dict(sparsity) if isinstance(sparsity, Mapping) else dict.fromkeys(names, sparsity)
    if not wanted:
        raise ModelError(f"model {model.graph.name!r} has no weights to prune: no constant feeds "
                         "a convolution, dense or recurrent layer")
    masks = {}
    for name, share in wanted.items():
        if name not in names:
            raise DataError(f"no prunable weight is called {name!r}; there are {names}")
        if not 0 <= share < 1:
            raise DataError(f"sparsity {share} for {name!r} must lie in [0, 1)")
        masks[name] = _mask(name, array_of(model.graph.initializers[name]), share)
    return masks


def _mask(name: str, weights: np.ndarray, share: float) -> np.ndarray:
    if not np.isfinite(weights).all():
        raise ModelError(f"weights {name!r} hold NaN or infinity; train again from a good state "
                         "before pruning")
    order = np.argsort(np.abs(weights), axis=None, kind="stable")
    mask = np.ones(weights.size, bool)
    mask[order[:round(share * weights.size)]] = False
    return mask.reshape(weights.shape)


def apply_masks(model: ir.Model, masks: Mapping[str, np.ndarray]) -> ir.Model:
    """A copy of the Model with zeros where a mask is False, marked so that training keeps them.

    Raises DataError for a wrong mask."""
    copy = model.clone(deep_copy=True)
    for name, mask in masks.items():
        value = copy.graph.initializers.get(name)
        if value is None or array_of(value).shape != mask.shape:
            raise DataError(f"mask {name!r} of shape {list(mask.shape)} fits no weight of that "
                            "name")
        kept = np.where(mask, array_of(value), np.zeros((), array_of(value).dtype))
        value.const_value = ir.tensor(kept, name=name)
        value.metadata_props[PRUNED] = "true"
    return copy


def prune_with(model: ir.Model, trainer: Trainer, schedule: PolynomialDecay, epochs: int
               ) -> ir.Model:
    """Alternates masks by the schedule and training by `trainer`; ends with the last mask's zeros.

    Epochs of equal sparsity are trained in one go.
    """
    if epochs < 1:
        raise DataError(f"pruning needs at least one epoch of fine-tuning, found {epochs}")
    masks: dict[str, np.ndarray] = {}
    for share, held in groupby(range(epochs), schedule.at):
        masks = magnitude_masks(model, share)
        model = trainer(apply_masks(model, masks), masks, len(list(held)))
    return apply_masks(model, masks)


def prune(model: ir.Model, x: Arrays, y: Arrays, *, loss: LossSpec, sparsity: float = 0.8,
          schedule: PolynomialDecay | None = None, optimizer: str | Optimizer = "adam",
          epochs: int = 4, batch_size: int = 32, seed: int = 0,
          callbacks: Sequence[Callback] = ()) -> ir.Model:
    """A copy of a trained Model, most of whose weights are zero, fine-tuned on (x, y) meanwhile.

    `sparsity`: the share of zeros in every kernel at the end. Without a `schedule` it rises from
    half of that over the first half of the epochs and then stays. Zeros stay zero in every step,
    also when the network is trained on or made ready for rounding (`quantize_aware`) afterwards;
    the optimiser's moments start anew whenever more weights go. The other arguments are
    `training.fit`'s. The zeros make the file compress well; to make the network itself smaller,
    see `prune_channels`.

    Raises DataError and ModelError as `training.fit` and `magnitude_masks` do.
    """
    require_model(model, "prune")

    def trainer(model: ir.Model, masks: Mapping[str, np.ndarray], epochs: int) -> ir.Model:
        return fit(model, x, y, loss=loss, optimizer=optimizer, epochs=epochs,
                   batch_size=batch_size, seed=seed, masks=masks, callbacks=callbacks)[0]

    plan = schedule or PolynomialDecay(sparsity / 2, sparsity, finish=epochs // 2)
    return prune_with(model, trainer, plan, epochs)
