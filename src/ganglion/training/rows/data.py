"""Arrays for training: checked against the network, cut into batches.

Everything wrong with the data is a DataError that says what was found and what was expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.ops.base import Array
from ganglion.ops.classes import class_names
from ganglion.ops.facts import is_op
from ganglion.ops.named import CAST, GATHER
from ganglion.ops.values import static_shape
from ganglion.tensors import as_array, is_tensor
from ganglion.training.losses import Loss

Arrays = Array | Sequence[Array]
"""One array, or one for each input (output) of the network."""


@dataclass(frozen=True)
class Dataset:
    """Inputs, targets and perhaps a weight array for each target, all with the same number of
    rows, in the dtypes that the step takes."""

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...]
    weights: tuple[Array, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.inputs[0])

    @property
    def arrays(self) -> tuple[Array, ...]:
        return self.inputs + self.targets + self.weights

    @property
    def weight_ranks(self) -> tuple[int, ...]:
        """The number of dimensions of each weight array; empty without weights."""
        return tuple(w.ndim for w in self.weights)

    def weighted(self, weights: Sequence[Array]) -> "Dataset":
        """The same rows with these weights, float32."""
        return Dataset(self.inputs, self.targets, tuple(weights))

    def take(self, index: Array) -> tuple[Array, ...]:
        """The given rows of every array: inputs, targets, weights."""
        return tuple(a[index] for a in self.arrays)

    def split(self, fraction: float) -> tuple["Dataset", "Dataset"]:
        """All but the last `fraction` of the rows, and these (Keras's validation_split)."""
        if not 0 < fraction < 1:
            raise DataError(f"validation_split={fraction}: expected a fraction between 0 and 1")
        cut = int(self.rows * (1 - fraction))
        if cut in (0, self.rows):
            raise DataError(f"validation_split={fraction} of {self.rows} rows leaves one part "
                            "empty; give more data or another fraction")
        return self.part(slice(None, cut)), self.part(slice(cut, None))

    def part(self, rows: slice | Array) -> "Dataset":
        """The given rows."""
        return Dataset(*(tuple(a[rows] for a in arrays)
                         for arrays in (self.inputs, self.targets, self.weights)))


def taken(model: ir.Model, samples: Samples, y: Arrays | None
          ) -> tuple[Array, Array, tuple[str, ...]]:
    """(x, y, names of the classes) of samples, numbered as the Model names its classes if it does.

    Raises DataError for a `y` besides, and for classes that the Model does not know."""
    if y is not None:
        raise DataError("x holds its targets already (Samples); leave y out")
    known = class_names(model)
    if len(known) == 1:
        samples = samples.numbered_by(next(iter(known.values())))
    return samples.x, samples.y, samples.classes


def prepare(model: ir.Model, losses: Sequence[Loss], x: Arrays, y: Arrays) -> Dataset:
    """Checks and converts data for `model`, whose shapes must be fixed (any batch).

    A trailing axis of size 1 may be missing or too many, as in Keras. Raises DataError.
    """
    inputs = tuple(prepare_inputs(model, x))
    targets = prepare_targets(model.graph.outputs, losses, y)
    counts = {len(a) for a in inputs + targets}
    if len(counts) > 1:
        raise DataError(f"x has {len(inputs[0])} rows but y has {len(targets[0])}; every array "
                        f"needs one row for each sample (found {sorted(counts)})")
    return Dataset(inputs, targets)


def prepare_targets(outputs: Sequence[ir.Value], losses: Sequence[Loss],
                    y: Arrays) -> tuple[Array, ...]:
    """One array for each output, as its loss takes it; DataError as `prepare`."""
    given = _listed(y, len(outputs), "y", "output")
    return tuple(_target(array, loss, value) for array, loss, value in zip(given, losses, outputs))


def prepare_truths(outputs: Sequence[ir.Value], y: Arrays) -> tuple[Array, ...]:
    """One array for each output, of whatever kind the metrics read; DataError for no numbers."""
    return tuple(_numeric(array, "y") for array in _listed(y, len(outputs), "y", "output"))


def prepare_inputs(model: ir.Model, x: Arrays) -> list[Array]:
    """One array for each input of the Model, in its dtype; DataError as `prepare`."""
    inputs = [v for v in model.graph.inputs if not v.is_initializer()]
    given = _listed(x, len(inputs), "x", "input")
    arrays = []
    for k, (raw, value) in enumerate(zip(given, inputs)):
        name = "x" if len(given) == 1 else f"x[{k}]"
        array = _shaped(_numeric(raw, name), static_shape(value)[1:], name,
                        f"input {value.name!r}")
        dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        arrays.append(_converted(array, np.dtype(dtype), name))
        _check_indices(arrays[-1], value, name)
    if len({len(a) for a in arrays}) > 1:
        raise DataError(f"the arrays of x have {[len(a) for a in arrays]} rows; expected equal "
                        "numbers")
    return arrays


def _listed(given: Arrays, count: int, name: str, role: str) -> list[Array]:
    several = isinstance(given, list | tuple) and all(is_tensor(a) for a in given)
    if count == 1:
        return [as_array(name, given[0] if several and len(given) == 1 else given)]
    if not several or len(given) != count:
        found = f"{len(given)} arrays" if several else type(given).__name__
        raise DataError(f"the network has {count} {role}s, so {name} must be a list of {count} "
                        f"arrays; found {found}")
    return [as_array(f"{name}[{k}]", array) for k, array in enumerate(given)]


def _numeric(raw: Array, name: str) -> Array:
    if raw.dtype.kind not in "biuf":
        raise DataError(f"{name} has dtype {raw.dtype}; expected numbers (float32, or integers "
                        "for classes and word numbers)")
    if raw.ndim == 0 or raw.shape[0] == 0:
        raise DataError(f"{name} has shape {list(raw.shape)}; expected at least one row")
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        bad = ~np.isfinite(raw)
        first = [int(i) for i in np.argwhere(bad)[0]]
        raise DataError(f"{name} holds {int(bad.sum())} values that are NaN or infinite, the first "
                        f"at {first}; drop or fill them (numpy.nan_to_num)")
    return raw


def _check_indices(array: Array, value: ir.Value, name: str) -> None:
    """DataError for numbers that an Embedding right behind this input has no row for."""
    for use in value.uses():
        node = use.node
        if is_op(node, CAST):
            _check_indices(array, node.outputs[0], name)
        if not is_op(node, GATHER) or use.idx != 1 or node.inputs[0] is None:
            continue
        size = static_shape(node.inputs[0])[node.attributes.get_int("axis", 0)]
        if array.min() < 0 or array.max() >= size:
            raise DataError(f"{name} holds numbers from {array.min()} to {array.max()}, but node "
                            f"{node.name!r} (an embedding) has {size} rows: expected 0 to "
                            f"{size - 1}")


def _shaped(array: Array, sample: tuple[int, ...], name: str, role: str) -> Array:
    found = array.shape[1:]
    if found == sample:
        return array
    if (*found, 1) == sample or found == (*sample, 1):
        return array.reshape(len(array), *sample)
    raise DataError(f"{name} has shape {list(array.shape)}, but {role} takes "
                    f"{['N', *sample]}; reshape the array or change the network's Input")


def _converted(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    if dtype.kind in "iu" and array.dtype.kind == "f" and (array != np.rint(array)).any():
        raise DataError(f"{name} holds fractions, but the network takes {dtype}; expected whole "
                        "numbers")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise DataError(f"{name} reaches from {array.min()} to {array.max()}, beyond {dtype}")
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(array, dtype=dtype)
    if dtype.kind == "f" and not np.isfinite(made).all():
        raise DataError(f"{name} holds numbers that {dtype} cannot, up to "
                        f"{np.abs(array).max()}; scale them")
    return made


def _target(raw: Array, loss: Loss, output: ir.Value) -> Array:
    shape = static_shape(output)
    array = _numeric(raw, "y")
    if not loss.labels:
        array = _shaped(array, loss.target(output)[1][1:], "y",
                        f"{loss.name} at output {output.name!r}")
        array = _converted(array, np.dtype(np.float32), "y")
        if loss.unit_range and (array.min() < 0 or array.max() > 1):
            raise DataError(f"y reaches from {array.min():g} to {array.max():g}, but {loss.name} "
                            "needs values within [0, 1]"
                            + ("; for class numbers use sparse_categorical_crossentropy"
                               if loss.name == "categorical_crossentropy" else ""))
        return array
    if array.shape[1:] == shape[1:] and shape[-1] != 1:
        raise DataError(f"y has shape {list(array.shape)}: one value for each class; "
                        f"{loss.name} takes class numbers [N], so give numpy.argmax(y, -1) or use "
                        "categorical_crossentropy")
    array = _shaped(array, shape[1:-1], "y", f"{loss.name} at output {output.name!r}")
    array = _converted(array, np.dtype(np.int32), "y")
    classes = shape[-1]
    if array.min() < 0 or array.max() >= classes:
        raise DataError(f"y holds labels from {array.min()} to {array.max()}, but the network has "
                        f"{classes} classes: expected 0 to {classes - 1}")
    return array
