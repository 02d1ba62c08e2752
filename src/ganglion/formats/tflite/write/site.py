"""What the rules see: one node of the Model, its values as tensors of the file, in any order.

A value is stored as `value.transpose(perm)`: spatial operators give channels-last, a Transpose
gives nothing but another `perm`, and only a reader that wants another order gets a TRANSPOSE. The
real numbers behind DequantizeLinear are stored as the codes in front of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.formats.tflite.write.codes import SHIFT, parameters
from ganglion.formats.tflite.write.flat import FlatNetwork, Options, Quant
from ganglion.ops.attr import get_float, get_int, get_ints
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.facts import is_op, is_view
from ganglion.ops.named import CLIP, DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, RELU, RESHAPE, TRANSPOSE
from ganglion.ops.values import attributes, static_shape
from ganglion.passes.base import only_reader
from ganglion.passes.quantized.qdq import array_of, is_constant

Array = np.ndarray
Perm = tuple[int, ...]

FUSED = {"Relu": "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, np.inf): "RELU"}
NUMBERS = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""Fused activations by the schema's number."""


def plain(rank: int) -> Perm:
    """The order in which the Model has its axes."""
    return tuple(range(rank))


def last(rank: int) -> Perm:
    """Channels behind the spatial axes."""
    return (0, *range(2, rank), 1) if rank > 1 else plain(rank)


@dataclass(frozen=True)
class Stored:
    """The tensor that holds a value, and the order of the value's axes in it."""

    tensor: int
    perm: Perm


@dataclass
class Values:
    """What has been written so far. `hybrid`: int8 weights of float operators stay int8; `used`:
    the number that the next tensor of a name gets."""

    flat: FlatNetwork
    names: set[str]
    hybrid: bool = False
    stored: dict[ir.Value, Stored] = field(default_factory=dict)
    done: set[ir.Node] = field(default_factory=set)
    turned: dict[tuple[int, Perm, Perm], int] = field(default_factory=dict)
    requantised: dict[tuple[int, Quant | None], int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def fresh(self, hint: str) -> str:
        """A tensor's name not used yet."""
        name, k = hint, self.used.get(hint, 1)
        while name in self.names:
            name, k = f"{hint}_{k}", k + 1
        self.names.add(name)
        self.used[hint] = k
        return name

    def ordered(self, held: Stored, perm: Perm, node: str) -> int:
        """The value's tensor with its axes in the order `perm`."""
        key = (held.tensor, held.perm, perm)
        if held.perm == perm:
            return held.tensor
        if key not in self.turned:
            self.turned[key] = self._turned(held, perm, node)
        return self.turned[key]

    def _turned(self, held: Stored, perm: Perm, node: str) -> int:
        source = self.flat.tensors[held.tensor]
        move = [held.perm.index(axis) for axis in perm]
        shape = tuple(source.shape[k] for k in move)
        if source.data is not None:
            return self.flat.constant(source.data.transpose(move), self.fresh(source.name),
                                      source.quant)
        made = self.flat.tensor(self.fresh(f"{source.name}_turned"), source.dtype, shape,
                                source.quant)
        if [k for k in move if source.shape[k] != 1] == sorted(
                k for k in move if source.shape[k] != 1):
            self.flat.op("RESHAPE", [held.tensor, self.flat.ints(*shape)], [made],
                         ("ReshapeOptions", {"new_shape": list(shape)}), node)
        else:
            self.flat.op("TRANSPOSE", [held.tensor, self.flat.ints(*move)], [made], None, node)
        return made

    def with_quant(self, tensor: int, quant: Quant | None, node: str) -> int:
        """The tensor as real numbers (None), or as codes of `quant`."""
        source = self.flat.tensors[tensor]
        if source.quant == quant:
            return tensor
        key = (tensor, quant)
        if key not in self.requantised:
            dtype = np.dtype(np.float32 if quant is None else np.int8)
            made = self.flat.tensor(self.fresh(f"{source.name}_{'real' if quant is None else 'q'}"),
                                    dtype, source.shape, quant)
            self.flat.op("DEQUANTIZE" if quant is None else "QUANTIZE", [tensor], [made], None,
                         node)
            self.requantised[key] = made
        return self.requantised[key]


class Site:
    """One node while it is written. `result` is the value that the next tensor will hold."""

    def __init__(self, values: Values, node: ir.Node) -> None:
        self.values, self.node = values, node
        self.attrs = attributes(node)
        self.result = node.outputs[0]
        self.target: Quant | None = None

    @property
    def flat(self) -> FlatNetwork:
        return self.values.flat

    @property
    def name(self) -> str:
        return str(self.node.name)

    def unsupported(self, text: str) -> UnsupportedOp:
        return UnsupportedOp(f"node {self.name!r} ({self.node.op_type}): {text}")

    def whole(self, name: str, default: int) -> int:
        return get_int(self.attrs, name, default)

    def wholes(self, name: str, default: Sequence[int]) -> list[int]:
        return get_ints(self.attrs, name, default)

    def real(self, name: str, default: float) -> float:
        return get_float(self.attrs, name, default)

    # What the node reads.

    def has(self, k: int) -> bool:
        return k < len(self.node.inputs) and self.node.inputs[k] is not None

    def value(self, k: int) -> ir.Value:
        found = self.node.inputs[k] if k < len(self.node.inputs) else None
        if found is None:
            raise self.unsupported(f"lacks input {k}")
        return found

    def shape(self, k: int) -> tuple[int, ...]:
        return static_shape(self.value(k))

    @property
    def rank(self) -> int:
        return len(self.shape(0))

    def constant(self, k: int) -> Array | None:
        """Input k where it is known when exporting, codes as the numbers they mean."""
        return constant_of(self.value(k)) if self.has(k) else None

    def known(self, k: int, what: str) -> list[int]:
        """Input k as whole numbers. Raises UnsupportedOp where it is computed."""
        array = self.constant(k)
        if array is None:
            raise self.unsupported(f"its {what} (input {k}) is computed; a .tflite file needs it "
                                   "constant")
        return [int(n) for n in array.reshape(-1)]

    def codes(self, k: int) -> tuple[Array, Quant] | None:
        """The int8 or int32 codes of a constant behind DequantizeLinear."""
        return codes_of_constant(self.value(k)) if self.has(k) else None

    def quant(self, k: int) -> Quant | None:
        """How input k is stored as codes, None for real numbers."""
        held = self.values.stored.get(self.value(k))
        if held is not None:
            return self.flat.tensors[held.tensor].quant
        found = self.codes(k)
        return found[1] if found is not None and found[1].per_tensor else None

    def held(self, k: int) -> Stored:
        """Input k as it is stored; a constant is written first."""
        value = self.value(k)
        if value not in self.values.stored:
            found = self.codes(k)
            if found is not None and found[1].per_tensor and found[0].dtype == np.int8:
                tensor = self.flat.constant(found[0], self.values.fresh(str(value.name)), found[1])
            else:
                array = self.constant(k)
                if array is None:
                    raise self.unsupported(f"reads {value.name!r}, which nothing writes")
                tensor = self.flat.constant(array, self.values.fresh(str(value.name)))
            self.values.stored[value] = Stored(tensor, plain(len(static_shape(value))))
        return self.values.stored[value]

    def read(self, k: int, perm: Perm | None = None) -> int:
        """Input k in the order `perm` (the Model's by default): codes where the operator works on
        codes, else real numbers."""
        held = self.held(k)
        array = self.constant(k)
        perm = perm if perm is not None else plain(len(self.shape(k)))
        if self.target is None and array is not None:
            return self.flat.constant(array.transpose(perm), self.values.fresh(
                str(self.value(k).name)))
        if self.target is None:
            held = Stored(self.values.with_quant(held.tensor, None, self.name), held.perm)
        return self.values.ordered(held, perm, self.name)

    def moved(self, k: int = 0, perm: Perm | None = None) -> int:
        """Input k as it is stored, codes or numbers, in the order `perm`: for what only moves."""
        perm = perm if perm is not None else plain(len(self.shape(k)))
        return self.values.ordered(self.held(k), perm, self.name)

    # What it writes.

    def aim(self) -> Quant | None:
        """What the node's result is quantised to by the only QuantizeLinear behind it."""
        value = self.result
        while (reader := only_reader(value)) is not None:
            if is_op(reader, QUANTIZE_LINEAR) and reader.inputs[0] is value:
                found = parameters(reader, reader.outputs[0].dtype)
                return found if found.per_tensor else None
            if not (_is_transparent(reader) and reader.inputs[0] is value):
                return None
            value = reader.outputs[0]
        return None

    def activation(self) -> int:
        """The number of the activation right behind the result, which then is written by this
        operator; 0 if none can be."""
        reader = only_reader(self.result)
        name = activation_of(reader) if reader is not None else None
        if reader is None or name not in NUMBERS:
            return 0
        self.absorb(reader)
        return NUMBERS[name]

    def absorb(self, node: ir.Node) -> None:
        """This operator also does what `node` does, whose result it gives."""
        self.values.done.add(node)
        self.result = node.outputs[0]

    def tensor(self, shape: Sequence[int], quant: Quant | None = None,
               dtype: np.dtype | None = None) -> int:
        """A new tensor between two operators of the same node, or the node's result."""
        kind = np.dtype(np.int8 if quant is not None else np.float32) if dtype is None else dtype
        name = self.values.fresh(str(self.result.name))
        return self.flat.tensor(name, kind, shape, quant)

    def op(self, name: str, inputs: Sequence[int], shape: Sequence[int],
           options: Options | None = None, *, like: int | None = None,
           dtype: np.dtype | None = None) -> int:
        """Appends an operator and returns its output, which is quantised as `target` says, or
        `like` another tensor, or has `dtype`."""
        if like is not None:
            source = self.flat.tensors[like]
            made = self.tensor(shape, source.quant, source.dtype)
        else:
            made = self.tensor(shape, self.target if dtype is None else None, dtype)
        self.flat.op(name, inputs, [made], options, self.name)
        return made

    def reshaped(self, tensor: int, shape: Sequence[int]) -> int:
        """RESHAPE, where neither the tensor nor what it was made of has that shape."""
        source = self.flat.tensors[tensor]
        if source.shape == tuple(shape):
            return tensor
        tensor = self.flat.origin(tensor)
        if self.flat.tensors[tensor].shape == tuple(shape):
            return tensor
        if source.data is not None:
            return self.flat.constant(source.data.reshape(tuple(shape)), source.name, source.quant)
        return self.op("RESHAPE", [tensor, self.flat.ints(*shape)], shape,
                       ("ReshapeOptions", {"new_shape": [int(n) for n in shape]}), like=tensor)

    def put(self, tensor: int, perm: Perm | None = None, k: int | None = None) -> None:
        """`tensor` holds the result (or output k), its axes in the order `perm`."""
        value = self.result if k is None else self.node.outputs[k]
        rank = len(static_shape(value))
        self.values.stored[value] = Stored(tensor, plain(rank) if perm is None else perm)

    def number(self, value: float) -> int:
        """A float32 scalar constant."""
        return self.flat.constant(np.asarray([value], np.float32), "number")


Rule = Callable[[Site], None]


def constant_of(value: ir.Value) -> Array | None:
    """The elements of a value known when exporting: an initializer, or one dequantised."""
    if is_constant(value):
        return array_of(value)
    node = value.producer()
    if node is None or not is_op(node, DEQUANTIZE_LINEAR, TRANSPOSE, RESHAPE):
        return None
    arrays = [constant_of(v) if v is not None else None for v in node.inputs]
    if any(a is None for a in arrays):
        return None
    return np.asarray(evaluate_node(node, arrays)[0])


def codes_of_constant(value: ir.Value) -> tuple[Array, Quant] | None:
    """The codes of a constant behind DequantizeLinear, those of uint8 moved to int8."""
    node = value.producer()
    if node is None or not is_op(node, DEQUANTIZE_LINEAR) or not is_constant(node.inputs[0]):
        return None
    coded = node.inputs[0]
    if coded is None or coded.dtype not in (ir.DataType.INT8, ir.DataType.UINT8,
                                            ir.DataType.INT32):
        return None
    array = array_of(coded)
    if array.dtype == np.uint8:
        array = (array.astype(np.int16) - SHIFT).astype(np.int8)
    return array, parameters(node, coded.dtype)


def activation_of(node: ir.Node) -> str | None:
    """RELU, RELU6 or RELU_N1_TO_1 where the node is that."""
    if is_op(node, RELU):
        return "RELU"
    if not is_op(node, CLIP):
        return None
    bounds = []
    for k, free in ((1, -np.inf), (2, np.inf)):
        given = node.inputs[k] if k < len(node.inputs) else None
        array = None if given is None else constant_of(given)
        if given is not None and array is None:
            return None
        bounds.append(free if array is None else float(array))
    return FUSED.get((bounds[0], bounds[1]))


def _is_transparent(node: ir.Node) -> bool:
    """Whether the node may stand between an integer operator and the QuantizeLinear of its result:
    on codes it chooses or moves what the QuantizeLinear would have rounded alike."""
    return is_op(node, RELU, CLIP, TRANSPOSE) or is_view(node)
