"""`ganglion demo`: the whole way on real handwritten digits, in one command."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion import layers as L
from ganglion.artifact.compile import compile
from ganglion.cli.bench import latency
from ganglion.cli.build import spoken
from ganglion.cli.progress import Bars, StageBar
from ganglion.cli.report import Form, write_report
from ganglion.cli.show import print_json, print_table, say
from ganglion.compression import prune_channels, quantize
from ganglion.formats import save
from ganglion.training import evaluate, fit
from ganglion.training.callbacks import History
from ganglion.training.optimizers import Adam

Digits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
STAGES = ("train", "prune channels", "fine-tune", "quantise to int8", "compile and check float",
          "compile and check pruned", "compile and check int8", "cross-compile for raspberrypi4")


def digits(seed: int = 0) -> Digits:
    """scikit-learn's handwritten digits (Alpaydin and Kaynak, UCI 1998): 1,797 images of 8 x 8.

    x in [0, 1], [rows, 8, 8, 1]; a quarter held out, drawn by `seed`: x, y, held-out x, held-out y.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        x, labels.astype(np.int64), test_size=0.25, random_state=seed, stratify=labels)
    return x_train, y_train, x_test, y_test


def network(seed: int = 0) -> ir.Model:
    """A small CNN for 8 x 8 images: two convolutions, pooling, one hidden layer, ten classes."""
    return L.Sequential([
        L.Input((8, 8, 1)),
        L.Conv2D(16, 3, padding="same", activation="relu"),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Dropout(0.25),
        L.Flatten(),
        L.Dense(64, activation="relu"),
        L.Dropout(0.25),
        L.Dense(10, activation="softmax"),
    ], name="digits", seed=seed)


def run(output: Path, epochs: int, seed: int, as_json: bool) -> None:
    """Runs every stage, prints one table and the path of the report."""
    output.mkdir(parents=True, exist_ok=True)
    data = digits(seed)
    with Bars() as bars:
        stages = bars.stages("stages", STAGES)
        models, history = _models(data, epochs, seed, bars, stages)
        forms = []
        for name, model in models.items():
            forms.append(_form(name, model, data, output))
            stages.next()
        pi = compile(models["int8"], "raspberrypi4", name="digits", calibration=data[2])
        pi.save(output / "raspberrypi4")
        stages.next()
    report = write_report(output, forms, pi, history.history)
    rows = [_row(f) for f in forms]
    if as_json:
        print_json({"forms": rows, "raspberrypi4": dict(pi.manifest), "report": str(report)})
        return
    print_table("handwritten digits",
                ["network", "accuracy", "file bytes", "arena bytes", "latency µs", "check"],
                [[r["name"], f"{r['accuracy']:.2%}", r["file_bytes"], r["arena_bytes"],
                  f"{r['latency_us']:.1f}", r["check"]] for r in rows])
    say(f"raspberrypi4: {pi.library_bytes:,} bytes, check {spoken(pi.manifest['check'])}")
    say(f"report: {report}")


def _models(data: Digits, epochs: int, seed: int, bars: Bars, stages: StageBar
            ) -> tuple[dict[str, ir.Model], History]:
    """The float, pruned and int8 network by name, and how the first was trained."""
    x, y, x_test, y_test = data
    trained, history = fit(
        network(seed), x, y, loss="sparse_categorical_crossentropy", optimizer=Adam(),
        epochs=epochs, batch_size=32, metrics=["accuracy"], seed=seed,
        validation_data=(x_test, y_test), callbacks=[bars.epochs("training", epochs)])
    stages.next()
    smaller, _ = prune_channels(trained, 0.4)
    stages.next()
    tuned, _ = fit(
        smaller, x, y, loss="sparse_categorical_crossentropy", optimizer=Adam(),
        epochs=epochs // 2 + 1, batch_size=32, seed=seed,
        callbacks=[bars.epochs("fine-tuning", epochs // 2 + 1)])
    stages.next()
    small = quantize(trained, calibration=x[:200])
    stages.next()
    return {"float": trained, "pruned": tuned, "int8": small}, history


def _form(name: str, model: ir.Model, data: Digits, output: Path) -> Form:
    _, _, x_test, y_test = data
    artifact = compile(model, name=f"digits_{name}", calibration=x_test)
    artifact.save(output / name)
    save(model, output / f"{name}.onnx")
    accuracy = evaluate(model, x_test, y_test, metrics=["accuracy"])["accuracy"]
    times = latency(artifact.session(), seconds=0.5)
    return Form(name, model, artifact, {"accuracy": float(accuracy), **times})


def _row(form: Form) -> dict[str, object]:
    figures = form.artifact.manifest["check"]
    status = figures["status"] if isinstance(figures, dict) else "not run"
    return {"name": form.name, "accuracy": form.figures["accuracy"],
            "file_bytes": form.artifact.library_bytes, "const_bytes": form.artifact.const_bytes,
            "arena_bytes": form.artifact.arena_bytes,
            "latency_us": form.figures["median_us"], "check": status}
