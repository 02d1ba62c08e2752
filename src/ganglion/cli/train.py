"""`ganglion train` and `ganglion evaluate`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.cli.data import as_input, check_output, read_held_out, read_pairs
from ganglion.cli.progress import Bars
from ganglion.cli.show import print_json, print_table, say
from ganglion.frontends import load, save
from ganglion.training import evaluate, fit
from ganglion.training.optimizers import get

CLASS_METRICS = ("accuracy", "precision", "recall", "f1")
VALUE_METRICS = ("mae", "mse", "rmse")


@dataclass(frozen=True)
class Settings:
    """What the user chose for a training run."""

    epochs: int
    loss: str
    optimizer: str
    learning_rate: float | None
    batch_size: int
    validation_split: float
    seed: int
    checkpoint: Path | None


def run(path: Path, data: Path, output: Path, chosen: Settings, as_json: bool) -> None:
    """Trains the network of `path` on `data`, writes it to `output`, prints the history."""
    check_output(output, ".onnx")
    model = load(path)
    x, y = read_pairs(data)
    loss = guess_loss(model, y) if chosen.loss == "auto" else chosen.loss
    optimizer = get(chosen.optimizer)
    if chosen.learning_rate is not None:
        optimizer = type(optimizer)(learning_rate=chosen.learning_rate)
    with Bars() as bars:
        trained, history = fit(
            model, as_input(model, x), y, loss=loss, optimizer=optimizer, epochs=chosen.epochs,
            batch_size=chosen.batch_size, validation_split=chosen.validation_split,
            metrics=["accuracy"] if classifies(loss) else ["mae"], seed=chosen.seed,
            checkpoint=chosen.checkpoint, callbacks=[bars.epochs("training", chosen.epochs)])
    save(trained, output)
    if as_json:
        print_json({"loss": loss, "history": history.history, "output": str(output)})
        return
    names = list(history.history)
    print_table(f"trained with {loss}", ["epoch", *names],
                [[e + 1, *[f"{history.history[n][i]:.4f}" for n in names]]
                 for i, e in enumerate(history.epoch)])
    say(f"wrote {output}")


def run_evaluate(path: Path, data: Path, as_json: bool) -> None:
    """Prints how good the network is on the held-out part of `data`, or on all of it."""
    model = load(path)
    held_out = read_held_out(data)
    x, y = held_out if held_out is not None else read_pairs(data)
    loss = guess_loss(model, y)
    names = CLASS_METRICS if classifies(loss) else VALUE_METRICS
    found = evaluate(model, as_input(model, x), y, loss=loss, metrics=names)
    figures = {name: float(value) for name, value in found.items()}
    if as_json:
        print_json({"rows": len(x), **figures})
        return
    print_table(f"{path.name} on {len(x):,} rows of {data.name}", ["figure", "value"],
                [[name, f"{value:.4f}"] for name, value in figures.items()])


def guess_loss(model: ir.Model, y: np.ndarray) -> str:
    """The loss that fits the last activation and the labels.

    Softmax: sparse categorical cross-entropy for whole-number labels, categorical for one-hot ones;
    sigmoid: binary cross-entropy; anything else: mean squared error.
    """
    producer = model.graph.outputs[0].producer()
    while producer is not None and producer.op_type in ("QuantizeLinear", "DequantizeLinear"):
        producer = None if producer.inputs[0] is None else producer.inputs[0].producer()
    last = "" if producer is None else producer.op_type
    if last == "Softmax":
        one_hot = y.ndim > 1 and y.shape[-1] > 1
        return "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    return "binary_crossentropy" if last == "Sigmoid" else "mean_squared_error"


def classifies(loss: str) -> bool:
    """Whether a loss is one of classification."""
    return loss.endswith("crossentropy")
