"""Padding with zeros is something that a convolution does itself."""

import onnx_ir as ir

from ganglion.ops.facts import is_op
from ganglion.ops.named import CONV, PAD
from ganglion.passes.base import Pass, only_reader


class FoldPad(Pass):
    """Pad(x, zeros around space) → Conv(pads=p)  ⇒  Conv(x, pads=p + q)

    Needs mode "constant", a value of zero, pads that are constant, not negative and zero for batch
    and channels, a convolution without auto_pad, and nobody else who reads the padded value.
    Exact.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            source = node.inputs[0] if is_op(node, CONV) else None
            pad = source.producer() if source is not None else None
            if source is None or pad is None or not is_op(pad, PAD) \
                    or only_reader(source) is not node:
                continue
            pads = self._spatial(pad)
            auto = node.attributes.get("auto_pad")
            if pads is None or (auto is not None and auto.as_string() != "NOTSET"):
                continue
            own = node.attributes.get_ints("pads", [0] * len(pads))
            node.attributes.add(ir.AttrInt64s("pads", [a + b for a, b in zip(own, pads)]))
            node.replace_input_with(0, pad.inputs[0])
            changed = True
        return changed

    def _spatial(self, pad: ir.Node) -> list[int] | None:
        """The pads of the spatial axes, starts before ends; None where the Pad must stay."""
        mode, pads = pad.attributes.get("mode"), self.constant(pad.inputs[1])
        given = pad.inputs[2] if len(pad.inputs) > 2 else None
        value = self.constant(given)
        if (mode is not None and mode.as_string() != "constant") or pads is None \
                or (given is not None and (value is None or value.any())) \
                or (len(pad.inputs) > 3 and pad.inputs[3] is not None) or len(pads) < 6:
            return None
        rank = len(pads) // 2
        outer = [*pads[:2], *pads[rank:rank + 2]]
        if any(outer) or (pads < 0).any():
            return None
        return [int(n) for n in (*pads[2:rank], *pads[rank + 2:])]
