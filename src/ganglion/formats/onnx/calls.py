"""How large a network of local functions becomes, counted before anything is laid open."""

from collections.abc import Iterable
from typing import NamedTuple

import onnx

from ganglion.errors import ModelError, TrustError
from ganglion.formats.limits import Limits

MAX_DEPTH = 100
"""Functions that call functions."""

Key = tuple[str, str, str]
"""Domain, name and overload of a function."""


class Size(NamedTuple):
    """Of nodes laid open: their number, their bytes in the file's own coding, and how many of
    their attributes stand for one of the caller's."""

    nodes: int = 0
    nbytes: int = 0
    references: int = 0

    def plus(self, other: "Size") -> "Size":
        return Size(*(a + b for a, b in zip(self, other)))


def check_calls(proto: onnx.ModelProto, limits: Limits) -> None:
    """Raises TrustError where functions expand beyond `limits`, ModelError for recursion and for
    too many nodes without any."""
    bodies = {_key(f): f.node for f in proto.functions}
    if len(bodies) != len(proto.functions):
        raise ModelError("two local functions have one name; ONNX forbids that")
    found = _Counter(bodies).size(proto.graph.node, 0)
    if not bodies:
        limits.check_nodes(found.nodes, f"graph {proto.graph.name!r}")
        return
    if found.nodes > limits.nodes:
        raise TrustError(f"local functions expand to {found.nodes} nodes, more than "
                         f"{limits.nodes}; if the file is to be trusted, "
                         f"load(path, max_nodes={found.nodes}) raises the limit")
    given = max((sum(a.ByteSize() for a in node.attribute)
                 for nodes in (proto.graph.node, *bodies.values()) for node in nodes
                 if _key_of(node) in bodies), default=0)
    limits.check_bytes(found.nbytes + found.references * given, proto.ByteSize(),
                       "what local functions hold")


class _Counter:
    """Sizes of function bodies, each counted once."""

    def __init__(self, bodies: dict[Key, Iterable[onnx.NodeProto]]) -> None:
        self._bodies = bodies
        self._sizes: dict[Key, Size | None] = {}

    def size(self, nodes: Iterable[onnx.NodeProto], depth: int) -> Size:
        total = Size()
        for node in nodes:
            key = _key_of(node)
            total = total.plus(self._call(key, depth) if key in self._bodies else Size(
                1, node.ByteSize(), sum(bool(a.ref_attr_name) for a in node.attribute)))
        return total

    def _call(self, key: Key, depth: int) -> Size:
        if key not in self._sizes:
            if depth > MAX_DEPTH:
                raise TrustError(f"local functions call each other {depth} deep")
            self._sizes[key] = None
            self._sizes[key] = self.size(self._bodies[key], depth + 1)
        known = self._sizes[key]
        if known is None:
            raise ModelError(f"local function {key[1]!r} calls itself; ONNX forbids that")
        return known


def _key(function: onnx.FunctionProto) -> Key:
    return function.domain, function.name, function.overload


def _key_of(node: onnx.NodeProto) -> Key:
    return node.domain, node.op_type, node.overload
