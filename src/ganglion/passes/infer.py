"""Shapes: inferred everywhere, and made static."""

from collections.abc import Mapping

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.infer import infer_model
from ganglion.ops.values import FIX_SHAPES
from ganglion.passes.base import Pass


class InferShapes(Pass):
    """values without types  ⇒  every value with its dtype and, where it can be known, its shape

    Exact. Raises ModelError naming the node that rejects its inputs."""

    def rewrite(self, model: ir.Model) -> bool:
        return infer_model(model)


class FixShapes(Pass):
    """input x [N, 3, H, W]  ⇒  input x [1, 3, 224, 224], and all that follows from it

    `sizes` gives dimensions by name; `batch` gives the first dimension of every input where that
    is not a number yet. A dimension that is a number already stays. Exact for inputs of that size.
    Raises ModelError for a name that no input has and for dimensions below 1.
    """

    def __init__(self, sizes: Mapping[str, int] | None = None, batch: int | None = None) -> None:
        super().__init__()
        self.sizes, self.batch = dict(sizes or {}), batch

    def rewrite(self, model: ir.Model) -> bool:
        sizes = self._named_sizes(model)
        changed = False
        for value in model.graph.inputs:
            if value.shape is None:
                raise ModelError(f"input {value.name!r} has no shape at all; declare its rank "
                                 "when exporting")
            found = list(value.shape)
            for axis, dim in enumerate(value.shape):
                size = None if isinstance(dim, int) else sizes.get(dim.value or "")
                if size is None and axis == 0 and not isinstance(dim, int):
                    size = self.batch
                if size is not None:
                    found[axis] = size
            if found != list(value.shape):
                value.shape, changed = ir.Shape(found), True
        return infer_model(model) or changed

    def _named_sizes(self, model: ir.Model) -> dict[str, int]:
        """What each name stands for; the batch's own name may occur on other axes too."""
        names = {d.value for v in model.graph.inputs for d in v.shape or ()
                 if not isinstance(d, int) and d.value}
        wrong = sorted(set(self.sizes) - names)
        if wrong:
            raise ModelError(f"no input has a dimension called {wrong[0]!r}; the graph's symbolic "
                             f"dimensions are {sorted(names)}")
        sizes = dict(self.sizes)
        for value in model.graph.inputs:
            first = value.shape[0] if value.shape else 1
            if self.batch is not None and not isinstance(first, int) and first.value:
                sizes.setdefault(first.value, self.batch)
        for name, size in [*sizes.items(), ("batch", 1 if self.batch is None else self.batch)]:
            if size < 1:
                raise ModelError(f"dimension {name!r} is set to {size}, expected at least 1")
        return sizes


def fix_shapes(model: ir.Model, sizes: Mapping[str, int] | None = None, *,
               batch: int | None = None) -> None:
    """Runs `FixShapes` on the Model in place."""
    FixShapes(sizes, batch)(model)


def require_static(model: ir.Model) -> None:
    """Raises ModelError naming the first value with a dimension that is not a number."""
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    for value in values:
        if not value.name and not value.uses():
            continue
        if value.shape is None or not all(isinstance(d, int) for d in value.shape):
            node = value.producer()
            where = f"of node {node.name!r} ({node.op_type})" if node else "(an input)"
            raise ModelError(f"value {value.name!r} {where} has the dynamic shape {value.shape}; "
                             f"{FIX_SHAPES}")
