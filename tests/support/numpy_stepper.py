"""A step run by the reference in NumPy, its state kept in a dictionary."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.ops.bindings import bindings, initial_value
from ganglion.ops.evaluate import evaluate


class NumpyStepper:
    """What `training.loop.compiled.compiled` gives, without a compiler."""

    def __init__(self, model: ir.Model, example: Sequence[np.ndarray]) -> None:
        self.model = model
        self.bound = bindings(model)
        self.state = {b.input: initial_value(model, b).numpy().copy() for b in self.bound}
        held = {b.input for b in self.bound}
        self.free = [str(v.name) for v in model.graph.inputs if v.name not in held]
        assert [tuple(a.shape) for a in example] == [
            tuple(v.shape.numpy()) for v in model.graph.inputs if v.name in self.free]

    def run(self, *inputs: np.ndarray) -> Sequence[np.ndarray]:
        found = evaluate(self.model, dict(zip(self.free, inputs, strict=True)) | self.state)
        self.state = {b.input: found.pop(b.output) for b in self.bound}
        return tuple(found.values())

    def get(self, name: str) -> np.ndarray:
        return self.state[name].copy()

    def set(self, name: str, array: np.ndarray) -> None:
        self.state[name] = array.copy()
