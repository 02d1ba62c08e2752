"""Sizes that a caller chooses for what a network leaves open."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.infer import infer_model

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
    require_inputs(shapes, list(inputs))
    sizes: dict[str, int] = {}
    for name, given in shapes.items():
        _set_shape(inputs[name], list(given), sizes)
    for value in copy.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([d if isinstance(d, int) else sizes.get(d.value or "", d)
                                    for d in value.shape])
    infer_model(copy)
    return copy


def require_inputs(shapes: Shapes, known: Sequence[str]) -> None:
    """Raises ModelError for a name that no input has."""
    for name in shapes:
        if name not in known:
            raise ModelError(f"shapes: no input is called {name!r}; there are {sorted(known)}")


def chosen(name: str, sizes: Sequence[int | None], given: Sequence[int | None]
           ) -> list[int | None]:
    """The sizes of input `name`, of which those that are None become the caller's.

    Raises ModelError as `with_shapes`."""
    value = ir.Value(name=name, shape=ir.Shape(sizes))
    _set_shape(value, list(given), {})
    return [d if isinstance(d, int) else None for d in value.shape or ()]


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
