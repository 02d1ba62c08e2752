"""`fit`: a Model and data in, the trained Model and its history out."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar, cast

import onnx_ir as ir

from ganglion.data.augment import Augmentation
from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.classes import name_classes
from ganglion.ops.graph import require_model
from ganglion.passes.quantized.float_shadow import float_shadow
from ganglion.passes.single_ports import single_ports
from ganglion.tensors import is_tensor
from ganglion.training import losses, optimizers
from ganglion.training.callbacks import Callback, EarlyStopping, History, PrintEpochs, Stopping
from ganglion.training.keras.live import CompiledKeras, read_live
from ganglion.training.keras.settings import loss_of
from ganglion.training.loop.compiled import compiled
from ganglion.training.loop.epochs import Problem, train
from ganglion.training.metrics import Metric, resolve
from ganglion.training.rows.data import Arrays, Dataset, prepare, taken
from ganglion.training.rows.sample_weights import ClassWeight, of_classes, with_weights
from ganglion.training.rows.source import ArraySource, Batch, Source, StreamSource, choose_augment
from ganglion.training.settings import FLAG
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.modes import deployed_form
from ganglion.training.step.selection import Selection
from ganglion.training.step.weights import require_trainable

Net = TypeVar("Net", ir.Model, CompiledKeras)
"""What `fit` trains: a Model, or a live compiled Keras model."""
LossSpec = str | losses.Loss | Sequence[str | losses.Loss] | Mapping[str, str | losses.Loss]
"""What `loss=` takes: one for all outputs, one for each in order, or by the names of outputs. A
loss object of Keras serves as well as one of ours."""
Held = tuple[Arrays, Arrays] | tuple[Arrays, Arrays, Arrays]
"""Rows held out: x, y, and perhaps the weights of the samples."""


def fit(model: Net, x: Arrays | Samples | Iterable[Batch], y: Arrays | None = None, *,
        loss: LossSpec | None = None, optimizer: str | optimizers.Optimizer | None = None,
        epochs: int = 1, batch_size: int = 32,
        validation_data: Held | Samples | None = None, validation_split: float = 0.0,
        sample_weight: Arrays | None = None, class_weight: ClassWeight | None = None,
        metrics: Sequence[str | Metric] | None = None, shuffle: bool = True, seed: int = 0,
        early_stopping: Stopping | Sequence[Stopping] | None = None,
        restore_best_weights: bool = False, callbacks: Sequence[Callback | Stopping] = (),
        checkpoint: str | PathLike[str] | None = None, checkpoint_steps: int | None = None,
        masks: Mapping[str, Array] | None = None, trainable: Selection = None,
        steps_per_epoch: int | None = None,
        augment: Augmentation | Sequence[Augmentation] | None = None,
        verbose: bool = False) -> tuple[Net, History]:
    """Trains a copy of `model`; every step runs in compiled C. Returns it and the History.

    A live compiled Keras model is trained itself: optimizer, loss and metrics are those that it was
    compiled with unless given here, and the weights are put back into it. Its own optimizer's
    slots are neither read nor written.

    `x`, `y`: arrays [samples, ...], or one for each input and output; or, without `y`, an iterable
    of batches (x, y) or (x, y, sample_weight), a generator for example, of which `steps_per_epoch`
    make an epoch; or `Samples` of `ganglion.data`, whose names of classes stay with the network
    that is returned. The arguments mean what they mean in Keras's compile and fit. `seed` decides
    the order of the data, the dropout masks and what `augment` draws: changes to each batch, from
    `ganglion.data`.
    `validation_data`: (x, y) or (x, y, sample_weight), or Samples. `sample_weight`: [samples], or
    one array for each output, or more axes of an output that has them; `class_weight`: class
    number -> weight.
    The loss is the sum of the weighted losses divided by their number; metrics are not weighted.
    `early_stopping`: EarlyStopping or StopAtLoss, or several; they may stand among `callbacks` too.
    `restore_best_weights`: end with the weights of the epoch of the least val_loss (loss without
    validation).
    `checkpoint`: a file written after every epoch, and after every `checkpoint_steps` steps; the
    same call continues from it and ends with the same bits.
    `masks`: weight name -> 0/1 array that keeps weights at zero; without one, a network of `prune`
    keeps its zeros.
    `trainable`: which weights change: a pattern of layers' or weights' names, "biases",
    `training.last(k)`, or a list of them (`training.step.selection`); all others are constants.

    Raises DataError for wrong data or settings and for a loss that is not finite, ModelError and
    UnsupportedOp for a network that cannot be trained.
    """
    live = None if isinstance(model, ir.Model) else read_live(model)
    if live is not None:
        loss = live.settings.losses if loss is None else loss
        optimizer = live.settings.optimizer if optimizer is None else optimizer
        metrics = live.settings.metrics if metrics is None else metrics
    start: object = model if live is None else live.model
    classes: tuple[str, ...] = ()
    if isinstance(x, Samples):
        x, y, classes = taken(cast(ir.Model, start), x, y)
    if isinstance(validation_data, Samples):
        held = validation_data.numbered_by(classes) if classes else validation_data
        validation_data = held.x, held.y
    problem = problem_of(cast(ir.Model, start), x, y, loss=() if loss is None else loss,
                         optimizer="rmsprop" if optimizer is None else optimizer,
                         metrics=metrics or (), epochs=epochs, batch_size=batch_size,
                         validation_data=validation_data, validation_split=validation_split,
                         sample_weight=sample_weight, class_weight=class_weight, shuffle=shuffle,
                         seed=seed, early_stopping=early_stopping,
                         restore_best_weights=restore_best_weights, callbacks=callbacks,
                         checkpoint=checkpoint, checkpoint_steps=checkpoint_steps, masks=masks,
                         trainable=trainable, steps_per_epoch=steps_per_epoch, augment=augment,
                         verbose=verbose)
    trained, history = train(problem, compiled)
    if live is not None:
        live.put_back(trained)
    elif classes:
        name_classes(trained, classes)
    result: object = trained if live is None else model
    return cast(Net, result), history


def problem_of(model: ir.Model, x: Arrays | Iterable[Batch], y: Arrays | None = None, *,
               loss: LossSpec,
               optimizer: str | optimizers.Optimizer = "rmsprop", epochs: int = 1,
               batch_size: int = 32, validation_data: Held | None = None,
               validation_split: float = 0.0, sample_weight: Arrays | None = None,
               class_weight: ClassWeight | None = None,
               metrics: Sequence[str | Metric] = (), shuffle: bool = True, seed: int = 0,
               early_stopping: Stopping | Sequence[Stopping] | None = None,
               restore_best_weights: bool = False, callbacks: Sequence[Callback | Stopping] = (),
               checkpoint: str | PathLike[str] | None = None, checkpoint_steps: int | None = None,
               masks: Mapping[str, Array] | None = None, trainable: Selection = None,
               steps_per_epoch: int | None = None,
               augment: Augmentation | Sequence[Augmentation] | None = None,
               verbose: bool = False) -> Problem:
    """The checked form of `fit`'s arguments."""
    require_model(model, "fit")
    model = deployed_form(float_shadow(single_ports(model)))
    require_trainable(model)
    for name, value, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1),
                               ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise DataError(f"{name}={value!r}: expected a whole number from {least} up")
    if not FLAG.fits(shuffle):
        raise DataError(f"shuffle={shuffle!r}: expected {FLAG.words}")
    file = _checkpoint(checkpoint, checkpoint_steps)
    sample = fix_batch(model, 1)
    chosen = choose_losses(loss, [str(v.name) for v in sample.graph.outputs])
    change = choose_augment(augment, seed)
    source: Source
    if y is None:
        if validation_split or sample_weight is not None:
            raise DataError("validation_split and sample_weight go with arrays, not with batches; "
                            "give validation_data, and batches (x, y, sample_weight)")
        source = StreamSource(sample, chosen, x, steps_per_epoch, change, class_weight)
        held = _validation(sample, chosen, source.first(), validation_data, 0.0)[1]
    elif steps_per_epoch is not None or not (is_tensor(x) or isinstance(x, Sequence)):
        raise DataError(f"x is a {type(x).__name__}, steps_per_epoch={steps_per_epoch} and y is "
                        "given; expected arrays x and y, of which an epoch takes all rows, or an "
                        "iterable of batches (x, y) as x, steps_per_epoch, and no y")
    else:
        data = with_weights(prepare(sample, chosen, cast(Arrays, x), y), sample.graph.outputs,
                            sample_weight)
        data, held = _validation(sample, chosen, data, validation_data, validation_split)
        source = ArraySource(of_classes(data, class_weight), batch_size, shuffle, seed, change)
    rules, listeners = _sorted_out(early_stopping, callbacks)
    if restore_best_weights:
        rules = (*rules, EarlyStopping("loss" if held is None else "val_loss",
                                       patience=sys.maxsize, restore_best_weights=True))
    return Problem(
        model=model, losses=chosen, optimizer=optimizers.get(optimizer), source=source,
        validation=held, epochs=epochs, batch_size=batch_size, metrics=resolve(metrics),
        seed=seed, stopping=rules,
        callbacks=(*listeners, PrintEpochs()) if verbose else listeners,
        checkpoint=file,
        checkpoint_steps=checkpoint_steps, masks=dict(masks or {}), trainable=trainable)


def choose_losses(loss: LossSpec, outputs: Sequence[str]) -> tuple[losses.Loss, ...]:
    """One loss for each of these outputs; a single one serves them all."""
    if isinstance(loss, Mapping):
        if set(loss) != set(outputs):
            raise DataError(f"loss names the outputs {sorted(map(str, loss))}; the network has "
                            f"{', '.join(map(repr, outputs))}: give one loss for each")
        loss = [loss[name] for name in outputs]
    if isinstance(loss, str | losses.Loss) or not isinstance(loss, Sequence):
        return (loss_of(loss),) * len(outputs)
    if len(loss) == 0:
        raise DataError("no loss is given; name one, such as loss=\"mse\"")
    if len(loss) != len(outputs):
        raise DataError(f"{len(loss)} losses for a network with {len(outputs)} outputs; give one "
                        "for each output, in their order")
    return tuple(map(loss_of, loss))


def _checkpoint(given: str | PathLike[str] | None, steps: int | None) -> Path | None:
    """The file of checkpoints. Raises DataError, before any work, where it could not be written."""
    if steps is not None and (not isinstance(steps, int) or steps < 1 or given is None):
        raise DataError(f"checkpoint_steps={steps!r}: expected a whole number from 1 up, and a "
                        "file to write (checkpoint=)")
    if given is None:
        return None
    file = Path(given)
    if file.is_dir() or not file.parent.is_dir():
        raise DataError(f"checkpoint {file}: expected a file in a folder that exists; choose "
                        "another path or make the folder first")
    return file


def _sorted_out(given: Stopping | Sequence[Stopping] | None,
                callbacks: Sequence[Callback | Stopping]
                ) -> tuple[tuple[Stopping, ...], tuple[Callback, ...]]:
    """The stopping rules of both arguments, and the callbacks."""
    if given is None:
        rules: list[Stopping] = []
    else:
        rules = [given] if isinstance(given, Stopping) else list(given)
    for rule in rules:
        if not isinstance(rule, Stopping):
            raise DataError(f"early_stopping holds {rule!r}; expected EarlyStopping(...) or "
                            "StopAtLoss(...)")
    listeners: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, Stopping):
            rules.append(callback)
        elif isinstance(callback, Callback):
            listeners.append(callback)
        else:
            raise DataError(f"callbacks holds {callback!r}; expected instances from "
                            "ganglion.callbacks, or of a class derived from its Callback")
    return tuple(rules), tuple(listeners)


def _validation(sample: ir.Model, chosen: Sequence[losses.Loss], data: Dataset,
                given: Held | None, fraction: float) -> tuple[Dataset, Dataset | None]:
    if given is not None:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            found = f"{len(given)} entries" if isinstance(given, tuple | list) else type(given)
            raise DataError(f"validation_data has {found}; expected (x, y) or (x, y, "
                            "sample_weight)")
        held = prepare(sample, chosen, given[0], given[1])
        return data, with_weights(held, sample.graph.outputs, given[2] if len(given) == 3 else None)
    if fraction:
        return data.split(fraction)
    return data, None
