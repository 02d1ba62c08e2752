"""`distill`: a student learns from labels and from what a teacher makes of the same rows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Unpack

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.graph import require_model
from ganglion.training import losses
from ganglion.training.callbacks import History
from ganglion.training.distillation import Distillation, softened
from ganglion.training.fit import fit
from ganglion.training.loop.compiled import predict
from ganglion.training.metrics import Metric, resolve
from ganglion.training.options import SharedOptions, held_rows, shown
from ganglion.training.rows.data import Arrays, prepare_targets
from ganglion.training.step.batch import fix_batch


@shown(SharedOptions)
def distill(student: ir.Model, teacher: ir.Model, x: Arrays, y: Array, *,
            loss: str | losses.Loss = "sparse_categorical_crossentropy", alpha: float = 0.1,
            temperature: float = 3.0, **options: Unpack[SharedOptions]) -> tuple[ir.Model, History]:
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
    pack = partial(_packed, chosen, soft, sample.graph.outputs)
    held = held_rows(options.get("validation_data"))
    if isinstance(held, tuple | list) and len(held) >= 2:
        options = {**options, "validation_data": (held[0], pack(held[0], held[1]), *held[2:])}
    options["metrics"] = [_of_truth(name, metric, chosen)
                          for name, metric in resolve(options.get("metrics") or ()).items()]
    return fit(student, x, pack(x, y), loss=chosen, **options)


def _packed(loss: Distillation, soft: ir.Model, outputs: Sequence[ir.Value], x: Arrays,
            y: Arrays) -> Array:
    """What the loss compares the student's outputs with: labels, and the teacher's answers.

    Raises DataError unless both have the rows of `x` and the student's classes.
    """
    truth = prepare_targets(outputs, (loss.hard,), y)[0]
    answers = predict(soft, x)[0]
    classes = outputs[0].shape
    if classes is None or answers.shape[1:] != tuple(classes)[1:]:
        raise DataError(f"the teacher answers {list(answers.shape[1:])} for a row, the student "
                        f"{classes}; expected the same classes")
    if len(answers) != len(truth):
        raise DataError(f"x has {len(answers)} rows but y has {len(truth)}; every row needs its "
                        "target")
    return loss.packed(truth, answers)


def _of_truth(name: str, metric: Metric, loss: Distillation) -> Callable[[Array, Array], float]:
    """The metric of the labels alone, under its own name."""
    def figure(target: Array, prediction: Array) -> float:
        return metric(loss.truth(np.asarray(target)), prediction)

    figure.__name__ = name
    return figure
