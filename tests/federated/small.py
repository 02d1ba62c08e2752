"""A small network to learn together, and parts of data that differ from device to device."""

from functools import cache

import numpy as np
import onnx_ir as ir

import ganglion as gg
from ganglion import federated as fed
from ganglion import layers as L
from ganglion.artifact import Artifact

CLASSES, INPUTS = 4, 12


@cache
def data(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clouds around `CLASSES` points."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, INPUTS)) * 1.2
    y = draw.integers(0, CLASSES, rows)
    return (centres[y] + draw.normal(size=(rows, INPUTS))).astype(np.float32), y


def net() -> ir.Model:
    return L.Sequential([L.Input((INPUTS,)), L.Dense(16, "relu", name="hidden"),
                         L.Dense(CLASSES, "softmax", name="head")], name="together")


@cache
def step(correction: bool = False, rate: float = 0.1) -> Artifact:
    return gg.compile_training(net(), loss="sparse_categorical_crossentropy",
                               optimizer=gg.optimizers.SGD(rate), batch_size=8,
                               sample_weight=True, correction=correction, check=False)


def parts(devices: int = 6, alpha: float = 0.5, seed: int = 0) -> list[fed.Part]:
    x, y = data()
    return [(x[rows], y[rows]) for rows in fed.dirichlet(y, devices, alpha, seed)]


def plan(**settings: object) -> fed.Plan:
    chosen = {"rounds": 4, "seed": 3} | settings
    return fed.Plan(step(correction=bool(chosen.pop("correction", False))), **chosen)
