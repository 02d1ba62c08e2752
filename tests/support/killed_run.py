"""A run of training that uses everything a checkpoint must keep, and the ways to kill it.

As a program: killed_run.py HOW WHERE COUNT CHECKPOINT RESULT, where HOW is "reference" or
"compiled" and WHERE says what is counted until the process kills itself: "step" (steps done) or
"sync" (files written aside but not yet renamed). COUNT 0 lets it end; RESULT then holds the
weights.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.training.callbacks import (
    Callback,
    EarlyStopping,
    History,
    LambdaCallback,
    ReduceLROnPlateau,
)
from ganglion.training.fit import problem_of
from ganglion.training.loop.compiled import compiled
from ganglion.training.loop.epochs import Make, train
from ganglion.training.optimizers import Adam

ROWS, BATCH, EPOCHS = 21, 4, 4
STEPS = EPOCHS * -(-ROWS // BATCH)


def run(make: Make = NumpyStepper, checkpoint: Path | None = None, every: int = 2,
        callbacks: tuple[Callback, ...] = ()) -> tuple[ir.Model, History]:
    """Dropout, batch normalisation, slots, accumulators, averages, metrics, a rate that falls,
    best weights, a last batch of fewer rows."""
    model = L.Sequential([L.Input((3,)), L.Dense(4, "tanh"), L.BatchNormalization(momentum=0.5),
                          L.Dropout(0.3), L.Dense(1)], seed=0)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 3)).astype(np.float32)
    return train(problem_of(
        model, x, x.sum(1) + rng.normal(size=ROWS), loss="mse", metrics=["mae"], batch_size=BATCH,
        epochs=EPOCHS, seed=3, sample_weight=rng.uniform(0, 2, ROWS),
        optimizer=Adam(learning_rate=0.1, gradient_accumulation_steps=3, use_ema=True,
                       ema_momentum=0.7),
        validation_data=(x[:8], x[:8].sum(1)),
        callbacks=[ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=3.0), *callbacks,
                   EarlyStopping(patience=3)],
        checkpoint=checkpoint, checkpoint_steps=None if checkpoint is None else every), make)


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    """Every initializer of the Model by name."""
    return {str(name): value.const_value.numpy()
            for name, value in model.graph.initializers.items() if value.const_value is not None}


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _KillAfter:
    """Called so many times, it ends the process as a power cut would."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            _kill()


def main(how: str, where: str, count: str, checkpoint: str, result: str) -> None:
    make, callbacks = {"reference": NumpyStepper, "compiled": compiled}[how], ()
    killer = _KillAfter(int(count))
    if where == "step":
        callbacks = (LambdaCallback(on_batch_end=killer),)
    else:
        os.fsync = killer  # the bytes are written, the rename is to come
    model, _ = run(make, Path(checkpoint), callbacks=callbacks)
    np.savez(result, **weights(model))


if __name__ == "__main__":
    main(*sys.argv[1:])
