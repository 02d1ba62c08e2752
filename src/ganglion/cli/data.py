"""Files for a network given on the command line: arrays by the names of its inputs and outputs,
rows in the shapes that it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.data.arrays import read_npy, read_npz
from ganglion.data.images import IMAGES, read_image
from ganglion.data.tables import load_csv, read_csv
from ganglion.errors import DataError
from ganglion.ops.classes import class_names
from ganglion.runtime import Port

TRAINING, HELD_OUT = ("", "_train"), ("_test", "_val")
"""What may follow the names of arrays in an .npz."""

Arrays = np.ndarray | list[np.ndarray]
"""One array, or one for each of several inputs or outputs."""


@dataclass(frozen=True)
class Pairs:
    """Inputs and targets, and the names of the classes where the file has words for them."""

    x: Arrays
    y: Arrays
    classes: tuple[str, ...] = ()


def read_pairs(path: Path, model: ir.Model, held_out: bool = False) -> Pairs:
    """Inputs and targets for a network: of an .npz, or of a .csv with the target last. Words are
    numbered as the network names its classes, where it does.

    An .npz holds x and y (or x_train and y_train); with `held_out`, x_test and y_test are taken
    where they are. For a network of several inputs or outputs the arrays bear their names.
    Raises DataError when they are not there, TrustError for pickled objects.
    """
    inputs, outputs = _inputs(model), list(model.graph.outputs)
    if path.suffix == ".csv" and len(inputs) == len(outputs) == 1:
        table = load_csv(path)
        for names in class_names(model).values():
            table = table.numbered_by(names)
        return Pairs(as_input(inputs[0], table.x), table.y, table.classes)
    arrays = read_npz(path)
    for suffix in (*(HELD_OUT if held_out else ()), *TRAINING):
        x, y = _named(arrays, inputs, "x", suffix), _named(arrays, outputs, "y", suffix)
        if x and y:
            return Pairs(_alone([as_input(v, a) for v, a in zip(inputs, x)]), _alone(y))
    wanted = [*_names(inputs, "x"), *_names(outputs, "y")]
    raise DataError(f"{path}: holds {sorted(arrays)}; expected the arrays {', '.join(wanted)} (or "
                    "the same with _train behind)")


def read_inputs(path: Path, model: ir.Model) -> list[np.ndarray]:
    """One array for each input of a network: an .npz or a .csv as in `read_pairs`, the targets
    left out; an .npy or a .csv without targets for a network of one input."""
    inputs = _inputs(model)
    if len(inputs) == 1:
        return [as_input(inputs[0], read_x(path, _features(list(inputs[0].shape or ())[1:])))]
    arrays = read_npz(path)
    found = next((x for s in TRAINING if (x := _named(arrays, inputs, "x", s))), None)
    if found is None:
        raise DataError(f"{path}: holds {sorted(arrays)}; expected the arrays "
                        f"{', '.join(_names(inputs, 'x'))}, one for each input")
    return [as_input(v, a) for v, a in zip(inputs, found)]


def _inputs(model: ir.Model) -> list[ir.Value]:
    return [v for v in model.graph.inputs if v.const_value is None]


def _names(values: Sequence[ir.Value], short: str) -> list[str]:
    return [short] if len(values) == 1 else [str(v.name) for v in values]


def _named(arrays: Mapping[str, np.ndarray], values: Sequence[ir.Value], short: str, suffix: str
           ) -> list[np.ndarray]:
    """The arrays of those values, or nothing where one is missing."""
    names = [name + suffix for name in _names(values, short)]
    if len(values) == 1 and names[0] not in arrays:
        names = [short.upper() + suffix]
    return [arrays[n] for n in names] if all(n in arrays for n in names) else []


def _alone(arrays: list[np.ndarray]) -> Arrays:
    return arrays[0] if len(arrays) == 1 else arrays


def _features(row: Sequence[object]) -> int | None:
    """How many numbers a row holds, None where that is open."""
    sizes = [n for n in row if isinstance(n, int)]
    return int(np.prod(sizes)) if sizes and len(sizes) == len(row) else None


def read_x(path: Path, features: int | None = None) -> np.ndarray:
    """The rows of an .npz (its array x, or its only one), an .npy, or a .csv (without its target
    where it has one column more than `features`)."""
    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix == ".csv":
        return read_csv(path, features)
    arrays = read_npz(path)
    for name in ("x", "X", "x_train", *(arrays if len(arrays) == 1 else ())):
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path}: holds {sorted(arrays)}; expected an array x")


def read_input(path: Path, port: Port, scale: float = 1.0) -> np.ndarray:
    """One input for `run`, shaped for a port: .npy, .npz, .csv, or an image.

    An image is made [height, width, channels] of the port's size; its pixels, 0 to 255, are
    multiplied by `scale`. A single row may lack the leading axis, any row its axes of one element;
    flat rows are folded.
    """
    if path.suffix.lower() in IMAGES:
        pixels = _pixels(path, port)
        return pixels if scale == 1.0 else pixels * np.float32(scale)
    row = port.shape[1:]
    array = read_x(path, _features(row))
    if array.shape == port.shape:
        return array
    plain = tuple(n for n in row if n != 1)
    if array.shape in (row, plain):
        return array.reshape(1, *row)
    if array.shape[1:] == plain:
        return array.reshape(-1, *row)
    if array.ndim == 2 and array.shape[1:] == (int(np.prod(row)),):
        array = array.reshape(-1, *row)
    if array.shape[1:] != row or not array.ndim:
        raise DataError(f"{path}: holds {list(array.shape)}; input {port.name!r} takes "
                        f"{list(port.shape)}, or any number of such rows")
    return array


def _pixels(path: Path, port: Port) -> np.ndarray:
    """An image as the port's [1, height, width, channels] (or [1, height, width])."""
    if len(port.shape) not in (3, 4):
        raise DataError(f"{path}: the network takes {list(port.shape)}, not an image")
    height, width, channels = (*port.shape[1:], 1)[:3]
    return read_image(path, height, width, channels).reshape(1, *port.shape[1:])


def as_input(value: ir.Value, x: np.ndarray) -> np.ndarray:
    """Adds the channel axis that images are often stored without, folds flat rows."""
    shape = value.shape or ()
    row = [d for d in list(shape)[1:] if isinstance(d, int)]
    if x.ndim == 2 and len(row) > 1 and len(row) == len(shape) - 1 and x.shape[1] == np.prod(row):
        return x.reshape(-1, *row)
    return x[..., None] if x.ndim == len(shape) - 1 else x


def check_output(path: Path, *suffixes: str) -> None:
    """Raises DataError, before any work, for a file that could not be written afterwards."""
    if path.suffix not in suffixes:
        raise DataError(f"{path}: the result is written as {' or '.join(suffixes)}; choose such a "
                        "name")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file to write")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first")
