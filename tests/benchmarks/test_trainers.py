"""The peers' twins are the same networks."""

import numpy as np
import pytest
from benchmarks.networks import TRAINING, Network
from benchmarks.training import batch

from ganglion.ops.values import static_shape
from ganglion.training.step.batch import fix_batch
from ganglion.training.step.weights import trainable

TWINS = [n for n in TRAINING if n.name in ("784-64-10", "conv16-conv32-64-10 28x28", "2-1")]


def shapes(network: Network) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Input and output without the batch, and how many numbers are trained."""
    model = fix_batch(network.model(), 1)
    count = sum(int(np.prod(static_shape(v))) for v in trainable(model))
    return (static_shape(model.graph.inputs[0])[1:], static_shape(model.graph.outputs[0])[1:],
            count)


@pytest.mark.keras
@pytest.mark.parametrize("network", TWINS, ids=lambda n: n.name)
def test_the_jax_twin_has_as_many_parameters_and_learns(network: Network) -> None:
    jax = pytest.importorskip("jax")
    from benchmarks.trainers_jax import jax_step, starting_weights

    inputs, outputs, count = shapes(network)
    x, y = batch(network, inputs, outputs)
    assert sum(a.size for a in jax.tree.leaves(starting_weights(network, x))) == count
    step = jax_step(network, x, y)
    first = float(step())
    for _ in range(20):
        last = float(step())
    assert last < first


@pytest.mark.parametrize("network", TRAINING, ids=lambda n: n.name)
def test_the_pytorch_twin_has_as_many_parameters(network: Network) -> None:
    pytest.importorskip("torch")
    from benchmarks.trainers_torch import graph

    inputs, outputs, count = shapes(network)
    x, _ = batch(network, inputs, outputs)
    module = graph(network, x)
    # PyTorch's recurrent cells have a second bias, which adds nothing.
    spare = 4 * 64 if "LSTM" in network.name else 0
    assert sum(p.numel() for p in module.parameters()) == count + spare
