"""`evaluate`: how good a Model is on data, by its compiled inference code."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.training.batch import fix_batch
from ganglion.training.compiled import answers, predict
from ganglion.training.data import Arrays, Dataset, prepare
from ganglion.training.fit import LossSpec, choose_losses
from ganglion.training.metrics import Metric, compute, resolve
from ganglion.training.step import build_evaluation


def evaluate(model: ir.Model, x: Arrays, y: Arrays, *, loss: LossSpec | None = None,
             metrics: Sequence[str | Metric] = ("accuracy",)) -> dict[str, float]:
    """The metrics, and first the loss when one is named, over all rows.

    Runs the Model as compiled for this machine. Without a loss, targets are taken as they are.
    Raises DataError as `fit` does.
    """
    chosen = resolve(metrics)
    names = [str(v.name) for v in model.graph.outputs]
    if loss is None:
        predictions = predict(model, x)
        targets = _listed(y, predictions)
        return compute(chosen, targets, predictions, names)
    total, data, predictions = _with_loss(model, x, y, loss)
    return {"loss": total, **compute(chosen, data.targets, predictions, names)}


def _with_loss(model: ir.Model, x: Arrays, y: Arrays, loss: LossSpec
               ) -> tuple[float, Dataset, list[Array]]:
    losses = choose_losses(loss, len(model.graph.outputs))
    data = prepare(fix_batch(model, 1), losses, x, y)
    judged = build_evaluation(model, losses, 1, [])
    per_row, *predictions = answers(judged, data.arrays)
    return float(np.mean(per_row, dtype=np.float64)), data, predictions


def _listed(y: Arrays, predictions: Sequence[Array]) -> list[Array]:
    """One array of targets for each output, as many rows as were predicted."""
    given = [np.asarray(y)] if len(predictions) == 1 else [np.asarray(a) for a in y]
    if len(given) != len(predictions):
        raise DataError(f"the network has {len(predictions)} outputs, so y must be a list of "
                        f"{len(predictions)} arrays; found {len(given)}")
    for target, prediction in zip(given, predictions):
        if len(target) != len(prediction):
            raise DataError(f"x has {len(prediction)} rows but y has {len(target)}; every row "
                            "needs its target")
    return given
