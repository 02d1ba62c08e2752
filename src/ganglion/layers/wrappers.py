"""TimeDistributed: a layer at every step of a sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ganglion.layers.activations import ELU, Activation, LeakyReLU, ReLU
from ganglion.layers.base import Emitter, UnaryLayer, dims, static
from ganglion.layers.core import Dense, Dropout


@dataclass(frozen=True, eq=False)
class TimeDistributed(UnaryLayer):
    """`[N, T, ...]` to `[N, T, ...]`: `layer` applied to each step with the same weights."""

    layer: UnaryLayer

    def check(self) -> None:
        if not isinstance(self.layer, UnaryLayer):
            raise self.error("expects a layer of one input and one output such as Dense(3), found "
                             f"{type(self.layer).__name__}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        shape = dims(x)
        if len(shape) < 3:
            raise e.error(f"expects an input [batch, steps, ...], found {list(shape)}")
        inner = e.sub("layer", layer=self.layer)
        if isinstance(self.layer, Dense | Activation | Dropout | ReLU | LeakyReLU | ELU):
            return self.layer.emit(inner, x)
        steps = static(e, x, 1, "the steps are laid into the batch")
        rest = [static(e, x, i, "the steps are laid into the batch")
                for i in range(2, len(shape))]
        flat = e.op("Reshape", x, e.ints(-1, *rest))
        flat.shape = ir.Shape([shape[0] * steps if isinstance(shape[0], int) else None, *rest])
        (y,) = self.layer.emit(inner, flat)
        after = [static(e, y, i, "the steps are taken out of the batch")
                 for i in range(1, len(dims(y)))]
        out = e.op("Reshape", y, e.ints(-1, steps, *after))
        out.shape = ir.Shape([shape[0], steps, *after])
        return [out]
