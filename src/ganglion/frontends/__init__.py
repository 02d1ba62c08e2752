"""Networks from elsewhere: one file each turns a foreign format into a Model.

`READERS` is the door: a new format is one file here and one line in that table.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.graph import require_model

__all__ = ["READERS", "load", "save"]

READERS: Mapping[str, tuple[str, str]] = {
    ".onnx": ("ganglion.frontends.onnx", "load_onnx"),
    ".keras": ("ganglion.frontends.keras_archive", "load_keras"),
    ".tflite": ("ganglion.frontends.tflite", "load_tflite"),
}
"""File suffix → (module, function from a path to a Model)."""


def load(path: str | Path) -> ir.Model:
    """Opens a network by its file's suffix.

    Raises ModelError for an unknown suffix or a missing file, and what the format's reader raises.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ModelError(f"{path}: unknown kind of file {path.suffix!r}; known: "
                         f"{', '.join(READERS)}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    module, function = READERS[path.suffix]
    reader: Callable[[Path], ir.Model] = getattr(import_module(module), function)
    return reader(path)


def save(model: ir.Model, path: str | Path) -> None:
    """Writes a Model as an .onnx file, aside first, then renamed.

    Raises ModelError for another suffix or what is no Model, DataError without the folder.
    """
    from ganglion.frontends.onnx import save_onnx

    require_model(model, "save")
    path = Path(path)
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: Models are saved as .onnx files")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; create it first")
    save_onnx(model, path)
