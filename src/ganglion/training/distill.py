"""`distill`: a student learns from labels and from what a teacher makes of the same rows."""

from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.graph import require_model
from ganglion.training import losses, optimizers
from ganglion.training.callbacks import Callback, History, Stopping
from ganglion.training.distillation import Distillation, softened
from ganglion.training.fit import Held, fit
from ganglion.training.loop.compiled import predict
from ganglion.training.metrics import Metric, resolve
from ganglion.training.rows.data import Arrays, prepare_targets
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.selection import Selection


def distill(student: ir.Model, teacher: ir.Model, x: Arrays, y: Array, *,
            loss: str | losses.Loss = "sparse_categorical_crossentropy", alpha: float = 0.1,
            temperature: float = 3.0, optimizer: str | optimizers.Optimizer = "rmsprop",
            epochs: int = 1, batch_size: int = 32, validation_data: Held | None = None,
            validation_split: float = 0.0, sample_weight: Arrays | None = None,
            metrics: Sequence[str | Metric] = (), shuffle: bool = True, seed: int = 0,
            early_stopping: Stopping | Sequence[Stopping] | None = None,
            restore_best_weights: bool = False, callbacks: Sequence[Callback | Stopping] = (),
            checkpoint: str | PathLike[str] | None = None, trainable: Selection = None,
            verbose: bool = False) -> tuple[ir.Model, History]:
    """Trains a copy of `student` by alpha · loss + (1 - alpha) · T² · KL(teacher ‖ student).

    Both sides of the divergence are softened by the temperature T (Hinton et al. 2015). `loss`: a
    cross-entropy of class numbers or one-hot rows; alpha = 1 is plain `fit`. The teacher, any Model
    of the same inputs and one output, runs compiled, once over all rows before training; a
    quantised or `quantize_aware` student learns as in `fit`. The other arguments are those of
    `fit`; val_loss is the same mixture.

    Raises DataError for settings out of range and for a teacher of another number of classes, and
    what `fit` raises.
    """
    for model in (student, teacher):
        require_model(model, "distill")
    chosen = Distillation(losses.get(loss), alpha, temperature)
    soft = softened(fix_batch(teacher, 1), temperature,
                    bool(getattr(chosen.hard, "from_logits", False)))
    sample = fix_batch(student, 1)

    def packed(x: Arrays, y: Arrays) -> Array:
        truth = prepare_targets(sample.graph.outputs, (chosen.hard,), y)[0]
        answers = predict(soft, x)[0]
        classes = sample.graph.outputs[0].shape
        if classes is None or answers.shape[1:] != tuple(classes)[1:]:
            raise DataError(f"the teacher answers {list(answers.shape[1:])} for a row, the student "
                            f"{classes}; expected the same classes")
        if len(answers) != len(truth):
            raise DataError(f"x has {len(answers)} rows but y has {len(truth)}; every row needs "
                            "its target")
        return chosen.packed(truth, answers)

    held = validation_data
    if isinstance(held, tuple | list) and len(held) >= 2:
        held = (held[0], packed(held[0], held[1]), *held[2:])
    watched = [_of_truth(name, metric, chosen) for name, metric in resolve(metrics).items()]
    return fit(student, x, packed(x, y), loss=chosen, optimizer=optimizer, epochs=epochs,
               batch_size=batch_size, validation_data=held, validation_split=validation_split,
               sample_weight=sample_weight, metrics=watched, shuffle=shuffle, seed=seed,
               early_stopping=early_stopping, restore_best_weights=restore_best_weights,
               callbacks=callbacks, checkpoint=checkpoint, trainable=trainable, verbose=verbose)


def _of_truth(name: str, metric: Metric, loss: Distillation) -> Callable[[Array, Array], float]:
    """The metric of the labels alone, under its own name."""
    def figure(target: Array, prediction: Array) -> float:
        return metric(loss.truth(np.asarray(target)), prediction)

    figure.__name__ = name
    return figure
