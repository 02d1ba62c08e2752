"""Training as an artefact: a step and its answers as C functions over one state block.

step (the library's first function):  x..., target..., sample_weight..., learning_rate [] ->
                                      loss [], losses...
evaluate:                             x..., target... -> loss [N], losses..., predictions...
predict:                              x... -> predictions...
correct, where asked for:             learning_rate [] ->   (`training.step.correction`)

The trained weights, running statistics, optimiser's slots and generators are the state; frozen
weights are constants that all three share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ganglion.artifact import Artifact, Target, compile
from ganglion.artifact.compile import memory_needed
from ganglion.artifact.samples import drawn, free_inputs, index_limit
from ganglion.errors import DataError, TargetError
from ganglion.ops import marks
from ganglion.ops.base import Array
from ganglion.ops.bindings import bindings
from ganglion.ops.graph import GraphBuilder, require_model
from ganglion.passes.single_ports import single_ports
from ganglion.runtime.trainer import CORRECT
from ganglion.training import losses as loss_module
from ganglion.training import optimizers
from ganglion.training.fit import choose_losses
from ganglion.training.options import LossSpec
from ganglion.training.rows.data import Arrays, prepare
from ganglion.training.schedules import LearningRateSchedule
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.building import (
    SAMPLE_WEIGHT,
    build_evaluation,
    build_step,
    trained_names,
)
from ganglion.training.step.correction import build_correction
from ganglion.training.step.modes import deployed_form
from ganglion.training.step.selection import Selection
from ganglion.training.step.state import State
from ganglion.training.step.weights import statistics


def compile_training(model: ir.Model, target: str | Target = "host", *, loss: LossSpec,
                     optimizer: str | optimizers.Optimizer = "rmsprop", batch_size: int = 32,
                     trainable: Selection = None, memory_bytes: int | None = None, seed: int = 0,
                     masks: Mapping[str, Array] | None = None, name: str | None = None,
                     calibration: tuple[Arrays, Arrays] | None = None, check: bool = True,
                     sample_weight: bool = False, correction: bool = False,
                     cc: str | None = None, isas: Sequence[str] | None = None) -> Artifact:
    """Builds what trains `model` on a device: `ganglion.runtime.Trainer` or C calls it.

    `loss`, `optimizer`, `batch_size`, `trainable`, `seed`, `masks`: as in `fit`. `calibration`:
    (x, y) of at least `batch_size` rows to check the build on; drawn ones otherwise.
    `memory_bytes`: what arena and state may take together; activations are computed a second time
    rather than kept where that is needed, with the same bits.
    `sample_weight`: a step takes a factor for each row as well, and with it batches that are not
    full. `correction`: a fourth function, `correct`, and the state that it reads: what learning
    together with devices whose data differ needs (`training.step.correction`). The other
    arguments are those of `compile`. `target`: any of the table; for one that does not run here the
    folder holds what to link or copy there.
    Raises what `fit` and `compile` raise.
    """
    require_model(model, "compile_training")
    model = deployed_form(single_ports(model))
    for argument, number, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise DataError(f"{argument}={number!r}: expected a whole number from {least} up")
    chosen = choose_losses(loss, [str(v.name) for v in model.graph.outputs])
    method = optimizers.get(optimizer)
    if isinstance(method.learning_rate, LearningRateSchedule) or method.use_ema:
        raise DataError(f"{method}: a device's step takes its rate at every call and has the plain "
                        "weights; give a number as learning_rate, and no use_ema")
    step, entries = functions(model, chosen, method, batch_size, trainable=trainable, seed=seed,
                              masks=masks, sample_weight=sample_weight, correction=correction)
    sample = _sample(model, chosen, step, batch_size, method.rate_at(0), calibration)
    step.graph.name = f"{model.graph.name or ''}_training"
    try:
        return compile(step, target, name=name, entries=entries,
                       calibration=sample, check=check, cc=cc, isas=isas,
                       memory_bytes=memory_bytes, cores=1)
    except TargetError as error:
        if memory_bytes is None:
            raise

        def needed(parts: int) -> int:
            waiting = parts * (method.gradient_accumulation_steps or 1)
            part = build_step(model, chosen, replace(method, gradient_accumulation_steps=waiting),
                              batch_size // parts, predictions=False, chosen=trainable,
                              weight_ranks=_ranks(model, sample_weight), corrected=correction)
            return memory_needed(part, target, isas)

        hint = _smaller_batch(batch_size, memory_bytes, needed)
        raise TargetError(f"{error}{hint}") from error


def _smaller_batch(rows: int, memory_bytes: int, needed: Callable[[int], int]) -> str:
    """What to say of the largest part of a batch that fits where gradients are added up.

    `needed`: bytes when the batch comes in so many parts.
    """
    for parts in (p for p in (2 ** k for k in range(1, 16)) if rows % p == 0):
        if (nbytes := needed(parts)) <= memory_bytes:
            return (f". A batch_size of {rows // parts} with gradient_accumulation_steps={parts} "
                    f"in the optimizer takes {nbytes} bytes")
    return ""


def functions(model: ir.Model, losses: Sequence[loss_module.Loss],
              optimizer: optimizers.Optimizer, rows: int, *, trainable: Selection = None,
              seed: int = 0, masks: Mapping[str, Array] | None = None,
              sample_weight: bool = False, correction: bool = False
              ) -> tuple[ir.Model, dict[str, ir.Model]]:
    """The step's Model, and those of the other functions, which bind the trained weights."""
    step = build_step(model, losses, optimizer, rows, seed=seed, predictions=False, masks=masks,
                      chosen=trainable, weight_ranks=_ranks(model, sample_weight),
                      corrected=correction)
    names = trained_names(model, step)
    moved = {str(v.name) for v in statistics(model)}
    for value in step.graph.inputs:
        if value.name in names:
            value.metadata_props[marks.WEIGHT] = "true"
            if value.name in moved:
                value.metadata_props[marks.STATISTIC] = "true"
        limit = index_limit(value) if value.name not in names else None
        if limit is not None:
            value.metadata_props[marks.LIMIT] = str(limit)
        if value.name == "learning_rate":
            value.metadata_props[marks.DEFAULT] = repr(optimizer.rate_at(0))
    step.metadata_props[marks.LOSS] = "loss"
    evaluation = build_evaluation(model, losses, rows, names, trainable)
    answer = fix_batch(model, rows)
    _bind(evaluation, model, names)
    _bind(answer, model, names)
    found = {"evaluate": evaluation, "predict": answer}
    if correction:
        found[CORRECT] = build_correction(model, [n for n in names if n not in moved])
    return step, found


def _ranks(model: ir.Model, sample_weight: bool) -> list[int]:
    return [1] * len(model.graph.outputs) if sample_weight else []


def _bind(model: ir.Model, original: ir.Model, names: Sequence[str]) -> None:
    """Makes the named weights state that the Model reads and leaves as it is."""
    state = State(GraphBuilder.extending(model))
    inputs = {v.name: v for v in model.graph.inputs}
    for name in names:
        value = inputs.get(name) or model.graph.initializers[name]
        value.const_value = original.graph.initializers[name].const_value
        model.graph.initializers[name] = value
        state.adopt(value)
    state.finish(model)


def _sample(model: ir.Model, losses: Sequence[loss_module.Loss], step: ir.Model, rows: int,
            rate: float, given: tuple[Arrays, Arrays] | None) -> dict[str, np.ndarray]:
    """What the build is checked on, by the names of the step's inputs: one batch."""
    free = [v for v in free_inputs(step, {b.input for b in bindings(step)})
            if v.name != "learning_rate"]
    fixed = {str(v.name): np.ones(rows, np.float32) for v in free
             if str(v.name).startswith(SAMPLE_WEIGHT)}
    fixed["learning_rate"] = np.asarray(rate, np.float32)
    if given is None:
        return drawn(free, 1)[0] | fixed
    if len(given) != 2:
        raise DataError(f"calibration has {len(given)} entries; expected (x, y)")
    data = prepare(fix_batch(model, rows), losses, *given)
    if data.rows < rows:
        raise DataError(f"calibration has {data.rows} rows; a step takes {rows}: give as many, or "
                        "leave it out")
    return dict(zip((str(v.name) for v in free), data.take(np.arange(rows)))) | fixed
