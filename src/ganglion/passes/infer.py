"""Shapes: inferred everywhere, and made static."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.graph import FIX_SHAPES
from ganglion.ops.infer import infer_model
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


Shapes = Mapping[str, Sequence[int | None]]
"""By an input's name, its sizes; None for one that stays what it is."""


def with_shapes(model: ir.Model, shapes: Shapes) -> ir.Model:
    """A copy of the Model whose inputs have these sizes, and all that follows from them.

    A dimension of one name has one size, wherever it stands. Raises ModelError for a name that no
    input has, another number of axes, sizes below 1, and those that contradict the network or each
    other.
    """
    copy = model.clone(deep_copy=True)
    inputs = {str(v.name): v for v in copy.graph.inputs}
    sizes: dict[str, int] = {}
    for name, given in shapes.items():
        if name not in inputs:
            raise ModelError(f"shapes: no input is called {name!r}; there are {sorted(inputs)}")
        _set_shape(inputs[name], list(given), sizes)
    for value in copy.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([d if isinstance(d, int) else sizes.get(d.value or "", d)
                                    for d in value.shape])
    infer_model(copy)
    return copy


def _set_shape(value: ir.Value, given: list[int | None], sizes: dict[str, int]) -> None:
    """Gives an input its sizes, and notes in `sizes` what its named dimensions became."""
    where = f"shapes: input {value.name!r}"
    if any(n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1)
           for n in given):
        raise ModelError(f"{where} is given {given}; expected whole numbers from 1 up, None for a "
                         "size that stays open")
    if value.shape is None:
        value.shape = ir.Shape(given)
        return
    if len(given) != len(value.shape):
        raise ModelError(f"{where} has {len(value.shape)} axes {value.shape}, not the "
                         f"{len(given)} of {given}")
    found: list[int | ir.SymbolicDim] = []
    for dim, size in zip(value.shape, given):
        known = dim if isinstance(dim, int) else sizes.get(dim.value or "")
        if size is not None and known is not None and known != size:
            raise ModelError(f"{where} is given {given}, but its dimension {dim} of {value.shape} "
                             f"is {known} already; only what is open can be chosen")
        if size is not None and not isinstance(dim, int) and dim.value:
            sizes[dim.value] = size
        found.append(dim if size is None else size)
    value.shape = ir.Shape(found)


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
