"""A network for whole sequences, made to run one time step at a time."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.bindings import Binding, bindings, set_bindings
from ganglion.ops.facts import is_recurrent, states_of
from ganglion.ops.graph import GraphBuilder, infer_types
from ganglion.ops.infer import infer_model
from ganglion.ops.values import FIX_SHAPES, known_shape
from ganglion.passes.base import run
from ganglion.passes.infer import FixShapes
from ganglion.passes.simplify.fold_constants import FoldConstants
from ganglion.passes.streaming.time_axis import Walk, one_step

PROBE_STEPS = 1009
"""Stands for a symbolic number of steps while shapes are inferred; a prime, to be recognised."""
STATES = ("h", "c")
"""What a cell keeps, in the order of its inputs."""


def stream(model: ir.Model, batch: int = 1, time_axes: Mapping[str, int] | None = None,
           ) -> ir.Model:
    """x [N, T, F] → LSTM  ⇒  x [N, 1, F], h, c → LSTM → y, h', c';   h' bound to h, c' to c

    A copy of the Model that takes one time step; after t steps from its initial state it gives
    what the given Model gives for the t-th step, or, where that keeps only the last step, for a
    sequence of t steps. Exact. The state starts at the node's initial_h and initial_c, or zero.

    `time_axes` names the inputs that are sequences and their time axis; by default axis 1 of
    every input of rank 3 or more, or where there is none, of rank 2. `batch` replaces a symbolic
    first dimension. Raises UnsupportedOp naming the node that mixes time steps or runs
    backwards, ModelError when no input is a sequence.
    """
    copy = model.clone(deep_copy=True)
    axes = sequences(copy, time_axes)
    steps = _fix_steps(copy, axes)
    FixShapes(batch=batch)(copy)
    run(copy, (FoldConstants(),))
    walk = Walk(FoldConstants(), steps, {v: axes[v.name or ""] for v in copy.graph.inputs
                                         if v.name in axes})
    for node in copy.graph:
        walk.visit(node)
    g = GraphBuilder.extending(copy)
    one_step(walk, g)
    for value in copy.graph.inputs:
        if value.name in axes and value.shape is not None:
            value.shape[axes[value.name or ""]] = 1
    for value in copy.graph.outputs:
        value.shape = None
    infer_model(copy)
    bound = [b for node in list(copy.graph) if is_recurrent(node)
             for b in _keep_state(g, node)]
    set_bindings(copy, [*bindings(copy), *bound])
    return copy


def sequences(model: ir.Model, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """The time axis of every input that is a sequence, by name; as `stream` takes them."""
    state = {b.input for b in bindings(model)}
    ranks = {v.name: len(v.shape) for v in model.graph.inputs
             if v.name and v.shape is not None and v.name not in state}
    if given is None:
        least = 3 if any(r > 2 for r in ranks.values()) else 2
        given = {name: 1 for name, rank in ranks.items() if rank >= least}
    for name, axis in given.items():
        if name not in ranks or not 0 <= axis < ranks[name]:
            raise ModelError(f"time_axes says axis {axis} of {name!r}; the inputs and their ranks "
                             f"are {ranks}")
    if not given:
        raise ModelError(f"no input is a sequence [N, T, ...]: the inputs' ranks are {ranks}")
    return dict(given)


def _fix_steps(model: ir.Model, axes: Mapping[str, int]) -> int:
    """Gives all sequences one number of steps; ModelError when theirs differ."""
    inputs = [v for v in model.graph.inputs if v.name in axes and v.shape is not None]
    dims = [v.shape[axes[v.name or ""]] for v in inputs if v.shape is not None]
    known = {d for d in dims if isinstance(d, int)}
    if len(known) > 1:
        raise ModelError(f"the sequences have {sorted(known)} steps; expected one number")
    steps = known.pop() if known else PROBE_STEPS
    names = {d.value for d in dims if not isinstance(d, int)}
    for value in model.graph.inputs:
        for k, d in enumerate(value.shape or ()):
            at_time = value.name in axes and k == axes[value.name or ""]
            if value.shape is not None and not isinstance(d, int) and (
                    at_time or (d.value is not None and d.value in names)):
                value.shape[k] = steps
    return steps


def _keep_state(g: GraphBuilder, node: ir.Node) -> list[Binding]:
    """Gives a recurrent node inputs for its state and binds its outputs to them."""
    name, kinds = node.name or node.op_type.lower(), STATES[:len(states_of(node))]
    node.resize_inputs(max(len(node.inputs), 5 + len(kinds)))
    node.resize_outputs(1 + len(kinds))
    for value in node.outputs:
        if not value.name:
            value.name = g.fresh(f"{name}_out")
    infer_types(node)
    bound = []
    for k, kind in enumerate(kinds):
        after = node.outputs[1 + k]
        shape = known_shape(after)
        if shape is None:
            raise ModelError(f"node {node.name!r} ({node.op_type}) has a state of dynamic shape "
                             f"{after.shape}; {FIX_SHAPES}")
        first = _first_value(node, 5 + k, shape)
        state = g.constant(first, f"{name}_{kind}", share=False)
        g.graph.inputs.append(state)
        node.replace_input_with(5 + k, state)
        made = g.output(f"{name}_{kind}_next", after)
        bound.append(Binding(made.name or "", state.name or ""))
    return bound


def _first_value(node: ir.Node, index: int, shape: tuple[int, ...]) -> np.ndarray:
    given = node.inputs[index]
    if given is None:
        return np.zeros(shape, np.float32)
    if given.const_value is None or given.is_graph_input():
        raise ModelError(f"node {node.name!r} ({node.op_type}) takes its first state from "
                         f"{given.name!r}, which is not constant; bind that value instead")
    return np.broadcast_to(given.const_value.numpy(), shape)
