"""No attribute is ignored: what an operator's row does not read is absent or at ONNX's default."""

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.base import OPSET, Op
from ganglion.ops.registry import find
from ganglion.ops.values import attributes


def check_attributes(nodes: Iterable[ir.Node]) -> None:
    """Raises UnsupportedOp naming the first node with an attribute that changes its meaning and
    that its row does not read. Nodes without a row are for others to refuse."""
    for node in nodes:
        row = find(node.domain, node.op_type)
        if row is not None:
            _check(node, row)


def _check(node: ir.Node, row: Op) -> None:
    unread = node.attributes.keys() - set(row.reads)
    if not unread:
        return
    defaults, found = schema_defaults(row), attributes(node)
    for name in sorted(unread):
        if name not in defaults:
            raise UnsupportedOp(
                f"node {node.name!r} ({node.op_type}): attribute {name!r} is none of the "
                f"operator's, which are {sorted({*defaults, *row.reads})}; remove it, or write "
                "the node as the operator that was meant")
        if not _same(found[name], defaults[name]):
            raise UnsupportedOp(
                f"node {node.name!r} ({node.op_type}): {name}={found[name]!r} is not handled, "
                f"only {defaults[name]!r}; export the network without it")


def _same(value: object, default: object) -> bool:
    if isinstance(value, float) and isinstance(default, float):
        return bool(np.float32(value) == np.float32(default))
    return value == default


@cache
def _schema(name: str) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for key, known in onnx.defs.get_schema(name, OPSET, "").attributes.items():
        value = onnx.helper.get_attribute_value(known.default_value) if known.default_value.name \
            else None
        found[key] = value.decode() if isinstance(value, bytes) else value
    return found


def schema_defaults(row: Op) -> Mapping[str, object]:
    """The attributes that ONNX defines for a row's operator, with their defaults (None where it
    has none). Empty for operators that are not ONNX's."""
    known = row.domain == "" and onnx.defs.has(row.name, OPSET, "")
    return _schema(row.name) if known else {}
