"""`ganglion train` and `ganglion evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.cli.data import Arrays, Pairs, check_output, read_pairs
from ganglion.cli.learning import Learning, class_weights
from ganglion.cli.progress import Bars
from ganglion.cli.show import print_json, print_table, say
from ganglion.cli.source import Source
from ganglion.formats import save
from ganglion.ops.classes import class_names, name_classes
from ganglion.ops.facts import is_coding, is_op
from ganglion.ops.named import SIGMOID, SOFTMAX
from ganglion.training import evaluate, fit
from ganglion.training.callbacks import CSVLogger
from ganglion.training.metrics import classes
from ganglion.training.optimizers import Optimizer, get
from ganglion.training.step.selection import Selection

CLASS_METRICS = ("accuracy", "precision", "recall", "f1")
VALUE_METRICS = ("mae", "mse", "rmse")


@dataclass(frozen=True)
class Settings:
    """What the user chose for a training run."""

    epochs: int
    loss: str
    batch_size: int
    validation_split: float
    seed: int
    learning: Learning
    class_weight: str | None
    checkpoint: Path | None
    checkpoint_steps: int | None
    log: Path | None
    trainable: Selection


def run(source: Source, data: Path, output: Path, chosen: Settings, as_json: bool) -> None:
    """Trains the network of `source` on `data`, writes it to `output`, prints the history."""
    check_output(output, ".onnx")
    model = source.load()
    pairs = read_pairs(data, model)
    x, y = pairs.x, pairs.y
    loss = guess_losses(model, y) if chosen.loss == "auto" else [chosen.loss]
    rows = len(y[0] if isinstance(y, list) else y)
    steps = -(-int(rows * (1 - chosen.validation_split)) // chosen.batch_size)
    optimizer = chosen.learning.made(chosen.epochs, max(1, steps))
    listeners = chosen.learning.callbacks(chosen.validation_split > 0)
    if chosen.log is not None:
        check_output(chosen.log, ".csv")
        listeners.append(CSVLogger(chosen.log))
    with Bars() as bars:
        trained, history = fit(
            model, x, y, loss=loss[0] if len(loss) == 1 else loss,
            optimizer=optimizer, trainable=chosen.trainable,
            epochs=chosen.epochs, batch_size=chosen.batch_size,
            validation_split=chosen.validation_split, seed=chosen.seed,
            metrics=fitting(loss, ["accuracy"], ["mae"]),
            class_weight=class_weights(chosen.class_weight, y),
            checkpoint=chosen.checkpoint, checkpoint_steps=chosen.checkpoint_steps,
            callbacks=[*listeners, bars.epochs("training", chosen.epochs)])
    if pairs.classes:
        name_classes(trained, pairs.classes)
    save(trained, output)
    if as_json:
        print_json({"loss": " ".join(loss), "history": history.history, "output": str(output),
                    "trained": history.trained, "frozen": history.frozen,
                    **({"classes": pairs.classes} if pairs.classes else {})})
        return
    names = list(history.history)
    print_table(f"trained with {', '.join(loss)}", ["epoch", *names],
                [[e + 1, *[f"{history.history[n][i]:.4g}" if n == "learning_rate" else
                            f"{history.history[n][i]:.4f}" for n in names]]
                 for i, e in enumerate(history.epoch)])
    say(f"trained: {', '.join(history.trained)}")
    for name, why in history.frozen.items():
        say(f"not trained: {name} ({why})")
    if pairs.classes:
        say(f"classes: {', '.join(pairs.classes)}")
    say(f"wrote {output}")


def run_evaluate(source: Source, data: Path, as_json: bool) -> None:
    """Prints how good the network is on the held-out part of `data`, or on all of it."""
    model = source.load()
    pairs = read_pairs(data, model, held_out=True)
    x, y = pairs.x, pairs.y
    loss = guess_losses(model, y)
    names = fitting(loss, CLASS_METRICS, VALUE_METRICS)
    found = evaluate(model, x, y, loss=loss[0] if len(loss) == 1 else loss, metrics=names)
    figures = {name: float(value) for name, value in found.items()}
    rows = len(x[0]) if isinstance(x, list) else len(x)
    recalls = _recalls(model, pairs)
    if as_json:
        print_json({"rows": rows, **figures, **({"recall_by_class": recalls} if recalls else {})})
        return
    print_table(f"{source.path.name} on {rows:,} rows of {data.name}", ["figure", "value"],
                [[name, f"{value:.4f}"] for name, value in figures.items()])
    if recalls:
        print_table("found of each class", ["class", "recall"],
                    [[name, "no rows" if value is None else f"{value:.4f}"]
                     for name, value in recalls.items()])


def _recalls(model: ir.Model, pairs: Pairs) -> dict[str, float | None]:
    """The share of each named class's rows that the network finds; None for one without rows."""
    names = next(iter(class_names(model).values()), ())
    if not names or isinstance(pairs.y, list):
        return {}

    found: dict[str, float | None] = {}

    def recalls(true: np.ndarray, answer: np.ndarray) -> float:
        labels, guesses = classes(true, answer)
        for k, name in enumerate(names):
            mine = labels == k
            found[name] = float((guesses[mine] == k).mean()) if mine.any() else None
        return 0.0

    evaluate(model, pairs.x, pairs.y, metrics=[recalls])
    return found


def with_rate(optimizer: str, learning_rate: float | None) -> Optimizer:
    """An optimiser by name, with its own learning rate unless one is given."""
    found = get(optimizer)
    return found if learning_rate is None else type(found)(learning_rate=learning_rate)


def guess_losses(model: ir.Model, y: Arrays | None) -> list[str]:
    """For each output the loss that fits its last activation and its targets.

    Softmax: sparse categorical cross-entropy for whole-number labels, categorical for one-hot ones;
    sigmoid: binary cross-entropy; anything else: mean squared error. Without targets, labels are
    taken to be whole numbers.
    """
    targets: list[np.ndarray | None] = [None] * len(model.graph.outputs)
    if y is not None:
        targets = list(y) if isinstance(y, list) else [y]
    return [_guess(value, target) for value, target in zip(model.graph.outputs, targets)]


def _guess(output: ir.Value, y: np.ndarray | None) -> str:
    producer = output.producer()
    while producer is not None and is_coding(producer):
        producer = None if producer.inputs[0] is None else producer.inputs[0].producer()
    if is_op(producer, SOFTMAX):
        one_hot = y is not None and y.ndim > 1 and y.shape[-1] > 1
        return "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    return "binary_crossentropy" if is_op(producer, SIGMOID) else "mean_squared_error"


def fitting(losses: Sequence[str], of_classes: Sequence[str], of_values: Sequence[str]
            ) -> Sequence[str]:
    """The metrics that every output has a meaning for; none where the outputs differ in kind."""
    classes = {loss.endswith("crossentropy") for loss in losses}
    if len(classes) > 1:
        return ()
    return of_classes if classes == {True} else of_values
