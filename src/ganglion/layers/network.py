"""`Input`, `Sequential` and `Functional`: descriptions become an `onnx_ir.Model`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.layers.base import (
    Call,
    Emitter,
    Layer,
    Tensor,
    Weights,
    WeightSource,
    describe,
    dims,
    snake_case,
)
from ganglion.ops.graph import GraphBuilder

_DTYPES = {"float32": ir.DataType.FLOAT, "int32": ir.DataType.INT32, "int64": ir.DataType.INT64,
           "int8": ir.DataType.INT8, "uint8": ir.DataType.UINT8, "bool": ir.DataType.BOOL}

MAX_ELEMENTS = 1 << 30
"""Of one tensor, the batch left out; a network beyond it is taken for a mistake."""

BATCH = "N"
"""Name of the symbolic batch dimension."""


@dataclass(frozen=True, eq=False)
class InputLayer(Layer):
    """An input of the network. shape: without the batch; None for a size that is not fixed."""

    takes: ClassVar[int | None] = 0

    shape: tuple[int | None, ...] = ()
    batch_size: int | None = None
    dtype: str = "float32"

    def check(self) -> None:
        if not isinstance(self.shape, tuple):
            raise self.error(f"shape must be a tuple such as (28, 28, 1), found {self.shape!r}")
        for dim in self.shape:
            if dim is not None and (not isinstance(dim, int) or dim < 1):
                raise self.error(f"shape {self.shape} must hold positive integers or None "
                                 "(the batch is not part of it)")
        if self.batch_size is not None:
            self.positive(batch_size=self.batch_size)
        self.one_of("dtype", self.dtype, tuple(_DTYPES))

    def declare(self, g: GraphBuilder, name: str) -> ir.Value:
        """The graph input; unknown sizes get names of their own."""
        sizes = [f"{name}_{i}" if d is None else d for i, d in enumerate(self.shape, 1)]
        batch: int | str = BATCH if self.batch_size is None else self.batch_size
        return g.input(name, _DTYPES[self.dtype], [batch, *sizes])


def Input(shape: Sequence[int | None], batch_size: int | None = None,
          dtype: str = "float32", *, name: str | None = None) -> Tensor:
    """A symbolic input of `shape`, the batch left out: `Input((28, 28, 1))`."""
    if isinstance(shape, int):
        raise ModelError(f"Input: shape must be a tuple, found {shape}; write Input(({shape},))")
    layer = InputLayer(tuple(shape), batch_size, dtype, name=name)
    return layer.call([])[0]


def Sequential(layers: Sequence[Layer | Tensor], name: str = "sequential",
               seed: int = 0) -> ir.Model:
    """A network of layers one after another; the first entry is `Input(...)`.

    Raises ModelError when an entry is no layer or does not fit what comes before it.
    """
    if not isinstance(layers, list | tuple):
        raise ModelError(f"Sequential {name!r}: expected a list of layers, found "
                         f"{type(layers).__name__}")
    if not layers or not isinstance(layers[0], Tensor):
        raise ModelError(f"Sequential {name!r}: the first entry must be Input((...)), "
                         "the shape of one example")
    start, x = layers[0], layers[0]
    for i, layer in enumerate(layers[1:], 1):
        if not isinstance(layer, Layer):
            raise ModelError(f"Sequential {name!r}: entry {i} is {type(layer).__name__}, "
                             "expected a layer such as Dense(10)")
        outputs = layer.call([x])
        if len(outputs) != 1:
            raise ModelError(f"Sequential {name!r}: entry {i}, {describe(layer, layer.name)}, "
                             f"gives {len(outputs)} tensors; use Functional to choose among them")
        x = outputs[0]
    return Functional(start, x, name=name, seed=seed)


def Functional(inputs: Tensor | Sequence[Tensor], outputs: Tensor | Sequence[Tensor],
               name: str = "functional", seed: int = 0,
               weights: WeightSource | None = None) -> ir.Model:
    """The network between symbolic tensors; Keras calls it `Model`.

    seed: of the initial weights; the same seed gives the same weights on every machine.
    weights: where values come from instead (for readers of other formats).
    Raises ModelError when an output depends on an input that was not given.
    """
    starts, ends = _tensors(inputs, "inputs", name), _tensors(outputs, "outputs", name)
    calls = _in_order(starts, ends, name)
    names = _layer_names([c.layer for c in calls])
    g = GraphBuilder(name)
    kept = Weights(seed, weights)
    indices = {layer: i for i, layer in enumerate(names)}
    values: dict[tuple[Call, int], ir.Value] = {}
    for call in calls:
        layer = call.layer
        if isinstance(layer, InputLayer):
            values[call, 0] = layer.declare(g, names[layer])
            continue
        e = Emitter(g, layer, names[layer], indices[layer], kept, call.options)
        made = layer.emit(e, *(values[x.call, x.index] for x in call.inputs))
        for i, value in enumerate(made):
            _check_size(e, value)
            values[call, i] = value
    for x in ends:
        base = names[x.call.layer]
        g.output(base, values[x.call, x.index])
    return g.model()


def _tensors(given: object, role: str, name: str) -> list[Tensor]:
    entries = list(given) if isinstance(given, list | tuple) else [given]
    found = [x for x in entries if isinstance(x, Tensor)]
    if not found or len(found) != len(entries):
        kinds = ", ".join(type(x).__name__ for x in entries) or "none"
        raise ModelError(f"network {name!r}: {role} are {kinds}; expected one or more of what "
                         "Input(...) or a layer called on one gives")
    return found


Model = Functional


def _in_order(starts: Sequence[Tensor], ends: Sequence[Tensor], name: str) -> list[Call]:
    """Every call that the outputs need, inputs first, each after what it reads."""
    for x in [*starts, *ends]:
        if not isinstance(x, Tensor):
            raise ModelError(f"network {name!r}: inputs and outputs must be what Input(...) and "
                             f"layers give, found {type(x).__name__}")
    if any(not isinstance(x.call.layer, InputLayer) for x in starts):
        raise ModelError(f"network {name!r}: every input must come from Input(...)")
    order: dict[Call, None] = {x.call: None for x in starts}
    if len(order) != len(starts):
        raise ModelError(f"network {name!r}: an input is given twice")
    stack = [(x.call, False) for x in reversed(ends)]
    while stack:
        call, ready = stack.pop()
        if call in order:
            continue
        if ready:
            order[call] = None
            continue
        if isinstance(call.layer, InputLayer):
            raise ModelError(f"network {name!r}: an output depends on "
                             f"{describe(call.layer, call.layer.name)}, which is not among the "
                             "given inputs")
        stack.append((call, True))
        stack.extend((x.call, False) for x in reversed(call.inputs))
    return list(order)


def _check_size(e: Emitter, value: ir.Value) -> None:
    """ModelError for an output that is empty or that no memory holds."""
    elements = math.prod(d for d in dims(value) if isinstance(d, int))
    if elements < 1:
        raise e.error(f"its output {list(dims(value))} would be empty")
    if elements > MAX_ELEMENTS:
        raise e.error(f"its output {list(dims(value))} is too large: {elements} elements for each "
                      f"example, the limit is {MAX_ELEMENTS}")


def _layer_names(layers: Sequence[Layer]) -> dict[Layer, str]:
    """Keras's names: the given one, or the class in snake case with a number from the second on."""
    unique = list(dict.fromkeys(layers))
    names = {}
    taken = set()
    for layer in unique:
        if layer.name is not None:
            if layer.name in taken:
                raise ModelError(f"two layers are called {layer.name!r}; give them different names")
            taken.add(layer.name)
    for layer in unique:
        if layer.name is not None:
            names[layer] = layer.name
            continue
        base = name = snake_case(type(layer).__name__)
        k = 0
        while name in taken:
            k += 1
            name = f"{base}_{k}"
        taken.add(name)
        names[layer] = name
    return names
