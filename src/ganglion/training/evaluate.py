"""`evaluate`: how good a Model is on data, by its compiled inference code."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.graph import require_model
from ganglion.passes.single_ports import single_ports
from ganglion.training.fit import choose_losses
from ganglion.training.loop.compiled import answers, predict
from ganglion.training.loop.epochs import loss_names
from ganglion.training.metrics import Metric, compute, resolve
from ganglion.training.options import LossSpec
from ganglion.training.rows.data import Arrays, prepare, prepare_truths, taken
from ganglion.training.rows.sample_weights import with_weights
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.building import build_evaluation


def evaluate(model: ir.Model, x: Arrays | Samples, y: Arrays | None = None, *,
             metrics: Sequence[str | Metric] = ("accuracy",),
             loss: LossSpec | None = None,
             sample_weight: Arrays | None = None) -> dict[str, float]:
    """The metrics, and first the losses when one is named, over all rows, under the names that the
    history gives them.

    Everything comes from the Model as compiled for this machine; the loss, penalties included, is
    what `fit` calls val_loss; `sample_weight` weighs it, not the metrics. Raises DataError as `fit`
    does; without a loss any numbers that the metrics can read are good targets.
    """
    require_model(model, "evaluate")
    if isinstance(x, Samples):
        x, y, _ = taken(model, x, y)
    if y is None:
        raise DataError("y is missing: give the targets, or Samples of ganglion.data as x")
    model = single_ports(model)
    chosen = resolve(metrics)
    outputs = model.graph.outputs
    names = [str(v.name) for v in outputs]
    if loss is None:
        if sample_weight is not None:
            raise DataError("sample_weight without a loss: it weighs the loss alone; name one")
        targets, predictions = prepare_truths(outputs, y), predict(model, x)
        _check_rows(targets, predictions)
        return compute(chosen, targets, predictions, names)
    losses = choose_losses(loss, names)
    sample = fix_batch(model, 1)
    data = with_weights(prepare(sample, losses, x, y), sample.graph.outputs, sample_weight)
    judge = build_evaluation(model, losses, 1, (), weight_ranks=data.weight_ranks)
    found = answers(judge, data.arrays)
    figures = {name: float(np.mean(each, dtype=np.float64))
               for name, each in zip(loss_names(names), found)}
    return figures | compute(chosen, data.targets, found[len(figures):], names, losses)


def _check_rows(targets: Sequence[Array], predictions: Sequence[Array]) -> None:
    for target, prediction in zip(targets, predictions):
        if len(target) != len(prediction):
            raise DataError(f"x has {len(prediction)} rows but y has {len(target)}; every row "
                            "needs its target")
