"""What users give as an array, as NumPy's: their lists, tensors of PyTorch and of others."""

from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import DataError

MOST_BYTES = 1 << 40
"""An array above this is a mistake: one stretched by broadcasting, which takes no memory itself."""

Array = NDArray[np.generic]


def is_tensor(value: object) -> TypeGuard[Array]:
    """Whether it is one array, NumPy's or what turns itself into one; a list is not."""
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")


def as_array(what: str, value: object) -> Array:
    """`value` as some array; `what` names it in errors.

    Raises DataError for what is none, such as rows of unequal length, sparse or quantised tensors,
    for masked elements and for more bytes than any machine holds."""
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            masked = int(np.count_nonzero(np.ma.getmaskarray(value)))
            raise DataError(f"{what} has {masked} masked elements, for which no number stands: "
                            "give x.filled(number)")
        value = value.data
    value = _detached(value)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{what} is no array ({type(value).__name__}): {error}; give a NumPy array "
                        "of numbers; every row needs the same shape, so pad or cut them") from error
    if array.dtype.kind == "O" and not isinstance(value, np.ndarray):
        raise DataError(f"{what} holds objects ({type(value).__name__}), not numbers; give a NumPy "
                        "array of numbers")
    if array.nbytes > MOST_BYTES:
        raise DataError(f"{what} has shape {list(array.shape)}, {array.nbytes} bytes, more than "
                        "any machine holds: give fewer rows")
    return array


def _detached(value: object) -> object:
    """A tensor of PyTorch without the gradient that it carries, and bfloat16 as float32, which
    holds the same numbers; anything else as it is. PyTorch is not imported."""
    if type(value).__module__.partition(".")[0] != "torch" or not hasattr(value, "detach"):
        return value
    value = value.detach()
    wide = getattr(value, "float", None)
    return wide() if wide is not None and str(getattr(value, "dtype", "")) == "torch.bfloat16" \
        else value
