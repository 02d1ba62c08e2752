"""What the operator rules see: one operator with its tensors, and the graph that it goes into.

A quantised tensor is a value of codes; `real` puts a DequantizeLinear behind it and `finish` a
QuantizeLinear in front, so that every rule is written once, for real numbers. The islands that come
out of it are those that `passes.quantized.integer` turns into integer operators.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.tflite.file import Network, Operator, Quantization, Tensor
from ganglion.formats.tflite.schema import Table
from ganglion.ops.building import AttrValue
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.values import static_shape

Array = np.ndarray
Move = Callable[[ir.Value], ir.Value]
"""An operator that only moves numbers, so that it may stand before or behind DequantizeLinear."""

ACTIVATIONS = ("", "Relu", "ReluN1To1", "Relu6", "Tanh", "SignBit")
"""By TensorFlow Lite's number."""
CLAMPS = {"ReluN1To1": (-1.0, 1.0), "Relu6": (0.0, 6.0), "Relu0To1": (0.0, 1.0)}

LARGEST_INT32 = float(np.nextafter(np.float32(2 ** 31), np.float32(0)))
"""The largest float32 that an int32 holds."""


@dataclass
class Variables:
    """By name: the first values, the value as it is so far, the Model's input that it began as."""

    first: dict[str, np.ndarray] = field(default_factory=dict)
    now: dict[str, ir.Value] = field(default_factory=dict)
    inputs: dict[str, ir.Value] = field(default_factory=dict)


@dataclass
class Inner:
    """The subgraphs that operators may run, by number, and how many operators of them were
    converted so far."""

    networks: Mapping[int, Network] = field(default_factory=dict)
    converted: int = 0


@dataclass
class Values:
    """What has been made so far: the value of each tensor, and each one's real numbers; the
    variables, and which tensors stand for them; `running`: the numbers of the subgraphs within
    which this one stands."""

    g: GraphBuilder
    network: Network
    made: dict[int, ir.Value] = field(default_factory=dict)
    reals: dict[int, ir.Value] = field(default_factory=dict)
    weights: dict[tuple[int, tuple[int, ...], int | None], ir.Value] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    variables: Variables = field(default_factory=Variables)
    running: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)

    def value(self, tensor: Tensor) -> ir.Value | None:
        """The tensor's own elements (codes where it is quantised), None if nothing gave them yet.
        """
        if tensor.index not in self.made:
            data = tensor.data
            if data is None and tensor.shape is not None and 0 in tensor.shape:
                data = np.zeros(tensor.shape, tensor.dtype.numpy())
            if data is None:
                return None
            data = data.astype(np.float32) if data.dtype == np.float16 else data
            self.made[tensor.index] = self.g.constant(data, tensor.name)
        return self.made[tensor.index]

    def parameters(self, q: Quantization, dtype: ir.DataType) -> list[ir.Value]:
        """Scale and zero point as the inputs of QuantizeLinear and DequantizeLinear."""
        scale, zero = q.scale, q.zero.astype(dtype.numpy())
        if q.per_tensor:
            scale, zero = scale.reshape(()), zero.reshape(())
        return [self.g.constant(scale, "scale"), self.g.constant(zero, "zero_point")]


@dataclass
class Site:
    """One operator while it is converted. `rank`, `shape` and the like are of what was made."""

    values: Values
    operator: Operator

    @property
    def g(self) -> GraphBuilder:
        return self.values.g

    @property
    def count(self) -> int:
        """How many inputs the operator names, absent ones included."""
        return len(self.operator.inputs)

    def error(self, text: str) -> ModelError:
        return ModelError(f"{self.describe()}: {text}")

    def unsupported(self, text: str) -> UnsupportedOp:
        return UnsupportedOp(f"{self.describe()}: {text}")

    def describe(self) -> str:
        """The operator with its number and its tensors' names, for messages."""
        tensors = self.values.network.tensors
        reads = ", ".join(repr(tensors[i].name) for i in self.operator.inputs[:8] if i >= 0)
        writes = ", ".join(repr(tensors[i].name) for i in self.operator.outputs[:8])
        return f"operator {self.operator.index} {self.operator.name} ({reads} to {writes})"

    def options(self, name: str) -> Table:
        """The operator's options; all defaults where the file has none."""
        found = self.operator.options
        if found is None:
            return Table.empty(name)
        if found.name != name:
            raise self.error(f"has options of the kind {found.name}, expected {name}")
        return found

    def has(self, k: int) -> bool:
        """Whether input k is there."""
        return k < self.count and self.operator.inputs[k] >= 0

    def tensor(self, k: int) -> Tensor:
        """Input k as the file describes it."""
        if not self.has(k):
            raise self.error(f"lacks input {k}")
        return self.values.network.tensors[self.operator.inputs[k]]

    def output(self, k: int = 0) -> Tensor:
        """Output k as the file describes it."""
        if k >= len(self.operator.outputs):
            raise self.error(f"lacks output {k}")
        return self.values.network.tensors[self.operator.outputs[k]]

    def value(self, k: int) -> ir.Value:
        """The elements of input k as they are: codes, where it is quantised."""
        tensor = self.tensor(k)
        found = self.values.value(tensor)
        if found is None:
            raise self.error(f"reads tensor {tensor.index} {tensor.name!r}, which is neither an "
                             "input, nor a constant, nor written by an operator before")
        return found

    def shape(self, k: int) -> tuple[int, ...]:
        """The shape of input k."""
        return static_shape(self.value(k))

    def quantized(self, k: int = 0) -> bool:
        """Whether input k holds codes."""
        return self.tensor(k).quantization is not None

    def constant(self, k: int) -> Array | None:
        """The elements of input k where they are known now."""
        held = self.value(k).const_value
        return None if held is None else held.numpy()

    def known(self, k: int, what: str) -> list[int]:
        """Input k as a list of whole numbers. Raises UnsupportedOp where it depends on data."""
        array = self.constant(k)
        if array is None or array.dtype.kind not in "iu":
            raise self.unsupported(f"its {what} (input {k}) must be whole numbers known when "
                                   "converting; convert the network with fixed shapes")
        return [int(n) for n in array.reshape(-1)]

    def real(self, k: int, move: Move | None = None) -> ir.Value:
        """Input k as real numbers, `move`d; other elements (int32, bool) as they are."""
        q, index = self.tensor(k).quantization, self.operator.inputs[k]
        if move is not None and (q is None or q.per_tensor):
            moved = move(self.value(k))
            return moved if q is None else self.dequantized(moved, q, 0)
        if index not in self.values.reals:
            value = self.value(k)
            self.values.reals[index] = value if q is None else self.dequantized(value, q, q.axis)
        found = self.values.reals[index]
        return found if move is None else move(found)

    def dequantized(self, codes: ir.Value, q: Quantization, axis: int) -> ir.Value:
        """DequantizeLinear of codes whose scales, if many, lie along `axis`."""
        if codes.dtype is None:
            raise self.error("its codes have no element type")
        parameters = self.values.parameters(q, codes.dtype)
        return self.op("DequantizeLinear", codes, *parameters,
                       **({} if q.per_tensor else {"axis": axis}))

    def weight(self, k: int, perm: Sequence[int], inputs: int | None = None) -> ir.Value:
        """Input k with its axes in another order; a constant is laid out now.

        inputs: the axis, in the new order, along which the parts of `parts` follow each other.
        """
        key = (self.tensor(k).index, tuple(perm), inputs)
        if key not in self.values.weights:
            self.values.weights[key] = self._weight(k, tuple(perm), inputs)
        return self.values.weights[key]

    def _weight(self, k: int, perm: tuple[int, ...], inputs: int | None) -> ir.Value:
        tensor, array, q = self.tensor(k), self.constant(k), self.tensor(k).quantization
        if len(self.shape(k)) != len(perm):
            raise self.error(f"its weights have the shape {list(self.shape(k))}, expected "
                             f"{len(perm)} axes")
        if array is None and perm == tuple(range(len(perm))):
            return self.real(k)
        if array is None:
            return self.real(k, lambda v: self.op("Transpose", v, perm=perm))
        parts = self.parts(k)
        if q is not None and parts and (inputs is not None or len(parts) == 1):
            array = np.concatenate([p.transpose(perm) for p in parts], inputs or 0)
            q = Quantization(q.scale, np.zeros(q.zero.shape, np.int64), q.axis)
        else:
            array = array.transpose(perm)
        codes = self.g.constant(array, tensor.name)
        return codes if q is None else self.dequantized(codes, q, perm.index(q.axis))

    def parts(self, k: int) -> list[Array]:
        """Constant uint8 weights less their zero point, as int8 arrays that add up to them.

        Integer kernels want int8 weights with zero point 0. One array is enough for codes within
        -128 .. 127 of the zero point, as for a zero point of 128. Empty for other weights.
        """
        array, q = self.constant(k), self.tensor(k).quantization
        if array is None or array.dtype != np.uint8 or q is None:
            return []
        shape = [-1 if a == q.axis and not q.per_tensor else 1 for a in range(array.ndim)]
        rest = array.astype(np.int16) - q.zero.reshape(shape).astype(np.int16)
        found = [np.clip(rest, -128, 127).astype(np.int8)]
        while (rest := rest - found[-1]).any():
            found.append(np.clip(rest, -128, 127).astype(np.int8))
        return found

    def op(self, name: str, *inputs: ir.Value | None, **attrs: AttrValue) -> ir.Value:
        """Appends a node named after the operator's output."""
        return self.ops(name, *inputs, outputs=1, **attrs)[0]

    def ops(self, name: str, *inputs: ir.Value | None, outputs: int,
            **attrs: AttrValue) -> Sequence[ir.Value]:
        """As `op`, with several outputs; absent inputs at the end are left out."""
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        hint = f"{self.output().name}/{name}"
        return self.g.ops(name, *inputs, outputs=outputs, hint=hint, attrs=attrs)

    def floats(self, number: float) -> ir.Value:
        """A float32 scalar."""
        return self.g.constant(np.asarray(number, np.float32))

    def reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Reshape, where the shape is another one."""
        if static_shape(value) == tuple(shape):
            return value
        return self.op("Reshape", value, self.g.ints(*shape))

    def activated(self, y: ir.Value, number: int) -> ir.Value:
        """`y` through the fused activation of that number."""
        if not 0 <= number < len(ACTIVATIONS) - 1:
            raise self.unsupported(f"its fused activation {number} is none of 0 to "
                                   f"{len(ACTIVATIONS) - 2} (none, Relu, ReluN1To1, Relu6, Tanh)")
        name = ACTIVATIONS[number]
        return self.named_activation(y, name) if name else y

    def named_activation(self, y: ir.Value, name: str) -> ir.Value:
        """`y` through Relu, Tanh ... or one of `CLAMPS`."""
        if name in CLAMPS:
            return self.op("Clip", y, *(self.floats(b) for b in CLAMPS[name]))
        return self.op(name, y)

    def finish(self, y: ir.Value, k: int = 0, activation: int = 0, move: Move | None = None
               ) -> None:
        """Makes `y`, activated, quantised where output k is, and `move`d, the output k."""
        y = self.activated(y, activation)
        q, dtype = self.output(k).quantization, self.output(k).dtype
        if q is not None and y.dtype == ir.DataType.FLOAT:
            if not q.per_tensor:
                raise self.unsupported("its output has one scale a channel; activations need one "
                                       "for the whole tensor")
            y = self.codes(y, q, dtype)
        self.put(y if move is None else move(y), k)

    def codes(self, y: ir.Value, q: Quantization, dtype: ir.DataType) -> ir.Value:
        """Real numbers as codes of one scale: QuantizeLinear, or for int32, which it lacks,
        floor(y / scale + 1/2) + zero point, as TensorFlow Lite rounds between codes."""
        if dtype != ir.DataType.INT32:
            return self.op("QuantizeLinear", y, *self.values.parameters(q, dtype))
        steps = self.op("Div", y, self.floats(float(q.scale[0])))
        whole = self.op("Floor", self.op("Add", steps, self.floats(0.5 + float(q.zero[0]))))
        within = self.op("Clip", whole, self.floats(-2.0 ** 31), self.floats(LARGEST_INT32))
        return self.op("Cast", within, to=ir.DataType.INT32)

    def put(self, y: ir.Value, k: int = 0) -> None:
        """Makes `y` the elements (codes) of output k; ModelError unless they fit."""
        tensor = self.output(k)
        wanted = ir.DataType.FLOAT if tensor.dtype == ir.DataType.FLOAT16 else tensor.dtype
        if y.dtype != wanted:
            raise self.error(f"gives {y.dtype} for its output {tensor.name!r}, declared {wanted}")
        shape = static_shape(y)
        if tensor.shape is not None and not (_fits(shape, tensor.shape)
                                             or _chosen(shape, tensor.signature)):
            raise self.error(f"gives the shape {list(shape)} for its output "
                             f"{tensor.name!r}, declared {list(tensor.shape)}")
        if tensor.index in self.values.made or tensor.data is not None:
            raise self.error(f"writes tensor {tensor.index} {tensor.name!r}, which is an input, a "
                             "constant or written already")
        self.values.made[tensor.index] = y

    def like_output(self, inputs: Sequence[int], k: int = 0) -> bool:
        """Whether these inputs and output k have the same elements with the same meaning."""
        y = self.output(k)
        pairs = [(self.tensor(i).quantization, self.value(i).dtype) for i in inputs]
        return all(dtype == y.dtype and (q is None if y.quantization is None
                                         else y.quantization.same(q)) for q, dtype in pairs)

    def carry(self, move: Move, k: int = 0) -> None:
        """Output 0 is input k moved; on the codes themselves where both have the same scale."""
        if self.like_output([k]):
            self.put(move(self.value(k)))
        else:
            self.finish(self.real(k, move))


def _fits(given: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    """Whether a file that declares this shape may mean the given one.

    Interpreters compute the shapes of what lies between anew, so that converters leave some as they
    were: [] where none was known, and 1 for a batch that blocks of pixels were dealt out to."""
    stale = len(given) == len(declared) > 1 and declared[0] == 1 and given[1:] == declared[1:]
    return given == declared or stale or declared == ()


def _chosen(given: tuple[int, ...], signature: tuple[int, ...]) -> bool:
    """Whether a shape may be what one with open sizes becomes."""
    return len(given) == len(signature) > 0 and all(s in (d, -1) for d, s in zip(given, signature))
