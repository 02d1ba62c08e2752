"""Corrections of a step for devices that learn one network from data that differ.

correct:  learning_rate [] ->;  bound: w = w - learning_rate·(proximal·w + correction)

A function of its own, called behind the step, so that the step's gradients still go straight into
the weights and are stored nowhere. One tensor a weight serves FedProx (Li et al., 2020) and
SCAFFOLD (Karimireddy et al., 2020): correction = c - c_i - proximal·anchor, prepared once a round.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder
from ganglion.runtime.trainer import CORRECT, CORRECTION, PROXIMAL
from ganglion.training.step.state import State, zeros_like


def keep_corrections(state: State, weights: Sequence[ir.Value]) -> None:
    """Adds the factor and a correction for each weight to the state of a step, all zero."""
    state.tensor(PROXIMAL, np.zeros((), np.float32))
    for weight in weights:
        state.tensor(f"{weight.name}{CORRECTION}", zeros_like(weight))


def build_correction(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """The function `correct` over the named weights of the network."""
    g = GraphBuilder(CORRECT)
    state, rate = State(g), g.input("learning_rate", ir.DataType.FLOAT, ())
    factor = state.tensor(PROXIMAL, np.zeros((), np.float32))
    for name in names:
        initial = model.graph.initializers[name].const_value
        assert initial is not None, name
        weight = state.tensor(name, initial.numpy())
        drift = g.op("Add", g.op("Mul", weight, factor),
                     state.tensor(f"{name}{CORRECTION}", zeros_like(weight)))
        state.becomes(weight, g.op("Sub", weight, g.op("Mul", drift, rate)))
    built = g.model()
    state.finish(built)
    return built
