"""Networks from elsewhere: one file each turns a foreign format into a Model.

`READERS` is the door: a new format is one file here and one line in that table.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.formats.limits import MAX_BYTES, MAX_NODES, Limits
from ganglion.ops.fixed import Values, with_values
from ganglion.ops.graph import require_model
from ganglion.ops.shapes import Shapes, with_shapes

__all__ = ["MAX_BYTES", "MAX_NODES", "READERS", "load", "save"]

READERS: Mapping[str, tuple[str, str]] = {
    ".onnx": ("ganglion.formats.onnx.reader", "load_onnx"),
    ".keras": ("ganglion.formats.keras.archive", "load_keras"),
    ".h5": ("ganglion.formats.keras.hdf5", "load_hdf5"),
    ".hdf5": ("ganglion.formats.keras.hdf5", "load_hdf5"),
    ".tflite": ("ganglion.formats.tflite.read.network", "load_tflite"),
}
"""File suffix → (module, function from a path, `Limits` and `Shapes` to a Model)."""


def load(path: str | Path, *, shapes: Shapes | None = None, values: Values | None = None,
         max_nodes: int = MAX_NODES, max_bytes: int = MAX_BYTES) -> ir.Model:
    """Opens a network by its file's suffix.

    `shapes`: sizes of inputs by name that the file leaves open, {"x": [1, 224, 224, 3]}; None for
    one that stays open, as the first may (`compile` takes a batch). `values`: inputs by name that
    always have one value, {"axes": [1]}, and become constants. `max_nodes`: the largest
    network, all functions and inner networks laid open; `max_bytes`: what loading may make beyond
    the bytes of the file. A file that asks for more is refused in seconds.

    Raises ModelError for an unknown suffix, a missing file, shapes or values that do not
    fit or too many nodes, and what the format's reader raises.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ModelError(f"{path}: unknown kind of file {path.suffix!r}; known: "
                         f"{', '.join(READERS)}")
    module, function = READERS[path.suffix]
    limits = Limits(max_nodes, max_bytes)
    reader: Callable[..., ir.Model] = getattr(import_module(module), function)
    # Keras layers, If, Loop and .tflite files may need sizes and values while they are read.
    early: dict[str, object] = {}
    if shapes is not None:
        early["shapes"] = shapes
    if values is not None and path.suffix == ".onnx":
        early["values"] = values
    model = reader(path, limits, **early)
    if values is not None and "values" not in early:
        model = with_values(model, values)
    return model if shapes is None else with_shapes(model, shapes)


def save(model: ir.Model, path: str | Path) -> None:
    """Writes a Model as an .onnx file, aside first, then renamed.

    Raises ModelError for another suffix or what is no Model, DataError without the folder.
    """
    from ganglion.formats.onnx.reader import save_onnx

    require_model(model, "save")
    path = Path(path)
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: Models are saved as .onnx files")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; create it first")
    save_onnx(model, path)
