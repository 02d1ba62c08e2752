"""What a foreign protobuf may say before anything believes it: sizes, places, nesting.

Everything here looks at the parsed `onnx.ModelProto` only and allocates nothing that the file
declares but does not hold. A tensor's bytes are compared with its shape in Python integers, which
do not overflow.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import TensorProto

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.formats.onnx.calls import check_calls
from ganglion.formats.onnx.external import External

MAX_BYTES = 2**31 - 1
"""Largest model that protobuf can hold; external data is counted too."""

BITS: Mapping[int, int] = {
    TensorProto.FLOAT: 32, TensorProto.UINT8: 8, TensorProto.INT8: 8, TensorProto.UINT16: 16,
    TensorProto.INT16: 16, TensorProto.INT32: 32, TensorProto.INT64: 64, TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16, TensorProto.DOUBLE: 64, TensorProto.UINT32: 32,
    TensorProto.UINT64: 64, TensorProto.BFLOAT16: 16, TensorProto.INT4: 4, TensorProto.UINT4: 4}
"""Element types that a Model may hold, with their width. Strings and complex numbers are not."""

_FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data", TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data"}


_TEXT_IN_BYTES = ("onnx.AttributeProto.s", "onnx.AttributeProto.strings")


def secure(proto: onnx.ModelProto, folder: Path, limits: Limits = DEFAULT) -> None:
    """Refuses what an honest file does not need; reads external data of `folder` into the proto.

    Raises ModelError for tensors whose bytes do not fit their shape and for names that are not
    text, UnsupportedOp for element types that no kernel has, TrustError for
    external data outside the folder and for what unfolds beyond `limits`.
    """
    _check_text(proto)
    if proto.graph.sparse_initializer:
        raise UnsupportedOp(f"graph {proto.graph.name!r} has sparse initializers; store them as "
                            "dense tensors before loading")
    check_calls(proto, limits)
    stored = External(folder, limits)
    budget = MAX_BYTES
    for owner, tensor in _tensors(proto):
        budget -= _check_tensor(tensor, owner, stored, budget)
    for info in [*proto.graph.input, *proto.graph.output]:
        _check_info(info)


def _check_text(message: Message) -> None:
    """Names must be text: protobuf parses other bytes too, but nothing can write them again."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if isinstance(value, Message) else value:
                _check_text(part)
        elif field.type == field.TYPE_STRING or field.full_name in _TEXT_IN_BYTES:
            for text in [value] if isinstance(value, str | bytes) else value:
                if isinstance(text, bytes) and not _is_utf8(text):
                    raise ModelError(f"{field.full_name} holds {text[:40]!r}, which is not UTF-8; "
                                     "the file is damaged")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _tensors(proto: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    for graph in graphs(proto.graph.node, proto.graph):
        for tensor in graph.initializer:
            yield f"initializer {tensor.name!r}", tensor
    for node in _nodes(proto):
        for attr in node.attribute:
            if attr.graphs:
                raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) holds several subgraphs "
                                    f"in {attr.name!r}; no operator of ONNX does")
            if attr.HasField("sparse_tensor") or attr.sparse_tensors:
                raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) holds a sparse tensor; "
                                    "store it dense")
            if node.op_type == "Constant" and attr.name in ("value_string", "value_strings"):
                raise UnsupportedOp(f"node {node.name!r} (Constant) holds a text; no kernel "
                                    "computes with texts")
            for tensor in ([attr.t] if attr.HasField("t") else []) + list(attr.tensors):
                yield f"tensor {attr.name!r} of node {node.name!r}", tensor


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for nodes in (proto.graph.node, *(f.node for f in proto.functions)):
        yield from nodes
        for graph in graphs(nodes):
            yield from graph.node


def held(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds: branches, a body."""
    return [a.g for a in node.attribute if a.HasField("g")]


def graphs(nodes: Iterable[onnx.NodeProto], *outer: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graphs that nodes hold, and those that their nodes hold; behind `outer`."""
    yield from outer
    for node in nodes:
        for inner in held(node):
            yield from graphs(inner.node, inner)


def _check_tensor(tensor: TensorProto, owner: str, stored: External, budget: int) -> int:
    """Bytes of the tensor, which are afterwards in the proto itself."""
    bits = BITS.get(tensor.data_type)
    if bits is None:
        raise UnsupportedOp(f"{owner} has element type {tensor.data_type} "
                            f"({_type_name(tensor.data_type)}); supported are "
                            f"{', '.join(sorted(_type_name(t) for t in BITS))}")
    if any(d < 0 for d in tensor.dims):
        raise ModelError(f"{owner} has the shape {list(tensor.dims)}; no dimension may be negative")
    elements = math.prod(tensor.dims)
    nbytes: int = -(-elements * bits // 8)
    if nbytes > budget:
        raise ModelError(f"{owner} of shape {list(tensor.dims)} brings the weights over "
                         f"{MAX_BYTES} bytes, the most that a Model can hold")
    if tensor.HasField("segment"):
        raise ModelError(f"{owner} is stored in segments, which ONNX files do not use; save the "
                         "model again with the onnx package")
    if tensor.data_location == TensorProto.EXTERNAL:
        stored.read(tensor, owner, nbytes)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != nbytes:
            raise ModelError(f"{owner} of shape {list(tensor.dims)} holds {len(tensor.raw_data)} "
                             f"bytes, expected {nbytes}; the file is damaged")
    else:
        found = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data")))
        expected = -(-elements // 2) if bits == 4 else elements
        if found != expected:
            raise ModelError(f"{owner} of shape {list(tensor.dims)} holds {found} values, "
                             f"expected {expected}; the file is damaged")
    return nbytes


def _check_info(info: onnx.ValueInfoProto) -> None:
    if not info.type.HasField("tensor_type"):
        raise UnsupportedOp(f"value {info.name!r} is not a tensor ({info.type.WhichOneof('value')}"
                            "); sequences, maps and optional values cannot be compiled")
    kind = info.type.tensor_type.elem_type
    if kind not in BITS:
        raise UnsupportedOp(f"value {info.name!r} has element type {kind} ({_type_name(kind)})")
    for dim in info.type.tensor_type.shape.dim:
        if dim.dim_param == "?" or (dim.HasField("dim_value") and dim.dim_value == -1):
            dim.Clear()  # how some exporters write one of any size
        elif dim.HasField("dim_value") and dim.dim_value < 0:
            raise ModelError(f"value {info.name!r} has the dimension {dim.dim_value}; a size is a "
                             "number from 0 up, or a name where it may be any")


def _type_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)) if kind in TensorProto.DataType.values() else "?"
