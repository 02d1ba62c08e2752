"""Inputs whose value a caller fixes: axes, shapes, a sampling rate."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from ganglion.errors import ModelError
from ganglion.ops.base import Array
from ganglion.ops.infer import infer_model

Values = Mapping[str, ArrayLike]
"""By an input's name, the value that it always has."""


def with_values(model: ir.Model, values: Values) -> ir.Model:
    """A copy of the Model in which these inputs are constants, and all that follows from them.

    Raises ModelError for a name that no input has, and for what `fixed_value` refuses.
    """
    copy = model.clone(deep_copy=True)
    inputs = {str(v.name): v for v in copy.graph.inputs}
    require_inputs(values, list(inputs))
    for name, given in values.items():
        value = inputs[name]
        dims = None if value.shape is None else [d if isinstance(d, int) else None
                                                 for d in value.shape]
        kind = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        array = fixed_value(name, given, kind, dims)
        copy.graph.inputs.remove(value)
        value.const_value, value.shape = ir.tensor(array, name=name), ir.Shape(array.shape)
        copy.graph.register_initializer(value)
    infer_model(copy)
    return copy


def require_inputs(values: Values, known: Sequence[str]) -> None:
    """Raises ModelError for a name that no input has."""
    for name in values:
        if name not in known:
            raise ModelError(f"values: no input is called {name!r}; there are {sorted(known)}")


def fixed_value(name: str, given: ArrayLike, dtype: np.dtype[np.generic],
                dims: Sequence[int | None] | None) -> Array:
    """`given` as an array of the input's type and shape `dims`, None where a size is open.

    One number serves for a tensor of one element. Raises ModelError for numbers that the type
    cannot hold and for another shape.
    """
    array = np.asarray(given)
    if array.dtype.kind not in "iubf" and array.dtype != dtype:
        raise ModelError(f"values: input {name!r} takes {dtype}, which cannot hold {given!r}")
    with np.errstate(all="ignore"):
        made = array.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(made, array):
        raise ModelError(f"values: input {name!r} takes {dtype}, which cannot hold {given!r}")
    if dims is None:
        return made
    if made.size == 1 and all(d in (1, None) for d in dims):
        made = made.reshape([1] * len(dims))
    if len(dims) != made.ndim or any(d not in (None, n) for d, n in zip(dims, made.shape)):
        raise ModelError(f"values: input {name!r} is given the shape {list(made.shape)}, expected "
                         f"{list(dims)}")
    return made
