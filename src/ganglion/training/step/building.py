"""The two Models that a run of training executes: the step, and the evaluation.

step:        inputs x..., target..., sample_weight..., learning_rate [];
             outputs loss [], losses..., predictions...;
             bound: weights, running statistics, the optimiser's slots and counter, generators.
evaluation:  inputs x..., target..., sample_weight..., weights...;
             outputs loss [N], losses..., predictions...;  no state.

sample_weight: where asked for, one for each output of the network.

losses: of each output of the network alone, without penalties; none for a single output.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from ganglion.errors import DataError, ModelError
from ganglion.ops.base import Array
from ganglion.ops.bindings import bindings
from ganglion.ops.exported import is_float
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.marks import CONSTANT, PRUNED
from ganglion.ops.values import static_shape
from ganglion.passes.simplify.split_depth import SplitDepth
from ganglion.training.losses import Loss
from ganglion.training.optimizers import Optimizer
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.correction import keep_corrections
from ganglion.training.step.differentiate import gradients
from ganglion.training.step.modes import enter_training
from ganglion.training.step.selection import Selection, select
from ganglion.training.step.state import State
from ganglion.training.step.weights import (
    STATISTIC,
    frozen,
    penalty,
    require_trainable,
    trainable,
)

SAMPLE_WEIGHT = "sample_weight."
"""What stands before an output's name in that of the factors of its rows."""


def build_step(model: ir.Model, losses: Sequence[Loss], optimizer: Optimizer, rows: int, *,
               seed: int = 0, predictions: bool = True,
               masks: Mapping[str, Array] | None = None, chosen: Selection = None,
               weight_ranks: Sequence[int] = (), corrected: bool = False) -> ir.Model:
    """Forward in training mode, loss, backward, update, for a batch of `rows`.

    `losses`: one for each output of the Model; the step's loss is their sum plus the penalties.
    `weight_ranks`: for sample weights, their number of dimensions for each output: 1 for one
    weight a row.
    `masks`: weight name -> 0/1 array of its shape; the weight is multiplied by it in every step.
    Without one, the zeros of a pruned weight stay zero. `corrected`: keep what
    the function `correct` needs (`training.step.correction`).
    `chosen`: what is trained (`training.step.selection`); other weights are constants of the step.
    Raises ModelError when the network cannot be trained (`require_trainable`) or nothing in it is
    trainable, UnsupportedOp when a node has no gradient, DataError for masks that do not fit.
    """
    require_trainable(model)
    copy = fix_batch(model, rows)
    weights, normalising = select(copy, chosen)
    if not weights:
        raise ModelError("the network has no trainable weights: no initializer is marked "
                         '"ganglion.trainable" = "true" and none feeds a layer that learns')
    SplitDepth()(copy)  # gradients are known over images
    g = GraphBuilder.extending(copy)
    state, count = State(g), len(copy.graph.outputs)
    enter_training(state, copy, normalising, seed)
    predicted = list(copy.graph.outputs)[:count]
    targets = _targets(g, losses, predicted)
    factors = _sample_weights(g, predicted, weight_ranks)
    parts = [loss.total(g, *each) for loss, each in zip(
        losses, zip(targets, predicted, factors))]
    total = _sum(g, [*parts, *penalty(g, weights)])
    rate = g.input("learning_rate", ir.DataType.FLOAT, ())
    pairs = [(w, dw) for w, dw in zip(weights, gradients(g, total, weights)) if dw is not None]
    if not pairs:
        raise ModelError(f"the loss depends on none of the trainable weights "
                         f"({', '.join(str(w.name) for w in weights[:5])}): what lies between lets "
                         "no gradient through, or the outputs do not read them")
    for weight, _ in pairs:
        state.adopt(weight)
    for (weight, _), updated in zip(pairs, optimizer.apply(state, pairs, rate)):
        state.becomes(weight, _masked(g, weight, updated, masks or {}))
    if corrected:
        keep_corrections(state, [w for w, _ in pairs])
    _check_masks(masks or {}, [w for w, _ in pairs])
    outputs = list(copy.graph.outputs)
    copy.graph.outputs.clear()
    _output_losses(g, total, parts, predicted)
    copy.graph.outputs.extend(outputs if predictions else outputs[count:])
    state.finish(copy)
    common.RemoveUnusedNodesPass()(copy)
    copy.graph.sort()
    return copy


def build_evaluation(model: ir.Model, losses: Sequence[Loss], rows: int,
                     weights: Sequence[str], chosen: Selection = None,
                     weight_ranks: Sequence[int] = ()) -> ir.Model:
    """Forward only, with the named initializers as inputs: loss of each row [N], predictions.

    The rows' mean is the loss as the step gives it, penalties of the `chosen` weights included.
    """
    copy = fix_batch(model, rows)
    trained, _ = select(copy, chosen)
    g = GraphBuilder.extending(copy)
    predicted = list(copy.graph.outputs)
    copy.graph.outputs.clear()
    targets = _targets(g, losses, predicted)
    factors = _sample_weights(g, predicted, weight_ranks)
    parts = [loss.per_sample(g, *each) for loss, each in zip(
        losses, zip(targets, predicted, factors))]
    total = _sum(g, [*parts, *penalty(g, trained)])
    for name in weights:
        value = copy.graph.initializers.pop(name)
        value.const_value = None
        copy.graph.inputs.append(value)
    _output_losses(g, total, parts, predicted)
    for value in predicted:
        g.output(str(value.name), value)
    common.RemoveUnusedNodesPass()(copy)
    copy.graph.sort()
    return copy


def trained_names(model: ir.Model, step: ir.Model) -> list[str]:
    """The initializers of `model` that the step changes: weights and running statistics."""
    return [b.input for b in bindings(step) if b.input in model.graph.initializers]


def account(model: ir.Model, step: ir.Model, chosen: Selection) -> tuple[list[str], dict[str, str]]:
    """The weights of `model` that gradients change in the step, and why the other floats stay."""
    moved, reasons = set(trained_names(model, step)), frozen(model)
    asked = {w.name for w in select(model.clone(), chosen)[0]}
    trained: list[str] = []
    still: dict[str, str] = {}
    for value in model.graph.initializers.values():
        if not is_float(value) or CONSTANT in value.metadata_props:
            continue
        name = str(value.name)
        if name in moved and reasons.get(value) != STATISTIC:
            trained.append(name)
        elif value in reasons and (name in moved or reasons[value] != STATISTIC):
            still[name] = reasons[value]
        elif value in reasons:
            still[name] = "a running statistic of a normalisation that is frozen"
        else:
            still[name] = ("its gradient is always zero" if name in asked
                           else "not named by trainable")
    return trained, still


def rows_are_apart(model: ir.Model, step: ir.Model) -> bool:
    """Whether the step's forward pass keeps no state of its own (generators, running statistics):
    then a row's gradient depends on that row alone. Such state comes first among the bindings."""
    return bindings(step)[0].input in {v.name for v in trainable(model)}


def _targets(g: GraphBuilder, losses: Sequence[Loss],
             predicted: Sequence[ir.Value]) -> list[ir.Value]:
    if not predicted:
        raise ModelError("the network has no outputs to compare with targets")
    if len(losses) != len(predicted):
        raise DataError(f"{len(losses)} losses for a network with {len(predicted)} outputs; give "
                        "one loss for each output, in their order")
    return [g.input(f"target.{p.name}", *loss.target(p)) for loss, p in zip(losses, predicted)]


def _sample_weights(g: GraphBuilder, predicted: Sequence[ir.Value],
                    ranks: Sequence[int]) -> list[ir.Value | None]:
    if not ranks:
        return [None] * len(predicted)
    return [g.input(f"{SAMPLE_WEIGHT}{p.name}", ir.DataType.FLOAT, static_shape(p)[:rank])
            for p, rank in zip(predicted, ranks)]


def _sum(g: GraphBuilder, parts: Sequence[ir.Value]) -> ir.Value:
    total = parts[0]
    for part in parts[1:]:
        total = g.op("Add", total, part)
    return total


def _output_losses(g: GraphBuilder, total: ir.Value, parts: Sequence[ir.Value],
                   predicted: Sequence[ir.Value]) -> None:
    g.output("loss", total)
    if len(parts) > 1:
        for part, value in zip(parts, predicted):
            g.output(f"loss.{value.name}", part)


def _masked(g: GraphBuilder, weight: ir.Value, updated: ir.Value,
            masks: Mapping[str, Array]) -> ir.Value:
    if str(weight.name) in masks:
        mask = np.asarray(masks[str(weight.name)])
    elif weight.metadata_props.get(PRUNED) == "true" and weight.const_value is not None:
        mask = weight.const_value.numpy() != 0
    else:
        return updated
    if static_shape(weight) != mask.shape:
        raise DataError(f"mask for {weight.name!r} has shape {list(mask.shape)}, the weight "
                        f"{list(static_shape(weight))}")
    if not np.isin(mask, (0, 1)).all():
        raise DataError(f"mask for {weight.name!r} holds other values than 0 (stays zero) and 1")
    kept = g.constant(mask.astype("float32"), f"{weight.name}.mask", share=False)
    return g.op("Mul", updated, kept)


def _check_masks(masks: Mapping[str, Array], weights: Sequence[ir.Value]) -> None:
    trained = {str(w.name) for w in weights}
    for name in masks:
        if name not in trained:
            raise DataError(f"mask for {name!r}, which is not trained; trained are "
                            f"{sorted(trained)}")
