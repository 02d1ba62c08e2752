"""Operators that ONNX itself defines by others, written out with ONNX's own definitions.

What has a row of its own stays. Source: the function bodies of `onnx.defs`.
"""

from collections.abc import Iterator, Mapping

import onnx
from onnx import inliner, shape_inference

from ganglion.errors import UnsupportedOp
from ganglion.formats.limits import Limits
from ganglion.formats.onnx.safety import graphs
from ganglion.ops.registry import find

DOMAIN = "ai.ganglion.definitions"
"""Where a definition stands between being asked for and being put in place."""
DEPTH = 4
"""How deep definitions lie in each other: SoftmaxCrossEntropyLoss holds NegativeLogLikelihoodLoss.
"""


def write_out_functions(proto: onnx.ModelProto, limits: Limits) -> onnx.ModelProto:
    """The network with ONNX's definition in place of every node that has one and no row.

    Attention(q, k, v)  ⇒  MatMul, Softmax, MatMul ...; exact by ONNX's own word. A node whose
    types do not follow from the file stays, and is refused by name later on.
    Raises ModelError beyond `limits`, UnsupportedOp where ONNX's definition does not fit the node.
    """
    for _ in range(DEPTH):
        nodes = [n for n in _all_nodes(proto) if _schema(n, _versions(proto)) is not None]
        if not nodes:
            break
        names = ", ".join(sorted({n.op_type for n in nodes}))
        try:
            proto = _written_out(proto)
        except (RuntimeError, shape_inference.InferenceError) as error:
            raise UnsupportedOp(f"ONNX's own definition of {names} does not fit this network: "
                                f"{error}; export it with simpler operators") from error
        limits.check_nodes(sum(1 for _ in _all_nodes(proto)),
                           f"the network, {names} written out,")
    return proto


def _written_out(proto: onnx.ModelProto) -> onnx.ModelProto:
    """One level of definitions put in place."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    types, versions = _types(proto), _versions(proto)
    for node in _all_nodes(changed):
        schema = _schema(node, versions)
        body = None if schema is None else _definition(schema, node, types, versions)
        if schema is None or body is None:
            continue
        given = {a.name for a in node.attribute}
        node.attribute.extend(a.default_value for name, a in schema.attributes.items()
                              if name not in given and a.default_value.name)
        body.domain, body.name = DOMAIN, f"{node.op_type}_{len(changed.functions)}"
        node.domain, node.op_type = DOMAIN, body.name
        changed.functions.append(body)
    if not changed.functions:
        return proto
    changed.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    made = inliner.inline_local_functions(changed)
    kept = [o for o in made.opset_import if o.domain != DOMAIN]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    return made


def _definition(schema: onnx.defs.OpSchema, node: onnx.NodeProto,
                types: Mapping[str, onnx.TypeProto], versions: Mapping[str, int]
                ) -> onnx.FunctionProto | None:
    """ONNX's body for this node, in the file's own opset; None where a type is not known."""
    plain = schema.function_opset_versions  # type: ignore[attr-defined]
    if plain:
        text = schema.get_function_with_opset_version(  # type: ignore[attr-defined]
            _newest(plain, versions[""]))
    elif all(name in types for name in node.input if name):
        text = schema.get_context_dependent_function_with_opset_version(  # type: ignore[attr-defined]
            _newest(schema.context_dependent_function_opset_versions,  # type: ignore[attr-defined]
                    versions[""]), node.SerializeToString(),
            [types.get(name, onnx.TypeProto()).SerializeToString() for name in node.input])
    else:
        return None
    body = onnx.FunctionProto()
    body.ParseFromString(text)
    del body.opset_import[:]
    body.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in versions.items())
    return body


def _newest(written_for: list[int], version: int) -> int:
    """The definition for the newest opset that is not above the file's."""
    return max((v for v in written_for if v <= version), default=min(written_for))


def _all_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in graphs(proto.graph.node, proto.graph):
        yield from graph.node


def _schema(node: onnx.NodeProto, versions: Mapping[str, int]) -> onnx.defs.OpSchema | None:
    """ONNX's word on an operator that it defines by others and that has no row."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = versions.get(domain)
    if version is None or "" not in versions or find(domain, node.op_type) is not None or \
            not onnx.defs.has(node.op_type, version, domain):
        return None
    schema = onnx.defs.get_schema(node.op_type, version, domain)
    written = [*schema.function_opset_versions,  # type: ignore[attr-defined]
               *schema.context_dependent_function_opset_versions]  # type: ignore[attr-defined]
    return schema if written else None


def _versions(proto: onnx.ModelProto) -> dict[str, int]:
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}


def _types(proto: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """By a value's name, its type as far as ONNX infers it."""
    graph = shape_inference.infer_shapes(proto).graph
    found = {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}
    for tensor in graph.initializer:
        found.setdefault(tensor.name, onnx.helper.make_tensor_type_proto(
            tensor.data_type, tensor.dims))
    return found
