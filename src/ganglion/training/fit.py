"""`fit`: a Model and data in, the trained Model and its history out."""

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.graph import require_model
from ganglion.passes.float_shadow import float_shadow
from ganglion.training import losses, metrics, optimizers
from ganglion.training.batch import fix_batch
from ganglion.training.callbacks import Callback, EarlyStopping, History, PrintEpochs, Stopping
from ganglion.training.compiled import compiled
from ganglion.training.data import Arrays, Dataset, prepare
from ganglion.training.loop import Problem, train
from ganglion.training.selection import Selection
from ganglion.training.weights import require_trainable

LossSpec = str | losses.Loss | Sequence[str | losses.Loss]


def fit(model: ir.Model, x: Arrays, y: Arrays, *, loss: LossSpec,
        optimizer: str | optimizers.Optimizer = "rmsprop", epochs: int = 1, batch_size: int = 32,
        validation_data: tuple[Arrays, Arrays] | None = None, validation_split: float = 0.0,
        metrics: Sequence[str | metrics.Metric] = (), shuffle: bool = True, seed: int = 0,
        early_stopping: Stopping | Sequence[Stopping] | None = None,
        restore_best_weights: bool = False, callbacks: Sequence[Callback] = (),
        checkpoint: str | PathLike[str] | None = None,
        masks: Mapping[str, Array] | None = None, trainable: Selection = None,
        verbose: bool = False) -> tuple[ir.Model, History]:
    """Trains a copy of `model`; every step runs in compiled C. Returns it and the History.

    `x`, `y`: arrays [samples, ...], or one for each input and output. The arguments mean what they
    mean in Keras's compile and fit. `seed` decides the order of the data and the dropout masks.
    `early_stopping`: EarlyStopping or StopAtLoss, or several. `restore_best_weights`: end with the
    weights of the epoch of the least val_loss (loss without validation).
    `checkpoint`: a file written after every epoch; the same call continues from it and ends with
    the same bits. `masks`: weight name -> 0/1 array that keeps pruned weights at zero.
    `trainable`: which weights change: a pattern of layers' or weights' names, "biases",
    `training.last(k)`, or a list of them (`training.selection`); all others are constants.

    Raises DataError for wrong data or settings and for a loss that is not finite, ModelError and
    UnsupportedOp for a network that cannot be trained.
    """
    problem = problem_of(model, x, y, loss=loss, optimizer=optimizer, epochs=epochs,
                         batch_size=batch_size, validation_data=validation_data,
                         validation_split=validation_split, metrics=metrics, shuffle=shuffle,
                         seed=seed, early_stopping=early_stopping,
                         restore_best_weights=restore_best_weights, callbacks=callbacks,
                         checkpoint=checkpoint, masks=masks, trainable=trainable, verbose=verbose)
    return train(problem, compiled)


def problem_of(model: ir.Model, x: Arrays, y: Arrays, *, loss: LossSpec,
               optimizer: str | optimizers.Optimizer = "rmsprop", epochs: int = 1,
               batch_size: int = 32, validation_data: tuple[Arrays, Arrays] | None = None,
               validation_split: float = 0.0, metrics: Sequence[str | metrics.Metric] = (),
               shuffle: bool = True, seed: int = 0,
               early_stopping: Stopping | Sequence[Stopping] | None = None,
               restore_best_weights: bool = False, callbacks: Sequence[Callback] = (),
               checkpoint: str | PathLike[str] | None = None,
               masks: Mapping[str, Array] | None = None, trainable: Selection = None,
               verbose: bool = False) -> Problem:
    """The checked form of `fit`'s arguments."""
    require_model(model, "fit")
    model = float_shadow(model)
    require_trainable(model)
    for name, value, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1),
                               ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise DataError(f"{name}={value!r}: expected a whole number from {least} up")
    sample = fix_batch(model, 1)
    chosen = choose_losses(loss, len(sample.graph.outputs))
    data = prepare(sample, chosen, x, y)
    data, held = _validation(sample, chosen, data, validation_data, validation_split)
    rules = _rules(early_stopping)
    if restore_best_weights:
        rules = (*rules, EarlyStopping("loss" if held is None else "val_loss",
                                       patience=sys.maxsize, restore_best_weights=True))
    return Problem(
        model=model, losses=chosen, optimizer=optimizers.get(optimizer), data=data,
        validation=held, epochs=epochs, batch_size=batch_size, metrics=_resolve(metrics),
        shuffle=shuffle, seed=seed, stopping=rules,
        callbacks=(*callbacks, PrintEpochs()) if verbose else tuple(callbacks),
        checkpoint=None if checkpoint is None else Path(checkpoint), masks=dict(masks or {}),
        trainable=trainable)


def choose_losses(loss: LossSpec, outputs: int) -> tuple[losses.Loss, ...]:
    """One loss for each output; a single one serves them all."""
    if isinstance(loss, str | losses.Loss):
        return (losses.get(loss),) * outputs
    if len(loss) != outputs:
        raise DataError(f"{len(loss)} losses for a network with {outputs} outputs; give one for "
                        "each output, in their order")
    return tuple(losses.get(each) for each in loss)


def _resolve(names: Sequence[str | metrics.Metric]) -> dict[str, metrics.Metric]:
    if isinstance(names, str):
        raise DataError(f"metrics={names!r}: expected a list, such as [{names!r}]")
    return metrics.resolve(names)


def _rules(given: Stopping | Sequence[Stopping] | None) -> tuple[Stopping, ...]:
    if given is None:
        return ()
    rules = (given,) if isinstance(given, Stopping) else tuple(given)
    for rule in rules:
        if not isinstance(rule, Stopping):
            raise DataError(f"early_stopping holds {rule!r}; expected EarlyStopping(...) or "
                            "StopAtLoss(...)")
    return rules


def _validation(sample: ir.Model, chosen: Sequence[losses.Loss], data: Dataset,
                given: tuple[Arrays, Arrays] | None,
                fraction: float) -> tuple[Dataset, Dataset | None]:
    if given is not None:
        if len(given) != 2:
            raise DataError(f"validation_data has {len(given)} entries; expected (x, y)")
        return data, prepare(sample, chosen, *given)
    if fraction:
        return data.split(fraction)
    return data, None
