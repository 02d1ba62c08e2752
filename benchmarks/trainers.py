"""Ways of making one training step on a fixed batch: ours and the peers', an adapter each.

Every adapter takes the same description (see `networks`), float32 arrays x [32, ...] and targets,
and gives a call that makes one step and waits for its end. Each uses what its own documentation
calls fastest on one CPU core.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.networks import Network
from benchmarks.trainers_jax import jax_step
from benchmarks.trainers_torch import torch_step
from ganglion.artifact import compile
from ganglion.training import optimizers
from ganglion.training.fit import choose_losses
from ganglion.training.step.building import build_step

BATCH = 32


@dataclass(frozen=True)
class Step:
    """`call` makes one step; `loss` makes one and gives its loss."""

    call: Callable[[], object]
    loss: Callable[[], float]


@dataclass(frozen=True)
class Trainer:
    """One way: `module` must be installed. `environment`: what tells it from another row that uses
    the same library; it then runs in a process of its own (see `apart`). `beside`: what else it
    needs that `module` does not require."""

    name: str
    module: str
    load: Callable[[Network, np.ndarray, np.ndarray], Step]
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


def ganglion(network: Network, x: np.ndarray, y: np.ndarray) -> Step:
    """The step as one compiled Model; weights, moments and statistics are its state."""
    optimizer = optimizers.get(network.optimizer)
    model = build_step(network.model(), choose_losses(network.loss, 1), optimizer, len(x),
                       predictions=False)
    stream = compile(model, name="step").session().stream()
    loss = np.zeros((), np.float32)
    given = [x, y, np.array(optimizer.learning_rate, np.float32)]
    call = partial(stream.run_into, given, loss)

    def measured() -> float:
        call()
        return float(loss)

    return Step(call, measured)


def torch(network: Network, x: np.ndarray, y: np.ndarray) -> Step:
    """PyTorch, eager, with its fused optimiser."""
    step = torch_step(network, x, y)
    return Step(step, lambda: float(step().detach()))


def jax(network: Network, x: np.ndarray, y: np.ndarray) -> Step:
    """One jitted function of (state, x, y), the state's memory donated."""
    step = jax_step(network, x, y)
    return Step(step, lambda: float(step()))


def keras(network: Network, x: np.ndarray, y: np.ndarray) -> Step:
    """Keras on the back end that KERAS_BACKEND names: `train_on_batch` of a compiled model."""
    call = partial(keras_model(network).train_on_batch, x, y)
    return Step(call, lambda: float(np.asarray(call())))


def keras_model(network: Network) -> Any:
    """The network in Keras's layers, compiled."""
    import keras as library

    words = ModuleType("words")
    words.__dict__.update(vars(library.layers), Input=library.Input)
    model = library.Model(*network.describe(words))
    model.compile(optimizer=network.optimizer, loss=network.loss)
    return model


TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "TF_NUM_INTRAOP_THREADS": "1",
              "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

TRAINERS: Mapping[str, Trainer] = {t.name: t for t in (
    Trainer("ganglion", "ganglion", ganglion), Trainer("PyTorch", "torch", torch),
    Trainer("JAX", "jax", jax), Trainer("Keras on JAX", "keras", keras, beside=("jax",)),
    Trainer("Keras on TensorFlow", "tensorflow", keras, TENSORFLOW))}
"""Ours first."""
