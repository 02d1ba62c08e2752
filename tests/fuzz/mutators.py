"""How inputs are changed so that the change reaches what lies behind the parser."""

import json
import random
import struct
from collections.abc import Callable

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import helper

Mutate = Callable[[bytes, random.Random], bytes]

NUMBERS = (-2**63, -2**31 - 1, -2**31, -2, -1, 0, 1, 2, 3, 7, 64, 255, 256, 65536, 2**31 - 1,
           2**31, 2**32, 2**62, 2**63 - 1)
FLOATS = (-1.0, -0.0, 1e-45, 0.5, 3e38, 1e300, float("inf"), float("nan"))
ODD: tuple[object, ...] = (None, True, False, "", "nan", "x" * 300, [], {}, [[]], *NUMBERS, *FLOATS,
                           10**400)


def words(data: bytes, rng: random.Random) -> bytes:
    """A few whole numbers of the file's structure replaced by others."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((1, 2, 4, 4, 8))
        if len(changed) < width:
            break
        at = rng.randrange(len(changed) - width + 1)
        old = int.from_bytes(changed[at:at + width], "little")
        flipped = old ^ 1 << rng.randrange(8 * width)
        new = rng.choice((*NUMBERS, old + 1, old - 1, old * 2, len(changed), flipped))
        changed[at:at + width] = (new % 256 ** width).to_bytes(width, "little")
    return bytes(changed)


def text(data: bytes, rng: random.Random) -> bytes:
    """A number, sign or word of a literal replaced by another."""
    tokens = (b"True", b"None", b"-1", b"1e9", b"99999999999999999999", b"(", b")", b"[", b",",
              b"'", b"|O", b"<f4", b">i8", b"<U9", b"|V0", b"<M8[ns]", b"{}", b"0x10", b"1j",
              b"[('a', '<f4')]", b"\x00", b"\xff")
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(tokens) + data[at + rng.randrange(6):]


def json_text(data: bytes, rng: random.Random) -> bytes:
    """A value somewhere inside replaced, removed, doubled or put elsewhere."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places = list(_places(document))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        try:
            if kind < 3:
                holder[key] = rng.choice(ODD)
            elif kind == 3:
                del holder[key]
            elif isinstance(holder, list):
                holder.append(holder[key])
            else:
                other, at = rng.choice(places)
                holder[key] = json.loads(json.dumps(other[at]))
        except (LookupError, ValueError, RecursionError):
            continue
    try:
        made = json.dumps(document)
    except (ValueError, RecursionError):
        return data
    if rng.random() < 0.05 and made.startswith("{") and len(made) > 2:
        made = "{" + made[1:-1] + ", " + made[1:]
    return made.encode()


def _places(value, depth: int = 0):  # type: ignore[no-untyped-def]
    """Every (container, key) of a document."""
    if depth > 50 or not isinstance(value, dict | list):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        yield from _places(value[key], depth + 1)


def onnx_network(data: bytes, rng: random.Random) -> bytes:
    """A node, attribute, operand, type or constant of a network changed."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return data
    try:
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice(CHANGES)(model, rng)
        return model.SerializeToString()
    except (EncodeError, ValueError, TypeError):  # names that are no UTF-8
        return data


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto | None:
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    return rng.choice(nodes) if nodes else None


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is None:
        return
    if node.attribute and rng.random() < 0.7:
        one = rng.choice(node.attribute)
        if rng.random() < 0.15:
            node.attribute.remove(one)
        elif one.ints and rng.random() < 0.8:
            one.ints[rng.randrange(len(one.ints))] = rng.choice(NUMBERS)
        elif one.floats:
            one.floats[0] = rng.choice(FLOATS)
        elif one.type == onnx.AttributeProto.STRING:
            one.s = rng.choice((b"", b"linear", b"edge", b"reflect", b"cubic", b"SAME_UPPER",
                                b"NOTSET", b"Tanh", b"reverse", b"\xff", one.s + one.s))
        else:
            one.i, one.f = rng.choice(NUMBERS), rng.choice(FLOATS[:5])
        return
    words = isinstance(node.op_type, str) and isinstance(node.domain, str)  # bytes if no UTF-8
    schemas = words and onnx.defs.has(node.op_type, 21, node.domain)
    names = list(onnx.defs.get_schema(node.op_type, 21, node.domain).attributes) if schemas else []
    value: object = rng.choice((rng.choice(NUMBERS), [rng.choice(NUMBERS)] * rng.randrange(1, 5),
                                0.5, "linear"))
    node.attribute.append(helper.make_attribute(rng.choice([*names, "axis"]), value))


def _operand(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is None:
        return
    names = ["", *(v.name for v in model.graph.input), *(t.name for t in model.graph.initializer),
             *(o for n in model.graph.node for o in n.output)]
    part = node.input if rng.random() < 0.8 else node.output
    kind = rng.randrange(3)
    if part and kind == 0:
        part[rng.randrange(len(part))] = rng.choice(names)
    elif part and kind == 1:
        del part[rng.randrange(len(part))]
    else:
        part.append(rng.choice(names))


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is not None:
        node.op_type = rng.choice(OPERATORS)


def _copy(model: onnx.ModelProto, rng: random.Random) -> None:
    if model.graph.node and len(model.graph.node) < 50:
        node = model.graph.node.add()
        node.CopyFrom(rng.choice(model.graph.node[:-1] or [node]))
        for k in range(len(node.output)):
            node.output[k] = f"{node.output[k]!r}_"


def _shape(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    tensor = rng.choice(values).type.tensor_type
    kind = rng.randrange(4)
    if kind == 0:
        tensor.elem_type = rng.randrange(24)
    elif kind == 1 or not tensor.shape.dim:
        tensor.shape.dim.add().dim_value = rng.choice(NUMBERS)
    elif kind == 2:
        del tensor.shape.dim[-1]
    else:
        rng.choice(tensor.shape.dim).dim_value = rng.choice(NUMBERS)


def _constant(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    kind = rng.randrange(4)
    if kind == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif kind == 1:
        tensor.data_type = rng.randrange(24)
    elif tensor.data_type == onnx.TensorProto.INT64 and len(tensor.raw_data) >= 8:
        at = 8 * rng.randrange(len(tensor.raw_data) // 8)
        raw = bytearray(tensor.raw_data)
        struct.pack_into("<q", raw, at, rng.choice(NUMBERS))
        tensor.raw_data = bytes(raw)
    else:
        tensor.raw_data = words(tensor.raw_data, rng)


def _function(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is not None and model.functions:
        called = rng.choice(model.functions)
        node.op_type, node.domain = called.name, called.domain
    for one in model.opset_import:
        if rng.random() < 0.3:
            one.version = rng.choice((0, 7, 13, 17, 18, 20, 21, 22, 28, 2**40))


CHANGES = (_attribute, _attribute, _attribute, _operand, _operand, _operator, _copy, _shape,
           _constant, _constant, _function)
OPERATORS = tuple(sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}))
