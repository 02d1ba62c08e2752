"""Dense, Embedding, Dropout, Activation and the layers that only change shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ganglion.layers.activations import ActSpec, activate, check_activation
from ganglion.layers.base import Emitter, InitSpec, RegSpec, UnaryLayer, dims, is_float, static


@dataclass(frozen=True, eq=False)
class Dense(UnaryLayer):
    """`activation(x @ kernel + bias)` over the last axis: `[..., D]` gives `[..., units]`."""

    units: int
    activation: ActSpec = None
    use_bias: bool = True
    kernel_initializer: InitSpec = "glorot_uniform"
    bias_initializer: InitSpec = "zeros"
    kernel_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(units=self.units)
        check_activation(self, self.activation)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        is_float(e, x)
        if len(dims(x)) < 2:
            raise e.error(f"expects an input [batch, ..., features], found {list(dims(x))}")
        features = static(e, x, -1, "the kernel has one row for each feature")
        kernel = e.weight("kernel", (features, self.units), self.kernel_initializer,
                          regularizer=self.kernel_regularizer)
        y = e.op("MatMul", x, kernel)
        if self.use_bias:
            y = e.op("Add", y, e.weight("bias", (self.units,), self.bias_initializer,
                                        regularizer=self.bias_regularizer))
        return [activate(e, self.activation, y)]


@dataclass(frozen=True, eq=False)
class Embedding(UnaryLayer):
    """Rows of a table `[input_dim, output_dim]` chosen by integers: `[...]` to `[..., D]`."""

    input_dim: int
    output_dim: int
    embeddings_initializer: InitSpec = "uniform"
    embeddings_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(input_dim=self.input_dim, output_dim=self.output_dim)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        table = e.weight("embeddings", (self.input_dim, self.output_dim),
                         self.embeddings_initializer, regularizer=self.embeddings_regularizer)
        if x.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
            x = e.op("Cast", x, to=ir.DataType.INT32)
        return [e.op("Gather", table, x, axis=0)]


@dataclass(frozen=True, eq=False)
class Dropout(UnaryLayer):
    """Identity when the network runs; in training, zeroes a share `rate` and scales the rest."""

    rate: float
    seed: int | None = None

    def check(self) -> None:
        if not isinstance(self.rate, int | float) or not 0 <= self.rate <= 1:
            raise self.error(f"rate must be between 0 and 1, found {self.rate!r}")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        is_float(e, xs[0])
        ratio = e.floats(self.rate)
        if self.seed is None:
            return [e.op("Dropout", xs[0], ratio)]
        return [e.op("Dropout", xs[0], ratio, seed=self.seed)]


@dataclass(frozen=True, eq=False)
class Flatten(UnaryLayer):
    """`[N, ...]` to `[N, product]`; `[N]` to `[N, 1]`."""

    data_format: str | None = None

    def check(self) -> None:
        self.one_of("data_format", self.data_format, (None, "channels_last", "channels_first"))

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        n = len(dims(x))
        if self.data_format == "channels_first" and n > 2:
            x = e.op("Transpose", x, perm=[0, *range(2, n), 1])
        return [e.op("Flatten", x, axis=1)]


@dataclass(frozen=True, eq=False)
class Reshape(UnaryLayer):
    """`[N, ...]` to `[N, *target_shape]`; one entry may be -1, meaning the rest."""

    target_shape: tuple[int, ...]

    def check(self) -> None:
        shape = self.target_shape
        if not isinstance(shape, tuple) or any(not isinstance(d, int) for d in shape):
            raise self.error(f"target_shape must be a tuple of integers, found {shape!r}")
        if any(d < 1 and d != -1 for d in shape) or shape.count(-1) > 1:
            raise self.error(f"target_shape {shape} must hold positive integers "
                             "and at most one -1")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        (x,) = xs
        sizes = [static(e, x, i, "Reshape counts its elements") for i in range(1, len(dims(x)))]
        return [reshape(e, x, resolve(e, self.target_shape, math.prod(sizes)))]


@dataclass(frozen=True, eq=False)
class Permute(UnaryLayer):
    """Axes in another order; `dims` counts from 1 and leaves the batch alone."""

    dims: tuple[int, ...]

    def check(self) -> None:
        if not isinstance(self.dims, tuple) or sorted(self.dims) != [
                *range(1, len(self.dims) + 1)]:
            raise self.error(f"dims {self.dims!r} must hold every axis from 1 once")

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        if len(dims(xs[0])) != len(self.dims) + 1:
            raise e.error(f"dims {self.dims} names {len(self.dims)} axes, its input "
                          f"{list(dims(xs[0]))} has {len(dims(xs[0])) - 1} after the batch")
        return [e.op("Transpose", xs[0], perm=[0, *self.dims])]


@dataclass(frozen=True, eq=False)
class RepeatVector(UnaryLayer):
    """`[N, D]` to `[N, n, D]`."""

    n: int

    def check(self) -> None:
        self.positive(n=self.n)

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        if len(dims(xs[0])) != 2:
            raise e.error(f"expects an input [batch, features], found {list(dims(xs[0]))}")
        column = e.op("Unsqueeze", xs[0], e.ints(1))
        return [e.op("Expand", column, e.ints(1, self.n, 1))]


def reshape(e: Emitter, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    """`[N, ...]` to `[N, *shape]`, all of `shape` positive."""
    return e.op("Reshape", x, e.ints(0, *shape))


def resolve(e: Emitter, target: Sequence[int], size: int) -> list[int]:
    """`target` with -1 replaced so that its product is `size`."""
    known = math.prod(d for d in target if d != -1)
    if size % known or (-1 not in target and known != size):
        raise e.error(f"target_shape {tuple(target)} cannot hold the {size} elements of its input")
    return [size // known if d == -1 else d for d in target]
