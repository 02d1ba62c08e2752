"""Reading what a user keeps data in: .npz, .npy, .csv and images."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, TrustError
from ganglion.runtime import Port

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
X_NAMES, Y_NAMES = ("x", "x_train", "X"), ("y", "y_train", "Y")
TEST_NAMES = (("x_test", "y_test"), ("x_val", "y_val"))


def read_pairs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of an .npz with arrays x and y (or x_train, y_train), or of a .csv, label last.

    Raises DataError when they are not there, TrustError for pickled objects.
    """
    if path.suffix == ".csv":
        table = read_csv(path)
        return table[:, :-1], table[:, -1]
    arrays = read_npz(path)
    x = next((arrays[n] for n in X_NAMES if n in arrays), None)
    y = next((arrays[n] for n in Y_NAMES if n in arrays), None)
    if x is None or y is None:
        raise DataError(f"{path}: holds {sorted(arrays)}; expected arrays x and y (or x_train and "
                        "y_train)")
    return x, y


def read_held_out(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """(x_test, y_test) of an .npz that has them."""
    if path.suffix != ".npz":
        return None
    arrays = read_npz(path)
    for x, y in TEST_NAMES:
        if x in arrays and y in arrays:
            return arrays[x], arrays[y]
    return None


def read_x(path: Path) -> np.ndarray:
    """The inputs of an .npz (x or x_train), an .npy, or all columns of a .csv."""
    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix == ".csv":
        return read_csv(path)
    arrays = read_npz(path)
    for name in X_NAMES:
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path}: holds {sorted(arrays)}; expected an array x")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz. Raises DataError for another file, TrustError for pickles."""
    _must_exist(path)
    if path.suffix != ".npz":
        raise DataError(f"{path}: expected an .npz with arrays x and y, or a .csv; found "
                        f"{path.suffix!r}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise _unreadable(path, error) from error


def read_npy(path: Path) -> np.ndarray:
    """An .npy. Raises DataError for another file, TrustError for pickles."""
    _must_exist(path)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(path, error) from error
    return np.asarray(array)


def read_csv(path: Path) -> np.ndarray:
    """A .csv of numbers as float32 [rows, columns]; a first line of names is skipped."""
    _must_exist(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    skip = 1 if lines and not _is_numbers(lines[0]) else 0
    try:
        return np.loadtxt(lines[skip:], delimiter=",", dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: not a table of numbers separated by commas: {error}") from error


def read_input(path: Path, port: Port, scale: float = 1.0) -> np.ndarray:
    """One input for `run`, shaped for a port: .npy, .npz, .csv, or an image.

    An image is made [height, width, channels] of the port's size; its pixels, 0 to 255, are
    multiplied by `scale`. A single row may lack the leading axis, any row its axes of one element;
    flat rows are folded.
    """
    if path.suffix.lower() in IMAGES:
        pixels = read_image(path, port)
        return pixels if scale == 1.0 else pixels * np.float32(scale)
    array, row = read_x(path), port.shape[1:]
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


def read_image(path: Path, port: Port) -> np.ndarray:
    """An image as the port's [1, height, width, channels] (or [1, height, width])."""
    from PIL import Image, UnidentifiedImageError

    _must_exist(path)
    if len(port.shape) not in (3, 4):
        raise DataError(f"{path}: the network takes {list(port.shape)}, not an image")
    channels = port.shape[3] if len(port.shape) == 4 else 1
    if channels not in (1, 3, 4):
        raise DataError(f"{path}: the network takes {channels} channels; images have 1, 3 or 4")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    try:
        with Image.open(path) as image:
            pixels = image.convert(mode).resize((port.shape[2], port.shape[1]))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
    return np.asarray(pixels).reshape(1, *port.shape[1:])


def as_input(model: ir.Model, x: np.ndarray) -> np.ndarray:
    """Adds the channel axis that images are often stored without, folds flat rows."""
    shape = model.graph.inputs[0].shape or ()
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


def _is_numbers(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file")


def _unreadable(path: Path, error: Exception) -> DataError | TrustError:
    if "pickle" in str(error):
        return TrustError(f"{path}: holds pickled Python objects, which can run code when loaded; "
                          "save plain arrays instead")
    return DataError(f"{path}: not readable, is it cut short? ({error})")
