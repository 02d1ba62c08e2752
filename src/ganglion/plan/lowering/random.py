"""Random numbers."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.kernels.random import RandomUniformSpec
from ganglion.plan.lowerer import Lowerer


def lower_random_uniform(lowerer: Lowerer, node: ir.Node) -> None:
    """ai.ganglion Uniform(state) → values, next state."""
    state = lowerer.dense(lowerer.view(node.inputs[0]))
    values, after = (lowerer.new(v) for v in node.outputs)
    lowerer.emit(node, "random_uniform", RandomUniformSpec(values.size), [state, values, after])


LOWERINGS: Mapping[str, Callable[[Lowerer, ir.Node], None]] = {
    "random_uniform": lower_random_uniform}
