"""Handwritten digits: a small convolutional network, above 99 % of the test images right.

    python -m examples.mnist

Data: MNIST (LeCun, Cortes, Burges 1998), 60,000 + 10,000 images of 28 × 28, as the mnist.npz that
Keras publishes; it is downloaded if it is not there. Settings were chosen on 6,000 images held out
of the training part (--select); the test part was used once they were fixed.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

import ganglion as gg
from examples.common import accuracy, download, held_out, options, report
from ganglion import layers as L
from ganglion.data import RandomTranslation
from ganglion.training import Callback
from ganglion.training.schedules import ExponentialDecay

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
"""From keras/src/datasets/mnist.py."""

EPOCHS, BATCH, RATE, DECAY, GOAL = 12, 32, 0.001, 0.8, 0.985
"""RATE is the learning rate at first; after every epoch it is DECAY of what it was."""


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x in [0, 1] [rows, 28, 28, 1] and digits y, for training and for testing."""
    with np.load(download(URL, folder / "mnist.npz", SHA256), allow_pickle=False) as file:
        x, y, xt, yt = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    return (x[..., None] / np.float32(255), y.astype(np.int32),
            xt[..., None] / np.float32(255), yt.astype(np.int32))


def network(seed: int) -> ir.Model:
    """conv16 - pool - conv32 - pool - 64 - 10."""
    return gg.Sequential([
        gg.Input((28, 28, 1)),
        L.Conv2D(16, 3, activation="relu"), L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"), L.MaxPooling2D(),
        L.Flatten(), L.Dropout(0.2), L.Dense(64, activation="relu"),
        L.Dropout(0.2), L.Dense(10, activation="softmax"),
    ], name="mnist", seed=seed)


@dataclass
class Clock(Callback):
    """Notes the seconds, the compilation of the step included, until `val_accuracy` is `GOAL`,
    looked at after every epoch."""

    start: float = field(default_factory=time.perf_counter)
    seconds: float | None = None

    def on_epoch_end(self, epoch, logs, run):
        if self.seconds is None and logs["val_accuracy"] >= GOAL:
            self.seconds = time.perf_counter() - self.start


def train(x: np.ndarray, y: np.ndarray, xt: np.ndarray, yt: np.ndarray, seed: int,
          epochs: int) -> tuple[ir.Model, float | None]:
    """The network, and the seconds until it passed GOAL; (xt, yt) are watched, not learnt from."""
    clock = Clock()
    rate = ExponentialDecay(RATE, decay_steps=len(x) // BATCH, decay_rate=DECAY)
    net, _ = gg.fit(network(seed), x, y, loss="sparse_categorical_crossentropy",
                    optimizer=gg.optimizers.Adam(learning_rate=rate), epochs=epochs,
                    batch_size=BATCH, seed=seed, metrics=["accuracy"], callbacks=[clock],
                    augment=RandomTranslation(0.08, 0.08, "constant"), validation_data=(xt, yt))
    return net, clock.seconds


def main() -> None:
    """Trains, tests and compiles as the command line asks."""
    chosen = options(__doc__, EPOCHS)
    x, y, xt, yt = load(chosen.data)
    if chosen.select:
        part = held_out(y, 10)
        x, y, xt, yt = x[part > 0], y[part > 0], x[part == 0], y[part == 0]
    start = time.perf_counter()
    net, seconds = train(x, y, xt, yt, chosen.seed, chosen.epochs)
    report(net, xt, [f"accuracy {accuracy(net, xt, yt):.2%} on {len(yt):,} images",
                     f"trained in {time.perf_counter() - start:.1f} s; {GOAL:.1%} "
                     + (f"after {seconds:.1f} s" if seconds else "was not reached")])


if __name__ == "__main__":
    main()
