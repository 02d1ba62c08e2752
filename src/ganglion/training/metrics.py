"""Figures of merit by scikit-learn's functions, under the names that Keras users write.

Classification reads probabilities: one column is cut at 0.5, several take the largest. Under a loss
of logits one column is cut at 0, where the probability is 0.5. Precision,
recall and F1 are of the positive class for two classes in one column, else the classes' plain mean
("macro"); a class that was never predicted counts as 0.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.training.losses import Loss, is_of_logits

Metric = Callable[[Array, Array], float]
"""`metric(target, prediction) -> figure` over all rows at once."""

_ALIASES = {"acc": "accuracy", "f1_score": "f1", "mean_absolute_error": "mae",
            "mean_squared_error": "mse", "root_mean_squared_error": "rmse"}


def resolve(metrics: Sequence[str | Metric]) -> dict[str, Metric]:
    """Name, as given -> function. DataError lists the known names for an unknown one."""
    if isinstance(metrics, str):
        raise DataError(f"metrics={metrics!r}: expected a list, such as [{metrics!r}]")
    known = _by_name()
    found: dict[str, Metric] = {}
    for metric in metrics:
        if callable(metric):
            found[getattr(metric, "__name__", type(metric).__name__)] = metric
            continue
        name = str(metric).lower()
        if name not in known:
            raise DataError(f"unknown metric {metric!r}; expected one of {sorted(known)} or a "
                            "function metric(target, prediction)")
        found[name] = known[name]
    return found


def compute(metrics: Mapping[str, Metric], targets: Sequence[Array],
            predictions: Sequence[Array], names: Sequence[str],
            losses: Sequence[Loss] = ()) -> dict[str, float]:
    """Every metric of every output; with several outputs the names read OUTPUT_METRIC.

    `losses`: of each output; one of logits decides where a column is cut."""
    figures = {}
    for k, (target, prediction, output) in enumerate(zip(targets, predictions, names)):
        cut = _called(prediction) if k < len(losses) and is_of_logits(losses[k]) else prediction
        for name, metric in metrics.items():
            key = name if len(names) == 1 else f"{output}_{name}"
            figures[key] = float(metric(target, cut if metric in _OF_CLASSES else prediction))
    return figures


def _called(logits: Array) -> Array:
    """1 where a single logit is above 0, else 0; several columns as they are."""
    if logits.ndim > 1 and logits.shape[-1] != 1:
        return logits
    return (logits > 0).astype(np.float32)


def accuracy(target: Array, prediction: Array) -> float:
    """The part of rows whose class is right; binary, sparse or categorical by the shapes."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(*classes(target, prediction)))


def precision(target: Array, prediction: Array) -> float:
    """Of what was called positive, the part that is."""
    from sklearn.metrics import precision_score

    return _score(precision_score, target, prediction)


def recall(target: Array, prediction: Array) -> float:
    """Of what is positive, the part that was called so."""
    from sklearn.metrics import recall_score

    return _score(recall_score, target, prediction)


def f1(target: Array, prediction: Array) -> float:
    """The harmonic mean of precision and recall."""
    from sklearn.metrics import f1_score

    return _score(f1_score, target, prediction)


def mae(target: Array, prediction: Array) -> float:
    """Mean absolute error."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(*_pair(target, prediction)))


def mse(target: Array, prediction: Array) -> float:
    """Mean squared error."""
    from sklearn.metrics import mean_squared_error

    return float(mean_squared_error(*_pair(target, prediction)))


def rmse(target: Array, prediction: Array) -> float:
    """Square root of the mean squared error over all values."""
    return float(np.sqrt(mse(target, prediction)))


def classes(target: Array, prediction: Array) -> tuple[Array, Array]:
    """True and predicted class of every row, flat, as Keras tells them by shape.

    Predictions [..., 1] are binary; [..., C] against targets [...] or [..., 1] are sparse, against
    targets [..., C] categorical.
    """
    if prediction.ndim == 1 or prediction.shape[-1] == 1:
        found = prediction.ravel() > 0.5
        true = target.ravel() > 0.5
    elif target.shape == prediction.shape:
        found, true = prediction.argmax(-1).ravel(), target.argmax(-1).ravel()
    else:
        found, true = prediction.argmax(-1).ravel(), target.ravel()
    if found.shape != true.shape:
        raise DataError(f"targets have shape {list(target.shape)}, predictions "
                        f"{list(prediction.shape)}; expected one target for each prediction")
    return true.astype(np.int64), found.astype(np.int64)


def _score(function: Callable[..., float], target: Array, prediction: Array) -> float:
    true, found = classes(target, prediction)
    binary = prediction.ndim == 1 or prediction.shape[-1] == 1
    return float(function(true, found, average="binary" if binary else "macro", zero_division=0))


def _pair(target: Array, prediction: Array) -> tuple[Array, Array]:
    if target.size != prediction.size:
        raise DataError(f"targets have shape {list(target.shape)}, predictions "
                        f"{list(prediction.shape)}; a distance needs equal shapes")
    return target.ravel().astype(np.float64), prediction.ravel().astype(np.float64)


_OF_CLASSES: tuple[Metric, ...] = (accuracy, precision, recall, f1)


def _by_name() -> dict[str, Metric]:
    known: dict[str, Metric] = {"accuracy": accuracy, "precision": precision, "recall": recall,
                                "f1": f1, "mae": mae, "mse": mse, "rmse": rmse}
    return known | {alias: known[name] for alias, name in _ALIASES.items()}
