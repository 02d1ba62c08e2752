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
from ganglion.runtime.batches import batches
from ganglion.training.loop import checkpoint
from ganglion.training.loop.progress import Progress
from ganglion.training.loop.run import Callback, History, Run, Stepper, monitored
from ganglion.training.loop.stopping import EarlyStopping, StopAtLoss, Stopping, Watch
from ganglion.training.losses import Loss
from ganglion.training.metrics import Metric, compute
from ganglion.training.rows.data import Dataset
from ganglion.training.rows.sample_weights import padded, uniform
from ganglion.training.rows.source import Source
from ganglion.training.schedules import LearningRateSchedule
from ganglion.training.step.building import (
    account,
    build_evaluation,
    build_step,
    rows_are_apart,
    trained_names,
)
from ganglion.training.step.optimizer import AVERAGE, Optimizer
from ganglion.training.step.selection import Selection
from ganglion.training.step.weights import write_back

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
    checkpoint_steps: int | None
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
    """The moving parts: steppers for whole and for other batches, progress, history, watches."""

    def __init__(self, problem: Problem, make: Make) -> None:
        self.problem = p = problem
        self.losses = loss_names(self._names())
        self.scheduled = isinstance(p.optimizer.learning_rate, LearningRateSchedule)
        self._check_watched()
        self.rows, self.first = p.source.rows, p.source.first()
        step = self._step(self.rows)
        self.padded = p.source.uneven and rows_are_apart(p.model, step)
        if self.padded:
            self.first = uniform(self.first)
            step = self._step(self.rows)
        self.bound = [b.input for b in bindings(step)]
        self.weights = trained_names(p.model, step)
        self.account = account(p.model, step, p.trainable)
        self.full = make(step, self._example(self.first, self.rows))
        self.make, self.others = make, dict[int, Stepper]()
        self.judge = None if p.validation is None else self._judge(p.validation, make)
        self.watches = [Watch(s) for s in p.stopping if isinstance(s, EarlyStopping)]
        self.at = Progress(np.zeros(len(self.losses)))
        self.run_state = Run(p.epochs, p.source.steps, p.optimizer.rate_at(0),
                             self.full, History(), lambda: write_back(p.model, self._weights()))
        self.print = "" if p.checkpoint is None else self._fingerprint(step)

    def run(self) -> tuple[ir.Model, History]:
        p, run = self.problem, self.run_state
        point = None if p.checkpoint is None else checkpoint.load(p.checkpoint, self.print,
                                                                  self.watches, p.callbacks)
        for callback in p.callbacks:
            callback.on_train_begin(run)
        if point is not None:
            self._resume(point)
        run.history.trained, run.history.frozen = self.account
        while self.at.epoch < p.epochs and run.history.stopped is None:
            self._epoch()
            self._save()
        for callback in p.callbacks:
            callback.on_train_end(run)
        weights = self._weights()
        if p.optimizer.use_ema and self.at.taken > 0:
            weights |= self._averages()
        for watch in self.watches:
            weights |= watch.weights or {}
        return write_back(p.model, weights), run.history

    def _epoch(self) -> None:
        p, run, epoch = self.problem, self.run_state, self.at.epoch
        if self.at.step == 0:
            for callback in p.callbacks:
                callback.on_epoch_begin(epoch, run)
        logs = self._learn()
        if self.judge is not None and p.validation is not None:
            logs |= {f"val_{k}": v for k, v in self._validate(self.judge, p.validation).items()}
        if self._shows_rate():
            logs["learning_rate"] = run.learning_rate
        run.history.add(epoch, logs)
        for callback in p.callbacks:
            callback.on_epoch_end(epoch, logs, run)
        run.history.stopped = self._stop_reason(epoch, logs)
        self.at.end_epoch()

    def _learn(self) -> dict[str, float]:
        """The rest of a pass over the data; loss and metrics of all its batches as they were
        trained."""
        p, at = self.problem, self.at
        for batch in p.source.epoch(at.epoch, at.step):
            outputs = self._step_once(batch)
            at.add(batch.rows, outputs, batch.targets if p.metrics else None)
            for callback in p.callbacks:
                callback.on_batch_end(at.step - 1, {"loss": float(outputs[0])}, self.run_state)
            if p.checkpoint_steps is not None and at.taken % p.checkpoint_steps == 0:
                self._save()
        logs = dict(zip(self.losses, (at.total / at.rows).tolist()))
        if p.metrics:
            predictions, targets = at.joined()
            logs |= compute(p.metrics, targets, predictions, self._names(), p.losses)
        return logs

    def _step_once(self, batch: Dataset) -> Sequence[Array]:
        rate = np.asarray(self._rate(), np.float32)
        if self.padded:
            batch = uniform(batch)
        if batch.rows == self.rows:
            outputs = self.full.run(*batch.arrays, rate)
        elif self.padded and batch.rows < self.rows:
            outputs = self.full.run(*padded(batch, self.rows).arrays, rate)
            count = len(self.losses)
            outputs = [*outputs[:count], *(o[:batch.rows] for o in outputs[count:])]
        else:
            outputs = self._other(batch).run(*batch.arrays, rate)
            self._copy_state(self.others[batch.rows], self.full)
        loss = float(outputs[0])
        if not math.isfinite(loss):
            raise DataError(f"the loss became {loss} in epoch {self.at.epoch + 1}, step "
                            f"{self.at.step + 1}; try a learning rate below {float(rate):g}, "
                            "inputs scaled to about 1, or clipnorm=1.0 in the optimizer")
        return outputs

    def _other(self, batch: Dataset) -> Stepper:
        """A step for batches of this size, with the state of now."""
        rows = batch.rows
        if rows not in self.others:
            self.others[rows] = self.make(self._step(rows), self._example(batch, rows))
        self._copy_state(self.full, self.others[rows])
        return self.others[rows]

    def _rate(self) -> float:
        """The learning rate of the step to come; DataError when two want to set it."""
        p, run, taken = self.problem, self.run_state, self.at.taken
        if self.scheduled:
            if run.learning_rate != p.optimizer.rate_at(max(0, taken - 1)):
                raise DataError(f"a callback set the learning rate to {run.learning_rate:g}, but "
                                f"the optimizer follows {p.optimizer.learning_rate}; leave one of "
                                "them out")
            run.learning_rate = p.optimizer.rate_at(taken)
        return run.learning_rate

    def _shows_rate(self) -> bool:
        return self.scheduled or any(c.sets_learning_rate for c in self.problem.callbacks)

    def _judge(self, data: Dataset, make: Make) -> Stepper:
        """What validates: the network without training mode, its weights as inputs."""
        p, rows, weights = self.problem, min(self.problem.batch_size, data.rows), self._weights()
        return make(build_evaluation(p.model, p.losses, rows, self.weights, p.trainable,
                                     data.weight_ranks),
                    [*data.take(np.arange(rows)), *(weights[name] for name in self.weights)])

    def _validate(self, judge: Stepper, data: Dataset) -> dict[str, float]:
        values, rows = self._weights(), min(self.problem.batch_size, data.rows)
        weights = [values[name] for name in self.weights]
        total, count = np.zeros(len(self.losses)), len(self.losses)
        predictions: list[Sequence[Array]] = []
        for index in batches(np.arange(data.rows), rows):
            found = judge.run(*data.take(np.resize(index, rows)), *weights)
            outputs = [o[:len(index)] for o in found]
            total += np.array(outputs[:count], np.float64).sum(1)
            predictions.append([np.array(o) for o in outputs[count:]])
        logs = dict(zip(self.losses, (total / data.rows).tolist()))
        joined = [np.concatenate(parts) for parts in zip(*predictions)]
        return logs | compute(self.problem.metrics, data.targets, joined, self._names(),
                              self.problem.losses)

    def _stop_reason(self, epoch: int, logs: Mapping[str, float]) -> str | None:
        reasons = [] if not self.run_state.stop else ["a callback asked to stop"]
        kept = self._weights() if any(w.rule.restore_best_weights for w in self.watches) else {}
        for watch in self.watches:
            reasons.append(watch.see(epoch, logs, kept) or "")
        for rule in self.problem.stopping:
            if isinstance(rule, StopAtLoss) and monitored(rule.monitor, logs) <= rule.value:
                reasons.append(f"{rule.monitor} {logs[rule.monitor]:g} reached {rule.value:g}")
        return next((r for r in reasons if r), None)

    def _check_watched(self) -> None:
        """DataError for a rule or callback that watches what the run will not give, or for two
        that set the learning rate, before any work."""
        p, outputs = self.problem, self._names()
        given = [*self.losses, *(name if len(outputs) == 1 else f"{output}_{name}"
                           for output in outputs for name in p.metrics)]
        if p.validation is not None:
            given += [f"val_{name}" for name in given]
        wanted = [*(rule.monitor for rule in p.stopping), *(c.watched() for c in p.callbacks)]
        for name in wanted:
            if name is not None:
                monitored(name, dict.fromkeys(given, 0.0))
        setters = [type(c).__name__ for c in p.callbacks if c.sets_learning_rate]
        if setters and self.scheduled:
            raise DataError(f"{setters[0]} sets the learning rate, but the optimizer follows "
                            f"{p.optimizer.learning_rate}; leave one of them out")

    def _example(self, data: Dataset, rows: int) -> list[Array]:
        """What a step is called with: the first rows, and the learning rate."""
        rate = np.asarray(self.problem.optimizer.rate_at(0), np.float32)
        return [*data.take(np.arange(rows)), rate]

    def _step(self, rows: int) -> ir.Model:
        p = self.problem
        return build_step(p.model, p.losses, p.optimizer, rows, seed=p.seed,
                          predictions=bool(p.metrics), masks=p.masks,
                          chosen=p.trainable, weight_ranks=self.first.weight_ranks)

    def _names(self) -> list[str]:
        return [str(v.name) for v in self.problem.model.graph.outputs]

    def _weights(self) -> dict[str, Array]:
        return {name: np.array(self.full.get(name)) for name in self.weights}

    def _averages(self) -> dict[str, Array]:
        """Of the weights that have a moving average; what a mask holds at zero stays there."""
        masks = self.problem.masks
        return {name: np.array(self.full.get(f"{name}{AVERAGE}")) * masks.get(name, np.float32(1))
                for name in self.weights if f"{name}{AVERAGE}" in self.bound}

    def _copy_state(self, source: Stepper, target: Stepper) -> None:
        for name in self.bound:
            target.set(name, source.get(name))

    def _fingerprint(self, step: ir.Model) -> str:
        p = self.problem
        marks, arrays = p.source.marks()
        settings: dict[str, object] = {
            "seed": p.seed, "source": marks, "optimizer": repr(p.optimizer),
            "metrics": list(p.metrics), "stopping": [[type(s).__name__, asdict(s)]
                                                     for s in p.stopping]}
        held = () if p.validation is None else p.validation.arrays
        return checkpoint.fingerprint(step, settings, [*arrays, *held])

    def _resume(self, point: checkpoint.Checkpoint) -> None:
        p, run = self.problem, self.run_state
        self._check_fit(point)
        for name in self.bound:
            self.full.set(name, point.state[name])
        for callback, state in zip(checkpoint.stateful(p.callbacks), point.callbacks):
            if state:
                try:
                    callback.restore(state)
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    raise self._damaged(f"{type(callback).__name__} cannot take up "
                                        f"{dict(state)}: {error!r}") from error
        run.history, run.learning_rate, run.stop = point.history, point.learning_rate, point.stop
        self.at = point.progress

    def _check_fit(self, point: checkpoint.Checkpoint) -> None:
        """DataError for tensors and counts that no run of this problem comes to."""
        kept = [(name, point.state) for name in self.bound]
        kept += [(name, w.weights) for w in self.watches if w.weights for name in self.weights]
        for name, arrays in kept:
            found, own = arrays.get(name), self.full.get(name)
            if found is None or (found.shape, found.dtype) != (own.shape, own.dtype):
                raise self._damaged(f"no value for {name!r}")
        at, steps = point.progress, self.run_state.steps
        parts = [len(part) for output in (*at.predictions, *at.targets) for part in output
                 if part.ndim]
        outputs = len(at.predictions), len(at.targets)
        if (at.step > steps or at.taken < at.step or (at.rows == 0) != (at.step == 0)
                or at.total.shape != (len(self.losses),) or outputs[0] != outputs[1]
                or len(parts) != sum(outputs) or set(parts) - {at.rows}):
            raise self._damaged(f"step {at.step} of {steps}, {at.rows} rows")

    def _damaged(self, why: str) -> DataError:
        return DataError(f"{self.problem.checkpoint} is not a readable checkpoint ({why}); delete "
                         "it to start afresh, or give another path")

    def _save(self) -> None:
        p, run = self.problem, self.run_state
        if p.checkpoint is None:
            return
        state = {name: np.array(self.full.get(name)) for name in self.bound}
        kept = tuple(callback.state() for callback in checkpoint.stateful(p.callbacks))
        checkpoint.save(p.checkpoint,
                        checkpoint.Checkpoint(self.print, state, run.history, run.learning_rate,
                                              run.stop, self.at, kept), self.watches, p.callbacks)
