"""A .tflite file under construction: tensors, operators, and the bytes of both.

Source of the tables: tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3, by the builder
functions of the `tflite` package.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tflite

from ganglion.errors import UnsupportedOp

Array = np.ndarray
Options = tuple[str, Mapping[str, object]]
"""The options table's name, and its fields in the schema's spelling."""

SCHEMA_VERSION = 3
LAST_OLD_CODE = 127
"""Operators below this number also stand in a field of one byte, for old readers."""

TYPES: Mapping[str, str] = {
    "float32": "FLOAT32", "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "int8": "INT8",
    "bool": "BOOL"}
"""NumPy's names of the element types that are written, and the schema's."""


@dataclass(frozen=True)
class Quant:
    """real = (code - zero) · scale; one pair, or one for each index of `axis`."""

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int = 0

    @property
    def per_tensor(self) -> bool:
        return len(self.scale) == 1


@dataclass
class Tensor:
    """One tensor as the file holds it; `data` of constants, `variable` for kept state."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    quant: Quant | None = None
    data: Array | None = None
    variable: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator. `node`: the node of the Model that it comes from; -1: an absent input."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None
    node: str


@dataclass
class FlatNetwork:
    """Tensors and operators in the order of the calls, numbered from 0."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    _constants: dict[tuple[str, tuple[int, ...], bytes, Quant | None], int] = field(
        default_factory=dict)
    _origins: dict[int, int] = field(default_factory=dict)

    def tensor(self, name: str, dtype: np.dtype, shape: Sequence[int], quant: Quant | None = None,
               *, variable: bool = False) -> int:
        """The index of a new tensor. Raises UnsupportedOp for element types not written."""
        if dtype.name not in TYPES:
            raise UnsupportedOp(f"value {name!r} is of {dtype}; a .tflite file is written with "
                                f"{', '.join(TYPES)}; cast it to one of these")
        self.tensors.append(Tensor(name, dtype, tuple(shape), quant, None, variable))
        return len(self.tensors) - 1

    def constant(self, array: Array, name: str, quant: Quant | None = None) -> int:
        """A tensor that holds `array`; equal constants are one tensor."""
        array = np.asarray(array, order="C")
        key = (array.dtype.name, array.shape, array.tobytes(), quant)
        if key not in self._constants:
            index = self.tensor(name, array.dtype, array.shape, quant)
            self.tensors[index].data = array
            self._constants[key] = index
        return self._constants[key]

    def ints(self, *values: int) -> int:
        """A constant int32 vector: a shape, axes, margins."""
        return self.constant(np.asarray(values, np.int32), "ints")

    def op(self, name: str, inputs: Sequence[int], outputs: Sequence[int],
           options: Options | None, node: str) -> None:
        self.operators.append(Operator(name, tuple(inputs), tuple(outputs), options, node))
        if name == "RESHAPE":
            self._origins[outputs[0]] = self.origin(inputs[0])

    def origin(self, tensor: int) -> int:
        """The tensor of the same numbers in the same order, before any RESHAPE."""
        return self._origins.get(tensor, tensor)

    def prune(self) -> None:
        """Drops the operators that give nothing which is read."""
        read, kept = set(self.outputs), []
        for operator in reversed(self.operators):
            if read.intersection(operator.outputs):
                read.update(operator.inputs)
                kept.append(operator)
        self.operators = kept[::-1]

    def file(self) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1024)
        kinds = list(dict.fromkeys(o.name for o in self.operators))
        codes = [_code(b, name) for name in kinds]
        buffers = [_buffer(b, None), *(_buffer(b, t.data) for t in self.tensors)]
        graph = self._graph(b, kinds)
        description = b.CreateString("written by ganglion")
        parts = {"operator_codes": codes, "subgraphs": [graph], "buffers": buffers}
        vectors = {name: _offsets(b, tables) for name, tables in parts.items()}
        b.Finish(_table(b, "Model", {"version": SCHEMA_VERSION, "description": description,
                                     **vectors}), b"TFL3")
        return bytes(b.Output())

    def _graph(self, b: flatbuffers.Builder, kinds: Sequence[str]) -> int:
        tensors = [_tensor(b, k, t) for k, t in enumerate(self.tensors)]
        operators = [_operator(b, kinds.index(o.name), o) for o in self.operators]
        return _table(b, "SubGraph", {
            "tensors": _offsets(b, tensors), "inputs": _ints(b, self.inputs),
            "outputs": _ints(b, self.outputs), "operators": _offsets(b, operators),
            "name": b.CreateString("main")})


def _code(b: flatbuffers.Builder, name: str) -> int:
    number = getattr(tflite.BuiltinOperator, name)
    return _table(b, "OperatorCode", {
        "deprecated_builtin_code": min(number, LAST_OLD_CODE), "version": VERSIONS.get(name, 1),
        "builtin_code": number})


VERSIONS: Mapping[str, int] = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5,
                               "BROADCAST_TO": 2}
"""Of operators whose later forms are used; readers of today look at the tensors' types."""


def _buffer(b: flatbuffers.Builder, data: Array | None) -> int:
    if data is None:
        return _table(b, "Buffer", {})
    little = np.ascontiguousarray(data, data.dtype.newbyteorder("<")).reshape(-1)
    # The schema aligns constants to 16 bytes.
    raw = little.view(np.uint8)
    b.StartVector(1, raw.size, 16)
    b.head -= raw.size
    b.Bytes[b.head:b.head + raw.size] = raw.tobytes()
    return _table(b, "Buffer", {"data": b.EndVector()})


def _tensor(b: flatbuffers.Builder, index: int, t: Tensor) -> int:
    fields: dict[str, object] = {
        "shape": _ints(b, t.shape), "type": getattr(tflite.TensorType, TYPES[t.dtype.name]),
        "buffer": 0 if t.data is None else index + 1, "name": b.CreateString(t.name)}
    if t.quant is not None:
        fields["quantization"] = _table(b, "QuantizationParameters", {
            "scale": b.CreateNumpyVector(np.asarray(t.quant.scale, np.float32)),
            "zero_point": b.CreateNumpyVector(np.asarray(t.quant.zero, np.int64)),
            "quantized_dimension": t.quant.axis})
    if t.variable:
        fields["is_variable"] = True
    return _table(b, "Tensor", fields)


def _operator(b: flatbuffers.Builder, kind: int, o: Operator) -> int:
    fields: dict[str, object] = {"opcode_index": kind, "inputs": _ints(b, o.inputs),
                                 "outputs": _ints(b, o.outputs)}
    if o.options is not None:
        name, values = o.options
        made = {n: _ints(b, v) if isinstance(v, list | tuple) else v for n, v in values.items()}
        fields["builtin_options_type"] = getattr(tflite.BuiltinOptions, name)
        fields["builtin_options"] = _table(b, name, made)
    return _table(b, "Operator", fields)


def _ints(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, np.int32)))


def _offsets(b: flatbuffers.Builder, tables: Sequence[int]) -> int:
    b.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        b.PrependUOffsetTRelative(table)
    return int(b.EndVector())


def _table(b: flatbuffers.Builder, name: str, fields: Mapping[str, object]) -> int:
    getattr(tflite, f"{name}Start")(b)
    for field_name, value in fields.items():
        camel = re.sub(r"(?:^|_)(.)", lambda m: m[1].upper(), field_name)
        getattr(tflite, f"{name}Add{camel}")(b, value)
    return int(getattr(tflite, f"{name}End")(b))
