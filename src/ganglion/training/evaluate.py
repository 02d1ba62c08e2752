"""`evaluate`: how good a Model is on data, by its compiled inference code."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops import evaluate as reference
from ganglion.ops.base import Array
from ganglion.ops.graph import GraphBuilder
from ganglion.training import metrics
from ganglion.training.batch import fix_batch
from ganglion.training.compiled import predict
from ganglion.training.data import Arrays, Dataset, prepare
from ganglion.training.fit import LossSpec, choose_losses
from ganglion.training.losses import Loss


def evaluate(model: ir.Model, x: Arrays, y: Arrays, *, loss: LossSpec | None = None,
             metrics: Sequence[str | metrics.Metric] = ("accuracy",)) -> dict[str, float]:
    """The metrics, and the loss when one is named, over all rows.

    Runs the Model as compiled for this machine. Without a loss, whole-number targets are taken as
    they are. Raises DataError as `fit` does.
    """
    predictions = predict(model, x)
    return judge(model, predictions, y, loss=loss, metrics=metrics)
