"""What a .tflite file says, as plain values: tensors, operators, constants.

The first subgraph is read, and those that its operators run. Every
index is checked, and every constant's bytes are compared with its shape.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import ml_dtypes
import numpy as np
import onnx_ir as ir
import tflite

from ganglion.errors import ModelError, TrustError, UnsupportedOp
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.formats.tflite.read.sparse import expanded
from ganglion.formats.tflite.schema import ROWS, Table
from ganglion.ops.infer import MAX_ELEMENTS

MAX_AXES = 32
"""Axes of a tensor, as in the C of a build."""
MAX_CUSTOM = 64
"""Bytes of a custom operator's options that are read."""
LEAST_SCALE = np.finfo(np.float32).tiny
"""Smaller scales are read as this one: codes by it are 0 in any sum, and no step divides by 0."""
MAX_SHARING = 8
"""Constants may be this many times larger than the file (several tensors may share one buffer)."""
SHARED_BYTES = 1 << 24
"""Below this many bytes of constants nobody asks how they are shared."""

TYPES: Mapping[int, ir.DataType] = {
    tflite.TensorType.FLOAT32: ir.DataType.FLOAT, tflite.TensorType.FLOAT16: ir.DataType.FLOAT16,
    tflite.TensorType.INT32: ir.DataType.INT32, tflite.TensorType.UINT8: ir.DataType.UINT8,
    tflite.TensorType.INT64: ir.DataType.INT64, tflite.TensorType.BOOL: ir.DataType.BOOL,
    tflite.TensorType.INT16: ir.DataType.INT16, tflite.TensorType.INT8: ir.DataType.INT8,
    tflite.TensorType.INT4: ir.DataType.INT4, tflite.TensorType.UINT32: ir.DataType.UINT32,
    tflite.TensorType.UINT16: ir.DataType.UINT16}
"""Element types that a network may use."""


@dataclass(frozen=True)
class Quantization:
    """real = (code - zero) · scale. Both [1], or [size of `axis`]."""

    scale: np.ndarray
    zero: np.ndarray
    axis: int

    @property
    def per_tensor(self) -> bool:
        return self.scale.size == 1

    def same(self, other: "Quantization | None") -> bool:
        """Whether equal codes mean equal numbers."""
        return (other is not None and self.per_tensor and other.per_tensor
                and self.scale[0] == other.scale[0] and self.zero[0] == other.zero[0])


@dataclass(frozen=True)
class Tensor:
    """One tensor. `shape` is None where it is only known when running; `data` of constants only.

    int4 constants are widened to int8. `declared`: the number of the element type in the file.
    `signature`: the shape with -1 for each open size, empty where none is open.
    """

    index: int
    name: str
    declared: int
    shape: tuple[int, ...] | None
    quantization: Quantization | None
    data: np.ndarray | None
    signature: tuple[int, ...] = ()

    @property
    def dtype(self) -> ir.DataType:
        """Raises UnsupportedOp for element types that a network cannot use."""
        if self.declared not in TYPES:
            known = ", ".join(sorted(t.name for t in TYPES.values()))
            raise UnsupportedOp(f"tensor {self.index} {self.name!r} has the element type number "
                                f"{self.declared}; supported are {known}")
        found = TYPES[self.declared]
        return ir.DataType.INT8 if found == ir.DataType.INT4 else found


@dataclass(frozen=True)
class Operator:
    """One operator. `inputs` holds -1 for an absent optional input; `custom`: the options of one
    that is not TensorFlow Lite's own, in its own form."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None
    custom: bytes = b""


@dataclass(frozen=True)
class Network:
    """A subgraph of a file. `inner`, of the first one: those that operators run, by their numbers.
    """

    name: str
    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    size: int = 0
    """Bytes of the file."""
    inner: Mapping[int, "Network"] = field(default_factory=dict)


def read_network(data: bytes, limits: Limits = DEFAULT) -> Network:
    """The network in a file. Raises ModelError for a damaged one, UnsupportedOp, TrustError."""
    model = Table.root(data)
    if model.integer("version") != 3:
        raise ModelError(f"the file has schema version {model.integer('version')}, expected 3; "
                         "convert the network again with a current converter")
    graphs = model.tables("subgraphs", "SubGraph")
    if not graphs:
        raise ModelError("the file holds no subgraph, so no network")
    buffers = _buffers(model, data)
    first = _subgraph(model, graphs[0], buffers, len(data), limits)
    if not first.outputs:
        raise ModelError("the network has no outputs")
    inner: dict[int, Network] = {}
    waiting = [first]
    while waiting:
        for number in _runs(waiting.pop(), len(graphs)):
            if number not in inner:
                inner[number] = _subgraph(model, graphs[number], buffers, len(data), limits)
                waiting.append(inner[number])
    return replace(first, inner=inner)


RUNS: Mapping[str, tuple[str, ...]] = {
    "CallOnceOptions": ("init_subgraph_index",),
    "WhileOptions": ("cond_subgraph_index", "body_subgraph_index")}
"""Options of operators that run subgraphs, and the fields that number them."""


def _runs(network: Network, count: int) -> list[int]:
    """The subgraphs that operators run, of `count`."""
    found = []
    for operator in network.operators:
        options = operator.options
        for field_name in RUNS.get(options.name, ()) if options is not None else ():
            number = options.integer(field_name) if options is not None else 0
            if not 0 < number < count:
                raise ModelError(f"operator {operator.index} {operator.name} names subgraph "
                                 f"{number}; the file has {count}")
            found.append(number)
    return found


def _subgraph(model: Table, graph: Table, buffers: Sequence[np.ndarray], size: int,
              limits: Limits) -> Network:
    tensors = _tensors(graph, buffers, size)
    inputs, outputs = graph.integers("inputs"), graph.integers("outputs")
    for index in (*inputs, *outputs):
        if not 0 <= index < len(tensors):
            raise ModelError(f"the network names tensor {index} as input or output; it has "
                             f"{len(tensors)} tensors")
    operators = _operators(model, graph, len(tensors), limits)
    return Network(graph.text("name") or "main", tensors, operators, inputs, outputs, size)


def _buffers(model: Table, data: bytes) -> list[np.ndarray]:
    """The bytes of each buffer; those behind the FlatBuffer (files above 2 GiB) too."""
    found = []
    for k, buffer in enumerate(model.tables("buffers", "Buffer")):
        start, size = buffer.integer("offset"), buffer.integer("size")
        if start > 1:
            if start + size > len(data):
                raise ModelError(f"buffer {k} lies at bytes {start} to {start + size}; the file "
                                 f"has {len(data)}, so it is cut short")
            found.append(np.frombuffer(data, np.uint8, size, start))
        else:
            found.append(buffer.array("data"))
    return found


def _tensors(graph: Table, buffers: Sequence[np.ndarray], size: int) -> list[Tensor]:
    found, made = [], 0
    for k, table in enumerate(graph.tables("tensors", "Tensor")):
        found.append(_tensor(k, table, buffers))
        data = found[-1].data
        made += 0 if data is None else data.nbytes
        if made > max(SHARED_BYTES, MAX_SHARING * size):
            raise TrustError(f"the constants of this file of {size} bytes unfold to {made} bytes "
                             f"and more: many tensors share one buffer, which no honest converter "
                             "writes")
    return found


def _tensor(index: int, table: Table, buffers: Sequence[np.ndarray]) -> Tensor:
    name = table.text("name") or f"tensor_{index}"
    owner = f"tensor {index} {name!r}"
    sparse = table.table("sparsity", "SparsityParameters")
    place = table.integer("buffer")
    if place >= len(buffers):
        raise ModelError(f"{owner} lies in buffer {place}; the file has {len(buffers)}")
    if table.array("shape").size > MAX_AXES or table.array("shape_signature").size > MAX_AXES:
        raise ModelError(f"{owner} has {table.array('shape').size} axes, expected at most "
                         f"{MAX_AXES}")
    shape, signature = table.integers("shape"), table.integers("shape_signature")
    declared, stored = table.integer("type"), buffers[place]
    if -1 in shape and not stored.size:
        shape, signature = tuple(1 if d == -1 else d for d in shape), shape
    if any(d < 0 for d in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(f"{owner} has the shape {list(shape)}; dimensions must not be negative, "
                         f"and their product at most {MAX_ELEMENTS}")
    data = None
    if stored.size and declared in TYPES and not table.integer("is_variable"):
        data = (_constant(owner, TYPES[declared], shape, stored) if sparse is None else
                _written_out(owner, sparse, TYPES[declared], shape, stored))
    known = not any(d < 0 for d in signature) or data is not None
    return Tensor(index, name, declared, shape if known or _one_batch(shape, signature) else None,
                  _quantization(owner, table, declared, shape, data), data,
                  () if known else signature)


def _one_batch(shape: tuple[int, ...], signature: tuple[int, ...]) -> bool:
    """Whether only the first dimension is open; the shape then is that of one row."""
    return (len(shape) == len(signature) and len(shape) > 0 and signature[0] < 0
            and shape[1:] == signature[1:])


def _constant(owner: str, dtype: ir.DataType, shape: tuple[int, ...], stored: np.ndarray
              ) -> np.ndarray:
    count = math.prod(shape)
    if dtype == ir.DataType.INT4:
        _check_bytes(owner, shape, stored, -(-count // 2))
        pairs = np.stack([stored << 4, stored], -1).reshape(-1)[:count]
        nibbles: np.ndarray = (pairs.view(np.int8) >> 4).reshape(shape)
        return nibbles
    width = np.dtype(dtype.numpy()).newbyteorder("<")
    _check_bytes(owner, shape, stored, count * width.itemsize)
    array = np.array(stored.view(width), np.dtype(dtype.numpy())).reshape(shape)
    if dtype == ir.DataType.BOOL and (stored > 1).any():
        raise ModelError(f"{owner} holds truth values other than 0 and 1; the file is damaged")
    # A single infinity may bound a clamp or fill a margin.
    bad = array.dtype.kind == "f" and not (np.isfinite(array).all() or _one_infinity(array))
    if bad:
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ModelError(f"{owner} of shape {list(shape)} holds {array[tuple(where)]} at {where}; "
                         "the network was saved after its training diverged, or the file is "
                         "damaged")
    return array


def _one_infinity(array: np.ndarray) -> bool:
    return array.size == 1 and not np.isnan(array).any()


def _written_out(owner: str, sparse: Table, dtype: ir.DataType, shape: tuple[int, ...],
                 stored: np.ndarray) -> np.ndarray:
    """A constant of which only some elements are stored."""
    if dtype == ir.DataType.INT4:
        raise UnsupportedOp(f"{owner} is stored sparse in four bits; convert it without one of the "
                            "two")
    count = stored.size // np.dtype(dtype.numpy()).itemsize
    values = _constant(owner, dtype, (count,), stored)
    return expanded(owner, sparse, shape, values)


def _check_bytes(owner: str, shape: tuple[int, ...], stored: np.ndarray, expected: int) -> None:
    if stored.size != expected:
        raise ModelError(f"{owner} of shape {list(shape)} holds {stored.size} bytes, expected "
                         f"{expected}; the file is damaged")


def _quantization(owner: str, tensor: Table, declared: int, shape: tuple[int, ...],
                  data: np.ndarray | None) -> Quantization | None:
    table = tensor.table("quantization", "QuantizationParameters")
    if table is None or declared not in TYPES:
        return None
    scale = table.array("scale").astype(np.float32)
    dtype = TYPES[declared]
    if scale.size == 0 or not dtype.is_integer():
        return None
    if table.integer("details_type"):
        raise UnsupportedOp(f"{owner} has a quantisation of its own kind "
                            f"({table.integer('details_type')}); only scale and zero point are "
                            "read")
    zero = table.array("zero_point").astype(np.int64)
    zero = np.zeros(scale.shape, np.int64) if zero.size == 0 else zero
    zero = np.repeat(zero, scale.size) if zero.size == 1 else zero
    # Of a vector there is one axis; early converters wrote that of the weights here.
    axis = 0 if len(shape) == 1 else table.integer("quantized_dimension")
    if scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size):
        raise ModelError(f"{owner} of shape {list(shape)} has {scale.size} scales along axis "
                         f"{axis}; expected one, or one for each index of that axis")
    if zero.shape != scale.shape:
        raise ModelError(f"{owner} has {scale.size} scales and {zero.size} zero points")
    fit = np.isfinite(scale) & (scale >= 0)
    if scale.size > 1 and data is not None:
        # Converters write anything for channels of nothing but zeros.
        fit |= ~data.astype(bool).any(tuple(a for a in range(data.ndim) if a != axis))
    elif scale.size == 1:
        fit &= scale > 0
    if not fit.all():
        raise ModelError(f"{owner} has the scale {scale[~fit][0]}; scales must be positive "
                         "numbers, or 0 for one of several channels")
    scale = np.where(np.isfinite(scale), np.maximum(scale, LEAST_SCALE), LEAST_SCALE)
    info = ml_dtypes.iinfo(dtype.numpy())  # type: ignore[no-untyped-call]
    if (zero < int(info.min)).any() or (zero > int(info.max)).any():
        raise ModelError(f"{owner} has a zero point outside {info.min} .. {info.max}, the codes of "
                         f"its type {dtype}")
    return Quantization(scale, zero, axis if scale.size > 1 else 0)


def _operators(model: Table, graph: Table, tensors: int, limits: Limits) -> list[Operator]:
    codes = [_name(code) for code in model.tables("operator_codes", "OperatorCode")]
    tables = graph.tables("operators", "Operator")
    limits.check_nodes(len(tables), "the network")
    found = []
    for k, table in enumerate(tables):
        code = table.integer("opcode_index")
        if code >= len(codes):
            raise ModelError(f"operator {k} is of kind {code}; the file names {len(codes)} kinds")
        inputs, outputs = table.integers("inputs"), table.integers("outputs")
        if any(not -1 <= i < tensors for i in inputs) or any(not 0 <= i < tensors for i in outputs):
            raise ModelError(f"operator {k} {codes[code]} reads {list(inputs[:30])} and writes "
                             f"{list(outputs[:30])}; the network has {tensors} tensors")
        found.append(Operator(k, codes[code], inputs, outputs, _options(table),
                              table.array("custom_options").tobytes()[:MAX_CUSTOM]))
    return found


def _name(code: Table) -> str:
    """The operator's name in the schema; a custom operator's own name behind CUSTOM."""
    # Numbers below 127 stand in the old field of one byte, where files before 2020 have them all.
    number = max(code.integer("builtin_code"), code.integer("deprecated_builtin_code"))
    names = tflite.utils.BUILTIN_OPCODE2NAME
    if number == tflite.BuiltinOperator.CUSTOM:
        return f"CUSTOM {code.text('custom_code')!r}"
    return str(names.get(number, f"number {number}"))


def _options(operator: Table) -> Table | None:
    """The operator's options when their table is one that is read."""
    name = _options_names().get(operator.integer("builtin_options_type"), "")
    return operator.table("builtin_options", name) if name in ROWS else None


@cache
def _options_names() -> Mapping[int, str]:
    return {v: k for k, v in vars(tflite.BuiltinOptions).items() if isinstance(v, int)}
