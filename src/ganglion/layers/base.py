"""Layers are descriptions, tensors are promises; nodes appear when a network is made.

A `Layer` is frozen. Calling it on symbolic tensors records a `Call`; `network.Functional` walks
the calls and asks each layer to `emit` its nodes. A layer called twice shares its weights, because
weights are kept by the identity of the layer.
"""

import re
import reprlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.layers import arguments, initializers, regularizers
from ganglion.ops import marks
from ganglion.ops.building import AttrValue
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.marks import REGULARIZER, TRAINABLE

Array = np.ndarray
Dim = int | str | None
InitSpec = str | initializers.Initializer
RegSpec = str | regularizers.L1L2 | None
Ints = int | tuple[int, ...]

MAX_WEIGHT_BYTES = 1 << 31
"""One weight may not be larger than this; a description beyond it is taken for a mistake."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """Output number `index` of a call; what a layer is called on."""

    call: "Call"
    index: int = 0


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer. `options` are call arguments that are not tensors."""

    layer: "Layer"
    inputs: tuple[Tensor, ...]
    options: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Layer:
    """Base of all layers.

    name: Keras's automatic name (`dense`, `dense_1`, ...) when None.
    trainable: False freezes every weight of the layer.
    takes: how many tensors it is called on, any number above zero when None.
    """

    takes: ClassVar[int | None] = None

    name: str | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        for argument, hint in arguments.hints(type(self)).items():
            value = arguments.as_tuple(getattr(self, argument))
            if not arguments.fits(value, hint):
                raise self.error(f"{argument} must be {arguments.wording(hint)}, "
                                 f"found {reprlib.repr(value)}")
            object.__setattr__(self, argument, value)
        if self.name is not None and (not self.name or "/" in self.name):
            raise self.error(f"name {self.name!r} must be non-empty and without '/'")
        self.check()

    def check(self) -> None:
        """Raises ModelError when an argument cannot be right whatever the input."""

    def outputs(self) -> int:
        """How many tensors a call gives."""
        return 1

    def emit(self, e: "Emitter", *xs: ir.Value) -> Sequence[ir.Value]:
        """Appends the layer's nodes and returns its outputs."""
        raise self.error("this layer does not say how it is computed; override emit")

    def error(self, text: str) -> ModelError:
        return ModelError(f"{describe(self, self.name)}: {text}")

    def call(self, inputs: Sequence[Tensor], **options: bool) -> tuple[Tensor, ...]:
        """The outputs of one use of this layer, always as a tuple."""
        if len(inputs) != (max(len(inputs), 1) if self.takes is None else self.takes):
            raise self.error(f"called on {len(inputs)} tensors, expected {self.takes or 'some'}")
        for x in inputs:
            if not isinstance(x, Tensor):
                raise self.error(f"called on {type(x).__name__}; layers are called on what "
                                 "Input(...) or another layer gives")
        call = Call(self, tuple(inputs), options)
        return tuple(Tensor(call, i) for i in range(self.outputs()))

    def positive(self, **values: Ints) -> None:
        """Raises ModelError unless every value is a size or a tuple of sizes."""
        for name, value in values.items():
            items = value if isinstance(value, tuple) else (value,)
            if not items or any(i < 1 for i in items):
                raise self.error(f"{name} must be positive integers, found {value!r}")

    def one_of(self, name: str, value: str | None, allowed: Sequence[str | None]) -> None:
        """Raises ModelError unless `value` is allowed."""
        if value not in allowed:
            raise self.error(f"{name} must be one of {', '.join(map(repr, allowed))}, "
                             f"found {value!r}")


@dataclass(frozen=True, eq=False)
class UnaryLayer(Layer):
    """A layer of one input and one output."""

    takes: ClassVar[int | None] = 1

    def __call__(self, x: Tensor) -> Tensor:
        return self.call([x])[0]


WeightSource = Callable[[Layer, str, tuple[str, ...], int, tuple[int, ...]], Array | None]
"""`source(layer, layer_name, path, index, shape)`: the values of a weight, or None to draw them.
`path` holds Keras's attribute names down to the weight, `index` its place among its siblings."""


@dataclass(frozen=True)
class Weights:
    """The weights of one network while it is made."""

    seed: int = 0
    source: WeightSource | None = None
    made: dict[tuple[Layer, tuple[str, ...]], ir.Value] = field(default_factory=dict)


@dataclass
class Emitter:
    """What a layer writes its nodes with: a builder that knows the layer's name and weights.

    path: Keras's attribute names from the layer to the part that emits (`forward_layer`, `cell`).
    """

    g: GraphBuilder
    layer: Layer
    name: str
    index: int
    weights: Weights
    options: Mapping[str, bool] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    label: str = ""
    frozen: bool = False
    _count: int = 0

    def sub(self, *path: str, label: str = "", layer: Layer | None = None) -> "Emitter":
        """An emitter for a part of the layer; `label` goes into the names of its weights."""
        frozen = self.frozen or (layer is not None and not layer.trainable)
        return Emitter(self.g, self.layer, self.name, self.index, self.weights, self.options,
                       self.path + path, f"{self.label}{label}/" if label else self.label, frozen)

    def op(self, op: str, *inputs: ir.Value | None, **attrs: AttrValue) -> ir.Value:
        return self.ops(op, *inputs, outputs=1, **attrs)[0]

    def ops(self, op: str, *inputs: ir.Value | None, outputs: int,
            **attrs: AttrValue) -> Sequence[ir.Value]:
        """Appends a node marked with the layer's name; absent inputs at the end are left out."""
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        values = self.g.ops(op, *inputs, outputs=outputs, hint=f"{self.name}/{op}",
                            attrs=attrs)
        node = values[0].producer()
        if node is not None:
            node.metadata_props[marks.LAYER] = self.name
        return values

    def constant(self, array: Array | float | int, name: str = "const") -> ir.Value:
        return self.g.constant(array, name=f"{self.name}/{name}")

    def floats(self, value: float) -> ir.Value:
        """A float32 scalar."""
        return self.constant(np.asarray(value, np.float32))

    def ints(self, *values: int) -> ir.Value:
        return self.constant(np.asarray(values, np.int64), "ints")

    def error(self, text: str) -> ModelError:
        return ModelError(f"{describe(self.layer, self.name)}: {text}")

    def weight(self, name: str, shape: tuple[int, ...], initializer: InitSpec, *,
               regularizer: RegSpec = None, trainable: bool = True,
               layout: Callable[[Array], Array] | None = None,
               drawn: tuple[int, ...] | None = None) -> ir.Value:
        """An initializer `<layer>/<name>` with the marks that training reads.

        shape: Keras's; `layout` turns an array of that shape into the one kept in the Model.
        drawn: the shape on which fans are counted, when it is another one.
        """
        key = (*self.path, name)
        index, self._count = self._count, self._count + 1
        if (self.layer, key) not in self.weights.made:
            array = self._values(key, index, shape, initializer, drawn or shape)
            value = self.g.constant(layout(array) if layout else array, share=False,
                                    name=f"{self.name}/{self.label}{name}")
            learns = trainable and self.layer.trainable and not self.frozen
            value.metadata_props[TRAINABLE] = "true" if learns else "false"
            penalty = regularizers.get(regularizer)
            if penalty is not None:
                value.metadata_props[REGULARIZER] = penalty.to_json()
            self.weights.made[self.layer, key] = value
        return self.weights.made[self.layer, key]

    def _values(self, key: tuple[str, ...], index: int, shape: tuple[int, ...],
                initializer: InitSpec, drawn: tuple[int, ...]) -> Array:
        size = 4
        for dim in shape:
            size *= dim
        if size > MAX_WEIGHT_BYTES:
            raise self.error(f"weight {key[-1]!r} of shape {list(shape)} would take {size} bytes; "
                             f"the limit is {MAX_WEIGHT_BYTES}")
        source = self.weights.source
        array = source(self.layer, self.name, key, index, shape) if source else None
        if array is None:
            part = zlib.crc32("/".join(key).encode())
            draw = initializers.get(initializer)
            return draw(drawn, (self.weights.seed, self.index, part)).reshape(shape)
        if array.shape != shape:
            raise self.error(f"weight {key[-1]!r} has the shape {list(array.shape)}, "
                             f"but the layer's arguments and input ask for {list(shape)}")
        return array.astype(np.float32)


def dims(x: ir.Value) -> tuple[Dim, ...]:
    """The shape of a value; symbolic dimensions as str, unknown ones as None."""
    if x.shape is None:
        raise ModelError(f"value {x.name!r} has no shape")
    return tuple(d if isinstance(d, int) else d.value for d in x.shape)


def static(e: Emitter, x: ir.Value, axis: int, why: str) -> int:
    """Size of an axis; ModelError when it is not known, with `why` it must be."""
    shape = dims(x)
    if not -len(shape) <= axis < len(shape):
        raise e.error(f"input of shape {list(shape)} has no axis {axis}; {why}")
    dim = shape[axis]
    if not isinstance(dim, int):
        raise e.error(f"axis {axis} of its input {list(shape)} is not fixed; {why}. "
                      "Give that size in Input(...)")
    if dim < 1:
        raise e.error(f"axis {axis} of its input {list(shape)} is empty")
    return dim


def rank(e: Emitter, x: ir.Value, *allowed: int) -> int:
    """Number of axes with the batch; ModelError unless allowed (any when none are given)."""
    n = len(dims(x))
    if allowed and n not in allowed:
        want = " or ".join(str(a) for a in allowed)
        raise e.error(f"expects an input of {want} axes, the batch among them; "
                      f"found shape {list(dims(x))}")
    return n


def is_float(e: Emitter, x: ir.Value) -> None:
    """ModelError unless the input is float32."""
    if x.dtype != ir.DataType.FLOAT:
        raise e.error(f"expects float32, found {x.dtype}; declare Input(..., dtype='float32')")


def describe(layer: Layer, name: str | None) -> str:
    kind = type(layer).__name__
    return kind if name is None else f"{kind} {name!r}"


def snake_case(name: str) -> str:
    """Keras's automatic layer name: `Conv2DTranspose` gives `conv2d_transpose`."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
