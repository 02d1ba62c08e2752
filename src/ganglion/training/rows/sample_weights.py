"""Weights of samples and of classes, with Keras's meaning: the loss of a batch is the sum of the
weighted losses divided by their number (not by the sum of the weights)."""

from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.values import static_shape
from ganglion.tensors import as_array, is_tensor
from ganglion.training.rows.data import Arrays, Dataset

ClassWeight = Mapping[int, float]
"""Number of a class -> weight of its samples; 1 for a class that is not there."""


def with_weights(data: Dataset, outputs: Sequence[ir.Value], given: Arrays | None) -> Dataset:
    """`data` with these sample weights: [rows], or [rows, steps, ...] as the output's own leading
    axes are; one array for each output, or one [rows] for all. Raises DataError."""
    if given is None:
        return data
    if isinstance(given, list | tuple) and len(given) and is_tensor(given[0]):
        arrays = [as_array("sample_weight", a) for a in given]
    else:
        arrays = [as_array("sample_weight", given)] * len(outputs)
    if len(arrays) != len(outputs):
        raise DataError(f"sample_weight holds {len(arrays)} arrays for a network with "
                        f"{len(outputs)} outputs; give one for each output, or one [rows]")
    return data.weighted([_checked(a, data.rows, v) for a, v in zip(arrays, outputs)])


def of_classes(data: Dataset, given: ClassWeight | None) -> Dataset:
    """`data` whose samples weigh what their class does; the class is the target, rounded, or the
    largest of several columns. Raises DataError for more than one output."""
    if given is None:
        return data
    if len(data.targets) != 1:
        raise DataError(f"class_weight with {len(data.targets)} outputs: say with sample_weight, "
                        "one array for each output, what the samples weigh")
    if data.weights:
        raise DataError("class_weight and sample_weight exclude each other; multiply them in "
                        "sample_weight")
    table = _checked_classes(given)
    target = data.targets[0]
    if target.ndim > 2:
        raise DataError(f"class_weight with targets of shape {list(target.shape)}: expected one "
                        "class for each row; use sample_weight")
    if target.ndim == 2:
        target = target.argmax(-1) if target.shape[1] > 1 else target[:, 0]
    classes = np.rint(target).astype(np.int64)
    weights = np.ones(data.rows, np.float32)
    for number, weight in table.items():
        weights[classes == number] = weight
    return data.weighted([weights])


def uniform(data: Dataset) -> Dataset:
    """`data` with weights, all of them 1 where it had none."""
    return data if data.weights else data.weighted(
        [np.ones(data.rows, np.float32)] * len(data.targets))


def padded(data: Dataset, rows: int) -> Dataset:
    """A batch of `rows` that means what the fewer rows of `data` do, which has weights: further
    ones weigh nothing, and these as much more as there are more of them."""
    count = data.rows
    more = data.part(np.resize(np.arange(count), rows))
    for weight in more.weights:
        weight[:count] *= rows / count
        weight[count:] = 0
    return more


def _checked(array: Array, rows: int, output: ir.Value) -> Array:
    if array.dtype.kind not in "biuf":
        raise DataError(f"sample_weight has dtype {array.dtype}; expected numbers")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    shape = (rows, *static_shape(output)[1:-1])
    if array.ndim == 0 or array.shape != shape[:array.ndim]:
        raise DataError(f"sample_weight has shape {list(array.shape)}; output {output.name!r} takes"
                        f" [{rows}], one weight for each row"
                        + (f", up to {list(shape)}" if len(shape) > 1 else ""))
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise DataError("sample_weight holds values that are negative, NaN or infinite; expected "
                        "finite numbers from 0 up")
    return np.ascontiguousarray(array, np.float32)


def _checked_classes(given: ClassWeight) -> dict[int, float]:
    if not isinstance(given, Mapping) or not given:
        raise DataError(f"class_weight={given!r}: expected a dictionary from class numbers to "
                        "weights, such as {0: 1.0, 1: 5.0}")
    for number, weight in given.items():
        if not isinstance(number, int | np.integer) or not isinstance(weight, Real) or not (
                0 <= weight < float("inf")):
            raise DataError(f"class_weight holds {number!r}: {weight!r}; expected the number of a "
                            "class and a finite weight from 0 up")
    return {int(number): float(weight) for number, weight in given.items()}
