"""`fit`: a Model and data in, the trained Model and its history out."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, Unpack, cast

import onnx_ir as ir

from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.formats.torch.live import TorchModule, is_module
from ganglion.ops.classes import name_classes
from ganglion.ops.graph import require_model
from ganglion.passes.quantized.float_shadow import float_shadow
from ganglion.passes.single_ports import single_ports
from ganglion.tensors import is_tensor
from ganglion.training import losses, optimizers
from ganglion.training.callbacks import Callback, EarlyStopping, History, PrintEpochs, Stopping
from ganglion.training.keras.live import CompiledKeras, Live, read_live
from ganglion.training.keras.settings import loss_of
from ganglion.training.loop.compiled import compiled
from ganglion.training.loop.epochs import Problem, train
from ganglion.training.metrics import resolve
from ganglion.training.options import FitOptions, Held, LossSpec, Options, held_rows, shown
from ganglion.training.rows.data import Arrays, Dataset, prepare, taken
from ganglion.training.rows.sample_weights import of_classes, with_weights
from ganglion.training.rows.source import ArraySource, Batch, Source, StreamSource, choose_augment
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.modes import deployed_form
from ganglion.training.step.weights import require_trainable
from ganglion.training.torch.live import LiveModule, read_module

Net = TypeVar("Net", ir.Model, CompiledKeras, TorchModule)
"""What `fit` trains: a Model, a live compiled Keras model, or a live PyTorch module."""

@shown(FitOptions)
def fit(model: Net, x: Arrays | Samples | Iterable[Batch], y: Arrays | None = None,
        **options: Unpack[FitOptions]) -> tuple[Net, History]:
    """Trains a copy of `model`; every step runs in compiled C. Returns it and the History.

    A live compiled Keras model is trained itself: optimizer, loss and metrics are those that it was
    compiled with unless given here, and the weights are put back into it. Its own optimizer's
    slots are neither read nor written. So is a live PyTorch module, in `train()` mode, with the
    loss and the optimizer given here, which may be torch.nn's and torch.optim's SGD; parameters
    without `requires_grad` stay as they are.

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
    live, x = _live(model, x, y is None)
    known: object = model if live is None else live.model
    start = cast(ir.Model, known)
    given = options if live is None else live.options(options)
    classes: tuple[str, ...] = ()
    if isinstance(x, Samples):
        x, y, classes = taken(start, x, y)
    held = given.get("validation_data")
    if isinstance(held, Samples) and classes:
        given = {**given, "validation_data": held.numbered_by(classes)}
    problem = problem_of(start, x, y, **given)
    trained, history = train(problem, compiled)
    if live is not None:
        live.put_back(trained)
    elif classes:
        name_classes(trained, classes)
    result: object = trained if live is None else model
    return cast(Net, result), history


def _live(model: object, x: Arrays | Samples | Iterable[Batch], streamed: bool
          ) -> tuple[Live | LiveModule | None, Arrays | Samples | Iterable[Batch]]:
    """A live network of another framework, read, None for a Model; and the data still to come."""
    if isinstance(model, ir.Model):
        return None, x
    if is_module(model):
        return read_module(model, x, streamed)
    return read_live(cast(CompiledKeras, model)), x


def problem_of(model: ir.Model, x: Arrays | Iterable[Batch], y: Arrays | None = None,
               **options: Unpack[FitOptions]) -> Problem:
    """The checked form of `fit`'s arguments."""
    require_model(model, "fit")
    model = deployed_form(float_shadow(single_ports(model)))
    require_trainable(model)
    chosen = Options(**options)
    sample = fix_batch(model, 1)
    objectives = choose_losses(chosen.loss or (), [str(v.name) for v in sample.graph.outputs])
    source, held = _rows(sample, objectives, x, y, chosen)
    rules, listeners = _sorted_out(chosen.early_stopping, chosen.callbacks)
    if chosen.restore_best_weights:
        rules = (*rules, EarlyStopping("loss" if held is None else "val_loss",
                                       patience=sys.maxsize, restore_best_weights=True))
    return Problem(
        model=model, losses=objectives, optimizer=optimizers.get(chosen.optimizer or "rmsprop"),
        source=source, validation=held, epochs=chosen.epochs, batch_size=chosen.batch_size,
        metrics=resolve(chosen.metrics or ()), seed=chosen.seed, stopping=rules,
        callbacks=(*listeners, PrintEpochs()) if chosen.verbose else listeners,
        checkpoint=chosen.file, checkpoint_steps=chosen.checkpoint_steps,
        masks=dict(chosen.masks or {}), trainable=chosen.trainable)


def _rows(sample: ir.Model, objectives: Sequence[losses.Loss], x: Arrays | Iterable[Batch],
          y: Arrays | None, chosen: Options) -> tuple[Source, Dataset | None]:
    """What training draws its batches from, and the rows held out."""
    change = choose_augment(chosen.augment, chosen.seed)
    apart = held_rows(chosen.validation_data)
    if y is None:
        if chosen.validation_split or chosen.sample_weight is not None:
            raise DataError("validation_split and sample_weight go with arrays, not with batches; "
                            "give validation_data, and batches (x, y, sample_weight)")
        stream = StreamSource(sample, objectives, x, chosen.steps_per_epoch, change,
                              chosen.class_weight)
        return stream, _validation(sample, objectives, stream.first(), apart, 0.0)[1]
    if chosen.steps_per_epoch is not None or not (is_tensor(x) or isinstance(x, Sequence)):
        raise DataError(f"x is a {type(x).__name__}, steps_per_epoch={chosen.steps_per_epoch} and "
                        "y is given; expected arrays x and y, of which an epoch takes all rows, or "
                        "an iterable of batches (x, y) as x, steps_per_epoch, and no y")
    data = with_weights(prepare(sample, objectives, cast(Arrays, x), y), sample.graph.outputs,
                        chosen.sample_weight)
    data, held = _validation(sample, objectives, data, apart, chosen.validation_split)
    return ArraySource(of_classes(data, chosen.class_weight), chosen.batch_size, chosen.shuffle,
                       chosen.seed, change), held


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
