"""Computing the same thing once."""

import hashlib

import onnx_ir as ir

from ganglion.ops import marks
from ganglion.ops.facts import is_random
from ganglion.passes.base import Pass, redirect


class CommonSubexpressions(Pass):
    """a = Relu(x); b = Relu(x)  ⇒  a = Relu(x), read twice

    Equal constants become one first. Values are equal when operator, attributes and inputs are;
    random operators never are, nor is state, nor what is computed again on purpose. Exact. Without
    `constants` equal ones stay apart, as weights do that will be trained on.
    """

    def __init__(self, *, constants: bool = True) -> None:
        super().__init__()
        self.constants = constants

    def rewrite(self, model: ir.Model) -> bool:
        return (self.constants and self._constants(model)) | self._nodes(model)

    def _constants(self, model: ir.Model) -> bool:
        seen: dict[tuple[object, ...], ir.Value] = {}
        changed = False
        for value in list(model.graph.initializers.values()):
            array = self.constant(value)
            if array is None or value.const_value is None:
                continue
            digest = hashlib.sha256(value.const_value.tobytes()).digest()
            first = seen.setdefault((value.dtype, array.shape, digest), value)
            if first is not value and value.uses():
                changed |= redirect(value, first)
        return changed

    def _nodes(self, model: ir.Model) -> bool:
        seen: dict[tuple[object, ...], ir.Node] = {}
        changed = False
        for node in list(model.graph):
            if is_random(node):
                continue
            first = seen.setdefault(_key(node), node)
            if first is node:
                continue
            for old, new in zip(node.outputs, first.outputs):
                if old.uses() or old.is_graph_output():
                    changed |= redirect(old, new)
        return changed


def _key(node: ir.Node) -> tuple[object, ...]:
    attributes = tuple(sorted((name, ir.to_proto(attr).SerializeToString(deterministic=True))
                              for name, attr in node.attributes.items()))
    return (node.domain, node.op_type, tuple(id(v) for v in node.inputs), attributes,
            tuple(bool(v.name) for v in node.outputs), node.metadata_props.get(marks.AGAIN))
