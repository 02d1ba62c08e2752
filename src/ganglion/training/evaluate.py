"""`evaluate`: how good a Model is on data, by its compiled inference code."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.evaluate import evaluate as reference
from ganglion.ops.graph import GraphBuilder, require_model
from ganglion.training import metrics
from ganglion.training.batch import fix_batch
from ganglion.training.compiled import predict
from ganglion.training.data import Arrays, prepare_targets, prepare_truths
from ganglion.training.fit import LossSpec, choose_losses
from ganglion.training.losses import Loss


def evaluate(model: ir.Model, x: Arrays, y: Arrays, *,
             metrics: Sequence[str | metrics.Metric] = ("accuracy",),
             loss: LossSpec | None = None) -> dict[str, float]:
    """The metrics, and "loss" when one is named, over all rows.

    The predictions come from the Model as compiled for this machine. Raises DataError as `fit`
    does; without a loss any numbers that the metrics can read are good targets.
    """
    require_model(model, "evaluate")
    return judge(model, predict(model, x), y, metrics=metrics, loss=loss)


def judge(model: ir.Model, predictions: Sequence[Array], y: Arrays, *,
          metrics: Sequence[str | metrics.Metric] = (),
          loss: LossSpec | None = None) -> dict[str, float]:
    """`evaluate` for predictions [rows, ...] that are already there, one array for each output."""
    outputs = fix_batch(model, 1).graph.outputs
    chosen = () if loss is None else choose_losses(loss, len(outputs))
    targets = prepare_targets(outputs, chosen, y) if chosen else prepare_truths(outputs, y)
    for target, prediction in zip(targets, predictions):
        if len(target) != len(prediction):
            raise DataError(f"y has {len(target)} rows, the predictions have {len(prediction)}; "
                            "expected one target for each row of x")
    figures = {}
    if chosen:
        figures["loss"] = sum(_loss(*parts) for parts in zip(chosen, targets, predictions))
    return figures | _metrics(metrics, targets, predictions, [str(v.name) for v in outputs])


def _metrics(names: Sequence[str | metrics.Metric], targets: Sequence[Array],
             predictions: Sequence[Array], outputs: Sequence[str]) -> dict[str, float]:
    return metrics.compute(metrics.resolve(names), targets, predictions, outputs)


def _loss(loss: Loss, target: Array, prediction: Array) -> float:
    """A loss of finished predictions by the reference: a few operations, not worth a build."""
    g = GraphBuilder("loss")
    given = g.input("prediction", ir.DataType.FLOAT, prediction.shape)
    truth = g.input("target", *loss.target(given))
    name = g.output("total", loss.total(g, truth, given)).name
    feeds = {"prediction": prediction.astype(np.float32, copy=False), "target": target}
    return float(reference(g.model(), feeds)[str(name)])
