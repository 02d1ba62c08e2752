"""Training mode: what an inference graph does differently while it learns.

Layers write inference graphs: `Dropout` passes its input through, `BatchNormalization` uses its
running statistics. Here the first drops, the second normalises by the batch.
"""

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.exported import separate_parameters
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.marks import TRAINABLE
from ganglion.ops.named import BATCH_NORMALIZATION, DROPOUT
from ganglion.ops.random import dropout
from ganglion.ops.values import static_shape
from ganglion.passes.infer import InferShapes
from ganglion.passes.leave_training import LeaveTraining
from ganglion.passes.simplify.lay_open import LayOpen
from ganglion.training.step.state import State
from ganglion.training.step.weights import PYTORCH


def enter_training(state: State, model: ir.Model, trained: frozenset[ir.Value],
                   seed: int) -> None:
    """Rewrites every Dropout and BatchNormalization of the graph that `state` builds on.

    A frozen BatchNormalization keeps its running statistics, as a Keras layer with trainable=False
    does: one whose scale and shift are both frozen, or without either one marked so itself.
    Generators start from (seed, number of the Dropout).
    """
    drops = 0
    for node in list(model.graph):
        if is_op(node, DROPOUT):
            _drop(state, node, np.random.SeedSequence([seed, drops]))
            drops += 1
        elif (is_op(node, BATCH_NORMALIZATION)
              and _learns(node, trained)):
            _normalise_by_batch(state, node, model.producer_name == PYTORCH)
    model.graph.sort()


def deployed_form(model: ir.Model) -> ir.Model:
    """A copy with a value of its own for each parameter and all nodes as they are deployed: what
    training starts from and gives back."""
    copy = model.clone()
    InferShapes()(copy)
    LayOpen()(copy)
    separate_parameters(copy)
    LeaveTraining()(copy)
    return copy


def _learns(node: ir.Node, trained: frozenset[ir.Value]) -> bool:
    if any(v in trained for v in node.inputs[1:3]):
        return True
    marked = any(TRAINABLE in v.metadata_props for v in node.inputs[1:3] if v is not None)
    return not marked and node.metadata_props.get(TRAINABLE) == "true"


def _drop(state: State, node: ir.Node, seed: np.random.SeedSequence) -> None:
    """y = x·m / (1 - ratio), m = 1 where a uniform number in [0, 1) is >= ratio, else 0."""
    g, x = state.g, node.inputs[0]
    if x is None or (len(node.outputs) > 1 and node.outputs[1].uses()):
        raise ModelError(f"node {node.name!r} (Dropout): its mask is used; expected a Dropout "
                         "whose first output alone is used")
    ratio = 0.5
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        given = node.inputs[1].const_value
        if given is None:
            raise ModelError(f"node {node.name!r} (Dropout): its ratio is computed; expected a "
                             "constant")
        ratio = float(given.numpy())
    if not 0 <= ratio < 1:
        raise ModelError(f"node {node.name!r} (Dropout): ratio {ratio}; expected 0 <= ratio < 1")
    y = x
    if ratio > 0:
        key = seed.generate_state(2, np.uint32)
        generator = state.tensor(f"{node.name}.generator",
                                 np.concatenate([key, np.zeros(2, np.uint32)]))
        y, following = dropout(g, x, ratio, generator)
        state.becomes(generator, following)
    _replace(node, [y])


def _normalise_by_batch(state: State, node: ir.Node, unbiased: bool) -> None:
    """running = momentum·running + (1 - momentum)·batch, with the batch's population variance.

    ONNX BatchNormalization-15 with training_mode = 1; Keras's meaning of momentum is the same.
    `unbiased`: the running variance takes the sample variance, n/(n - 1) of it, as
    torch.nn.BatchNorm does; the batch itself is normalised by the population variance there too.
    """
    g = state.g
    outputs = g.ops("BatchNormalization", *node.inputs, outputs=3, training_mode=1,
                    epsilon=node.attributes.get_float("epsilon", 1e-5),
                    momentum=node.attributes.get_float("momentum", 0.9))
    followers = list(outputs[1:])
    if unbiased:
        followers[1] = _unbiased(g, node, followers[1])
    for running, following in zip(node.inputs[3:5], followers):
        if running is None or not running.is_initializer():
            raise ModelError(f"node {node.name!r} (BatchNormalization): its running statistics "
                             "are computed; expected initializers")
        state.becomes(state.adopt(running), following)
    _replace(node, [outputs[0]])


def _unbiased(g: GraphBuilder, node: ir.Node, following: ir.Value) -> ir.Value:
    """m·running + (1 - m)·batch  ⇒  m·running + (1 - m)·batch·n/(n - 1)"""
    x, running = node.inputs[0], node.inputs[4]
    shape = static_shape(x)
    count = int(np.prod(shape)) // shape[1]
    if running is None or count < 2:
        raise ModelError(f"node {node.name!r} (BatchNormalization) normalises by {count} value a "
                         "channel; expected at least 2, so take a batch of at least 2 rows")
    kept = g.mul(running, node.attributes.get_float("momentum", 0.9))
    return g.add(kept, g.mul(g.sub(following, kept), count / (count - 1)))


def _replace(node: ir.Node, values: list[ir.Value]) -> None:
    for old, new in zip(node.outputs, values):
        new.metadata_props.update(old.metadata_props)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph = node.graph
    if graph is not None:
        graph.remove(node, safe=True)
