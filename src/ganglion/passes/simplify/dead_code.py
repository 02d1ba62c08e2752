"""Removing what no output needs."""

import onnx_ir as ir

from ganglion.passes.base import Pass, sweep


class DeadCode(Pass):
    """y = Relu(x); z = Exp(x); output y  ⇒  y = Relu(x); output y

    Also removes initializers that nothing reads. Inputs stay: they are the caller's. Exact."""

    def rewrite(self, model: ir.Model) -> bool:
        return sweep(model)
