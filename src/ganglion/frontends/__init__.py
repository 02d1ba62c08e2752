"""Networks from elsewhere: one file each turns a foreign format into a Model.

`READERS` is the door: a new format is one file here and one line in that table.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.frontends.limits import MAX_BYTES, MAX_NODES, Limits
from ganglion.ops.graph import require_model

__all__ = ["MAX_BYTES", "MAX_NODES", "READERS", "load", "save"]

READERS: Mapping[str, tuple[str, str]] = {
    ".onnx": ("ganglion.frontends.onnx", "load_onnx"),
    ".keras": ("ganglion.frontends.keras_archive", "load_keras"),
    ".tflite": ("ganglion.frontends.tflite", "load_tflite"),
}
"""File suffix → (module, function from a path and `Limits` to a Model)."""


def load(path: str | Path, *, max_nodes: int = MAX_NODES, max_bytes: int = MAX_BYTES) -> ir.Model:
    """Opens a network by its file's suffix.

    `max_nodes`: the largest network, all functions and inner networks laid open; `max_bytes`: what
    loading may make beyond the bytes of the file. A file that asks for more is refused in seconds.

    Raises ModelError for an unknown suffix, a missing file or too many nodes, and what the
    format's reader raises.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ModelError(f"{path}: unknown kind of file {path.suffix!r}; known: "
                         f"{', '.join(READERS)}")
    module, function = READERS[path.suffix]
    reader: Callable[[Path, Limits], ir.Model] = getattr(import_module(module), function)
    return reader(path, Limits(max_nodes, max_bytes))


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
