"""CastLike becomes Cast: the type of what it imitates is known."""

import onnx_ir as ir

from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import CAST_LIKE
from ganglion.passes.base import Pass, before, redirect


class CastLikeToCast(Pass):
    """CastLike(x, like)  ⇒  Cast(x, to=dtype of like). Exact; needs that dtype."""

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if not is_op(node, CAST_LIKE) or node.inputs[1] is None:
                continue
            dtype = node.inputs[1].dtype
            if dtype is not None and (node.outputs[0].uses() or node.outputs[0].is_graph_output()):
                g = GraphBuilder.extending(model)
                cast = before(node, g.op("Cast", node.inputs[0], to=dtype, hint=node.name))
                changed |= redirect(node.outputs[0], cast)
        return changed
