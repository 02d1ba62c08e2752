"""A network exported in training mode, as it is deployed."""

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.named import BATCH_NORMALIZATION, DROPOUT
from ganglion.passes.base import Pass


class LeaveTraining(Pass):
    """Dropout(x, ratio, True) ⇒ Dropout(x, ratio); BatchNormalization(training_mode=1) ⇒ (0)

    What is deployed drops nothing and normalises by the running statistics; `fit` decides by
    itself what learns. Exact for the network as it is deployed. Raises ModelError where updated
    statistics are read.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in model.graph:
            if is_op(node, DROPOUT) and len(node.inputs) > 2 and node.inputs[2] is not None:
                node.replace_input_with(2, None)
                changed = True
            mode = node.attributes.get("training_mode")
            if is_op(node, BATCH_NORMALIZATION) and mode is not None and mode.as_int():
                self._normalise_by_statistics(node)
                changed = True
        return changed

    def _normalise_by_statistics(self, node: ir.Node) -> None:
        used = [v for v in node.outputs[1:] if v.uses() or v.is_graph_output()]
        if used:
            raise ModelError(f"node {node.name!r} (BatchNormalization): its running statistics "
                             f"are read ({used[0].name!r}); export the network without them "
                             "as outputs")
        node.attributes["training_mode"] = ir.AttrInt64("training_mode", 0)
        node.resize_outputs(1)
