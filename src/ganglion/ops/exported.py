"""What exporters say of parameters: which initializers are some, and which of them share one value.

PyTorch's exporters join parameters that happen to be equal, as gains of normalisations are before
training: through Identity (TorchScript), or without a trace but the text of the traced call in the
node's metadata (torch.export). Parameters that the program itself ties are one initializer from
the start. Decision 30.
"""

import re

import onnx_ir as ir

from ganglion.ops.marks import CONSTANT, TRAINABLE

KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
"""Of an initializer: "PARAMETER", "BUFFER" or "CONSTANT_TENSOR", as torch.export calls it."""
FIXED = "FIXED"
"""The kind of a parameter that a live module does not let learn (requires_grad=False)."""
TRACED_AS = "pkg.torch.onnx.original_node_name"
"""Of an initializer: its name in the traced program, "p_norm1_weight"."""
TRACED_CALL = "pkg.torch.onnx.fx_node"
"""Of a node: the traced call that it is part of, with its arguments."""
_ARGUMENT = re.compile(r"%((?:p|b|c)_\w+)")


def mark_constants(graph: ir.Graph) -> None:
    """Marks what Constant nodes give: it stays known once they have become initializers."""
    for node in graph:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            node.outputs[0].metadata_props[CONSTANT] = "true"


def separate_parameters(model: ir.Model) -> bool:
    """Identity(w) → norm2.weight, w  ⇒  two initializers of their own; likewise two calls traced
    with other parameters that read one initializer. Exact. Whether anything changed."""
    found = [_own_identity(model.graph, node) for node in list(model.graph)]
    made: dict[str, ir.Value] = {}
    for value in list(model.graph.initializers.values()):
        traced = value.metadata_props.get(TRACED_AS)
        if traced and is_float(value):
            found += [_own_argument(model.graph, made, value, traced, use.node, use.idx)
                      for use in list(value.uses())]
    return any(found)


def is_float(value: ir.Value) -> bool:
    """Whether the value holds floating point numbers of a known shape."""
    return (value.dtype is not None and value.dtype.is_floating_point()
            and value.shape is not None)


def _own_identity(graph: ir.Graph, node: ir.Node) -> bool:
    source = node.inputs[0] if node.inputs else None
    if (node.op_type != "Identity" or node.domain not in ("", "ai.onnx") or source is None
            or not source.is_initializer() or source.is_graph_input() or not is_float(source)
            or TRAINABLE in source.metadata_props or node.outputs[0].is_graph_output()):
        return False
    output = node.outputs[0]
    name, output.name = str(output.name), f"{output.name}_shared"
    copy = _copied(graph, source, name)
    output.replace_all_uses_with(copy)
    graph.remove(node, safe=True)
    if not source.uses() and not source.is_graph_output():
        del graph.initializers[str(source.name)]
    return True


def _own_argument(graph: ir.Graph, made: dict[str, ir.Value], value: ir.Value, traced: str,
                  node: ir.Node, place: int) -> bool:
    """A parameter of its own where the traced call names another than this one."""
    arguments = list(dict.fromkeys(_ARGUMENT.findall(node.metadata_props.get(TRACED_CALL, ""))))
    if not arguments or traced in arguments:
        return False
    last = traced.rpartition("_")[2]
    meant = [name for name in arguments if name.rpartition("_")[2] == last]
    if len(meant) != 1:
        return False
    name = meant[0]
    if name not in made:
        made[name] = _copied(graph, value, _dotted(graph, name, node))
        made[name].metadata_props[TRACED_AS] = name
    node.replace_input_with(place, made[name])
    return True


def _dotted(graph: ir.Graph, traced: str, node: ir.Node) -> str:
    """"p_enc_0_norm_weight" as the program calls it, "enc.0.norm.weight": the module's path is
    that of the node, where they agree."""
    scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
    plain = traced.partition("_")[2]
    for scope in reversed(scopes):
        start = scope.replace(".", "_") + "_"
        if scope and plain.startswith(start):
            plain = f"{scope}.{plain.removeprefix(start)}"
            break
    return plain if plain not in graph.initializers else traced


def _copied(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    if value.const_value is None:
        raise ValueError(f"initializer {value.name!r} has no value")
    copy = ir.Value(name=name, const_value=ir.tensor(value.const_value.numpy(), name=name),
                    type=value.type, shape=value.shape)
    copy.metadata_props.update(value.metadata_props)
    graph.register_initializer(copy)
    return copy
