"""The training loop: epochs of steps, validation, stopping, checkpoints. No file is compiled here:
`Make` turns a step Model into something that runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.bindings import bindings
from ganglion.training import checkpoint
from ganglion.training.callbacks import (
    Callback,
    EarlyStopping,
    History,
    Run,
    Stepper,
    StopAtLoss,
    Stopping,
    Watch,
    monitored,
)
from ganglion.training.data import Dataset, batches
from ganglion.training.losses import Loss
from ganglion.training.metrics import Metric, compute
from ganglion.training.optimizers import Optimizer
from ganglion.training.selection import Selection
from ganglion.training.source import Source
from ganglion.training.step import build_evaluation, build_step, trained_names
from ganglion.training.weights import write_back

Make = Callable[[ir.Model, Sequence[Array]], Stepper]
"""Turns a Model, with or without state, into something that runs; an array for each of its inputs
shows what it will be called with."""


@dataclass(frozen=True)
class Problem:
    """A run of training, everything checked and converted."""

    model: ir.Model
    losses: tuple[Loss, ...]
    optimizer: Optimizer
    source: Source
    validation: Dataset | None
    epochs: int
    batch_size: int
    metrics: Mapping[str, Metric]
    seed: int
    stopping: tuple[Stopping, ...]
    callbacks: tuple[Callback, ...]
    checkpoint: Path | None
    masks: Mapping[str, Array]
    trainable: Selection = None


def loss_names(outputs: Sequence[str]) -> list[str]:
    """The losses that a step gives, by their names in the history: of all, and of each output
    where there are several."""
    return ["loss", *(f"{name}_loss" for name in outputs if len(outputs) > 1)]


def train(problem: Problem, make: Make) -> tuple[ir.Model, History]:
    """Runs the problem; the trained copy of its Model, and what happened."""
    return _Loop(problem, make).run()


class _Loop:
    """The moving parts: steppers for whole and for shorter batches, history, watches."""

    def __init__(self, problem: Problem, make: Make) -> None:
        self.problem = p = problem
        self.losses = loss_names(self._names())
        self._check_rules()
        self.rows, first = p.source.rows, p.source.first()
        step = self._step(self.rows)
        self.bound = [b.input for b in bindings(step)]
        self.weights = trained_names(p.model, step)
        self.full = make(step, self._example(first, self.rows))
        self.make, self.shorter = make, dict[int, Stepper]()
        self.judge: Stepper | None = None
        if p.validation is not None:
            self.judge_rows = min(p.batch_size, p.validation.rows)
            weights = self._weights()
            self.judge = make(
                build_evaluation(p.model, p.losses, self.judge_rows, self.weights, p.trainable),
                [*p.validation.take(np.arange(self.judge_rows)),
                 *(weights[name] for name in self.weights)])
        self.watches = [Watch(s) for s in p.stopping if isinstance(s, EarlyStopping)]
        self.history = History()
        self.run_state = Run(p.epochs, p.source.steps, p.optimizer.learning_rate, self.full)
        self.print = "" if p.checkpoint is None else self._fingerprint(step)

    def run(self) -> tuple[ir.Model, History]:
        p, run = self.problem, self.run_state
        self._resume()
        for callback in p.callbacks:
            callback.on_train_begin(run)
        first = self.history.epoch[-1] + 1 if self.history.epoch else 0
        for epoch in range(first, p.epochs):
            if self.history.stopped is not None:
                break
            self._epoch(epoch)
            self._save()
        for callback in p.callbacks:
            callback.on_train_end(run)
        weights = self._weights()
        for watch in self.watches:
            weights |= watch.weights or {}
        return write_back(p.model, weights), self.history

    def _epoch(self, epoch: int) -> None:
        p, run = self.problem, self.run_state
        for callback in p.callbacks:
            callback.on_epoch_begin(epoch, run)
        logs = self._learn(epoch)
        if self.judge is not None and p.validation is not None:
            logs |= {f"val_{k}": v for k, v in self._validate(self.judge, p.validation).items()}
        self.history.add(epoch, logs)
        for callback in p.callbacks:
            callback.on_epoch_end(epoch, logs, run)
        self.history.stopped = self._stop_reason(epoch, logs)

    def _learn(self, epoch: int) -> dict[str, float]:
        """One pass over the data; loss and metrics of the batches as they were trained."""
        p = self.problem
        rows, total, count = 0, np.zeros(len(self.losses)), len(self.losses)
        predictions: list[Sequence[Array]] = []
        targets: list[Sequence[Array]] = []
        for step, batch in enumerate(p.source.epoch(epoch)):
            outputs = self._step_once(batch, epoch, step)
            rows += batch.rows
            total += batch.rows * np.array(outputs[:count], np.float64)
            if p.metrics:
                predictions.append([np.array(o) for o in outputs[count:]])
                targets.append(batch.targets)
            for callback in p.callbacks:
                callback.on_batch_end(step, {"loss": float(outputs[0])}, self.run_state)
        logs = dict(zip(self.losses, (total / rows).tolist()))
        if p.metrics:
            joined, truths = ([np.concatenate(parts) for parts in zip(*each)]
                              for each in (predictions, targets))
            logs |= compute(p.metrics, truths, joined, self._names())
        return logs

    def _step_once(self, batch: Dataset, epoch: int, step: int) -> Sequence[Array]:
        rate = np.asarray(self.run_state.learning_rate, np.float32)
        if batch.rows == self.rows:
            outputs = self.full.run(*batch.arrays, rate)
        else:
            if batch.rows not in self.shorter:
                self.shorter[batch.rows] = self.make(self._step(batch.rows),
                                                     self._example(batch, batch.rows))
            shorter = self.shorter[batch.rows]
            self._copy_state(self.full, shorter)
            outputs = shorter.run(*batch.arrays, rate)
            self._copy_state(shorter, self.full)
        loss = float(outputs[0])
        if not math.isfinite(loss):
            raise DataError(f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}; try a "
                            f"learning rate below {self.run_state.learning_rate:g}, inputs scaled "
                            "to about 1, or clipnorm=1.0 in the optimizer")
        return outputs

    def _validate(self, judge: Stepper, data: Dataset) -> dict[str, float]:
        values = self._weights()
        weights = [values[name] for name in self.weights]
        total, count = np.zeros(len(self.losses)), len(self.losses)
        predictions: list[Sequence[Array]] = []
        for index in batches(np.arange(data.rows), self.judge_rows):
            found = judge.run(*data.take(np.resize(index, self.judge_rows)), *weights)
            outputs = [o[:len(index)] for o in found]
            total += np.array(outputs[:count], np.float64).sum(1)
            predictions.append([np.array(o) for o in outputs[count:]])
        logs = dict(zip(self.losses, (total / data.rows).tolist()))
        joined = [np.concatenate(parts) for parts in zip(*predictions)]
        return logs | compute(self.problem.metrics, data.targets, joined, self._names())

    def _stop_reason(self, epoch: int, logs: Mapping[str, float]) -> str | None:
        reasons = [] if not self.run_state.stop else ["a callback asked to stop"]
        kept = self._weights() if any(w.rule.restore_best_weights for w in self.watches) else {}
        for watch in self.watches:
            reasons.append(watch.see(epoch, logs, kept) or "")
        for rule in self.problem.stopping:
            if isinstance(rule, StopAtLoss) and monitored(rule.monitor, logs) <= rule.value:
                reasons.append(f"{rule.monitor} {logs[rule.monitor]:g} reached {rule.value:g}")
        return next((r for r in reasons if r), None)

    def _check_rules(self) -> None:
        """DataError for a rule that watches what the run will not give, before any work."""
        p, outputs = self.problem, self._names()
        given = [*self.losses, *(name if len(outputs) == 1 else f"{output}_{name}"
                           for output in outputs for name in p.metrics)]
        if p.validation is not None:
            given += [f"val_{name}" for name in given]
        for rule in p.stopping:
            monitored(rule.monitor, dict.fromkeys(given, 0.0))

    def _example(self, data: Dataset, rows: int) -> list[Array]:
        """What a step is called with: the first rows, and the learning rate."""
        rate = np.asarray(self.problem.optimizer.learning_rate, np.float32)
        return [*data.take(np.arange(rows)), rate]

    def _step(self, rows: int) -> ir.Model:
        p = self.problem
        return build_step(p.model, p.losses, p.optimizer, rows, seed=p.seed,
                          predictions=bool(p.metrics), masks=p.masks, chosen=p.trainable)

    def _names(self) -> list[str]:
        return [str(v.name) for v in self.problem.model.graph.outputs]

    def _weights(self) -> dict[str, Array]:
        return {name: np.array(self.full.get(name)) for name in self.weights}

    def _copy_state(self, source: Stepper, target: Stepper) -> None:
        for name in self.bound:
            target.set(name, source.get(name))

    def _fingerprint(self, step: ir.Model) -> str:
        p = self.problem
        marks, arrays = p.source.marks()
        settings: dict[str, object] = {
            "seed": p.seed, "source": marks,
            "learning_rate": float(p.optimizer.learning_rate),
            "metrics": list(p.metrics), "stopping": [[type(s).__name__, asdict(s)]
                                                     for s in p.stopping]}
        held = () if p.validation is None else p.validation.arrays
        return checkpoint.fingerprint(step, settings, [*arrays, *held])

    def _resume(self) -> None:
        if self.problem.checkpoint is None:
            return
        point = checkpoint.load(self.problem.checkpoint, self.print, self.watches)
        if point is None:
            return
        for name in self.bound:
            if name not in point.state or point.state[name].shape != self.full.get(name).shape:
                raise DataError(f"{self.problem.checkpoint} is not a readable checkpoint (no value "
                                f"for {name!r}); delete it to start afresh")
        for name in self.bound:
            self.full.set(name, point.state[name])
        self.history, self.run_state.learning_rate = point.history, point.learning_rate

    def _save(self) -> None:
        if self.problem.checkpoint is None:
            return
        state = {name: np.array(self.full.get(name)) for name in self.bound}
        checkpoint.save(self.problem.checkpoint,
                        checkpoint.Checkpoint(self.print, state, self.history,
                                              self.run_state.learning_rate), self.watches)
