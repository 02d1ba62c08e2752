"""Writes .tflite files with the schema's own builder functions, so that no TensorFlow is needed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tflite

Options = tuple[str, Mapping[str, object]] | bytes
Sparse = tuple[Sequence[int], Sequence[int], Sequence[int | tuple[np.ndarray, np.ndarray]]]
"""Traversal order, block map, and for each level its dense size, or segments and indices."""
TYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "uint8": "UINT8",
         "int64": "INT64", "bool": "BOOL", "int16": "INT16", "int8": "INT8"}


@dataclass
class _Tensor:
    shape: Sequence[int]
    dtype: str
    data: bytes | None
    scale: Sequence[float]
    zero: Sequence[int]
    axis: int
    name: str
    signature: Sequence[int]
    variable: bool
    sparse: "Sparse | None" = None


@dataclass
class TfliteFile:
    """A network under construction; tensors and operators in the order of the calls."""

    tensors: list[_Tensor] = field(default_factory=list)
    operators: list[tuple[str, Sequence[int], Sequence[int], Options | None]] = field(
        default_factory=list)
    custom: str = ""
    inner: list["TfliteFile"] = field(default_factory=list)
    """Further subgraphs."""
    ports: tuple[Sequence[int], Sequence[int]] = ((), ())
    """Inputs and outputs where this is a further subgraph."""

    def tensor(self, shape: Sequence[int], dtype: str = "float32", *,
               data: np.ndarray | bytes | None = None, scale: float | Sequence[float] = (),
               zero: int | Sequence[int] = (), axis: int = 0, name: str | None = None,
               signature: Sequence[int] = (), variable: bool = False,
               sparse: Sparse | None = None) -> int:
        """The index of a new tensor; `dtype` is NumPy's name or the schema's."""
        raw = data.tobytes() if isinstance(data, np.ndarray) else data
        scales = [scale] if isinstance(scale, int | float) else list(scale)
        zeros = [zero] * len(scales) if isinstance(zero, int) else list(zero)
        self.tensors.append(_Tensor(shape, TYPES.get(dtype, dtype), raw, scales,
                                    zeros or [0] * len(scales), axis,
                                    f"t{len(self.tensors)}" if name is None else name,
                                    signature, variable, sparse))
        return len(self.tensors) - 1

    def constant(self, array: np.ndarray, **more: object) -> int:
        """A tensor that holds `array`."""
        return self.tensor(array.shape, str(array.dtype), data=array, **more)  # type: ignore[arg-type]

    def op(self, name: str, inputs: Sequence[int], outputs: Sequence[int],
           options: Options | None = None) -> None:
        """`options`: the options table's name and its fields in the schema's spelling; the bytes of
        a custom operator, "CUSTOM 'its name'"."""
        self.operators.append((name, inputs, outputs, options))

    def build(self, inputs: Sequence[int], outputs: Sequence[int], version: int = 3) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1024)
        graphs = [self, *self.inner]
        kinds = list(dict.fromkeys(name for g in graphs for name, *_ in g.operators))
        codes = [self._code(b, name) for name in kinds]
        buffers = [self._buffer(b, None),
                   *(self._buffer(b, t.data) for g in graphs for t in g.tensors)]
        made = [self._graph(b, kinds, inputs, outputs)]
        start = len(self.tensors)
        for each in self.inner:
            made.append(each._graph(b, kinds, *each.ports, start))
            start += len(each.tensors)
        parts = {"operator_codes": codes, "subgraphs": made, "buffers": buffers}
        vectors = {n: _offsets(b, v) for n, v in parts.items()}
        b.Finish(_table(b, "Model", {"version": version, **vectors}), b"TFL3")
        return bytes(b.Output())

    def _code(self, b: flatbuffers.Builder, name: str) -> int:
        kind, _, own = name.partition(" ")
        number = getattr(tflite.BuiltinOperator, kind)
        text = own.strip("'") or self.custom
        custom = {"custom_code": b.CreateString(text)} if kind == "CUSTOM" else {}
        return _table(b, "OperatorCode", {"builtin_code": number,
                                          "deprecated_builtin_code": min(number, 127), **custom})

    def _buffer(self, b: flatbuffers.Builder, data: bytes | None) -> int:
        return _table(b, "Buffer", {} if data is None else {
            "data": b.CreateNumpyVector(np.frombuffer(data, np.uint8))})

    def _graph(self, b: flatbuffers.Builder, kinds: list[str], inputs: Sequence[int],
               outputs: Sequence[int], start: int = 0) -> int:
        tensors = [self._tensor(b, start + k, t) for k, t in enumerate(self.tensors)]
        operators = []
        for name, reads, writes, options in self.operators:
            fields: dict[str, object] = {"opcode_index": kinds.index(name),
                                         "inputs": _ints(b, reads), "outputs": _ints(b, writes)}
            if isinstance(options, bytes):
                fields["custom_options"] = b.CreateNumpyVector(np.frombuffer(options, np.uint8))
            elif options is not None:
                made = {n: _ints(b, v) if isinstance(v, list | tuple) else
                        b.CreateString(v) if isinstance(v, str) else v
                        for n, v in options[1].items()}
                fields["builtin_options_type"] = getattr(tflite.BuiltinOptions, options[0])
                fields["builtin_options"] = _table(b, options[0], made)
            operators.append(_table(b, "Operator", fields))
        return _table(b, "SubGraph", {
            "tensors": _offsets(b, tensors), "inputs": _ints(b, inputs),
            "outputs": _ints(b, outputs), "operators": _offsets(b, operators),
            "name": b.CreateString("main")})

    def _tensor(self, b: flatbuffers.Builder, index: int, t: _Tensor) -> int:
        fields: dict[str, object] = {
            "shape": _ints(b, t.shape), "type": getattr(tflite.TensorType, t.dtype),
            "buffer": 0 if t.data is None else index + 1, "name": b.CreateString(t.name)}
        if t.scale:
            fields["quantization"] = _table(b, "QuantizationParameters", {
                "scale": b.CreateNumpyVector(np.asarray(t.scale, np.float32)),
                "zero_point": b.CreateNumpyVector(np.asarray(t.zero, np.int64)),
                "quantized_dimension": t.axis})
        if t.signature:
            fields["shape_signature"] = _ints(b, t.signature)
        if t.variable:
            fields["is_variable"] = True
        if t.sparse is not None:
            fields["sparsity"] = _sparsity(b, *t.sparse)
        return _table(b, "Tensor", fields)


def _sparsity(b: flatbuffers.Builder, order: Sequence[int], blocks: Sequence[int],
              levels: Sequence[int | tuple[np.ndarray, np.ndarray]]) -> int:
    made = []
    for level in levels:
        if isinstance(level, int):
            made.append(_table(b, "DimensionMetadata", {"format": 0, "dense_size": level}))
            continue
        fields: dict[str, object] = {"format": 1}
        for name, array in zip(("array_segments", "array_indices"), level):
            kind = {"int32": 1, "uint16": 2, "uint8": 3}[str(array.dtype)]
            text = ("", "Int32Vector", "Uint16Vector", "Uint8Vector")[kind]
            fields[f"{name}_type"] = kind
            fields[name] = _table(b, text, {"values": b.CreateNumpyVector(array)})
        made.append(_table(b, "DimensionMetadata", fields))
    return _table(b, "SparsityParameters", {
        "traversal_order": _ints(b, order), "block_map": _ints(b, blocks),
        "dim_metadata": _offsets(b, made)})


def _ints(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, np.int32)))


def _offsets(b: flatbuffers.Builder, tables: Sequence[int]) -> int:
    b.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        b.PrependUOffsetTRelative(table)
    return int(b.EndVector())


def camel(name: str) -> str:
    """`stride_w` as the builder functions spell it: `StrideW`."""
    return re.sub(r"(?:^|_)(.)", lambda m: m[1].upper(), name)


def _table(b: flatbuffers.Builder, name: str, fields: Mapping[str, object]) -> int:
    getattr(tflite, f"{name}Start")(b)
    for field_name, value in fields.items():
        getattr(tflite, f"{name}Add{camel(field_name)}")(b, value)
    return int(getattr(tflite, f"{name}End")(b))
