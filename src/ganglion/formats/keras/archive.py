"""`.keras` archives (Keras 3), read without Keras: a zip of config.json and model.weights.h5.

The file may come from a stranger. Nothing is extracted to disk, nothing in it is run, and every
size is compared with what the file really holds before memory is taken for it.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import h5py
import onnx_ir as ir

from ganglion.errors import ModelError, TrustError
from ganglion.files import MAX_JSON_BYTES, open_regular, parse_json
from ganglion.formats.keras.config import NETWORKS, Reading, build
from ganglion.formats.keras.layers import check_origin, mapping_of, text
from ganglion.formats.keras.stored import FREE_BYTES, MAX_RATIO, Stored, member, opened
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.layers.base import Layer
from ganglion.ops.shapes import Shapes

MAX_BYTES = {"config.json": MAX_JSON_BYTES, "metadata.json": 1 << 20,
             "model.weights.h5": 4 << 30}
"""Largest size of each part once unpacked."""
MAX_ENTRIES = 10_000


def load_keras(path: Path | str, limits: Limits = DEFAULT, shapes: Shapes | None = None
               ) -> ir.Model:
    """Reads a `.keras` archive of a Sequential or Functional network with its weights.

    `shapes`: sizes of inputs, by their layers' names, that the file leaves open.

    Raises TrustError for what no honest archive holds (code, paths that climb, bombs beyond
    `limits`, links out of the file), UnsupportedOp naming the layer for what has no counterpart
    here, ModelError for a damaged archive or weights that are missing or do not fit.
    """
    path = Path(path)
    parts = _unpack(path, limits)
    _check_version(json_object(parts["metadata.json"], f"{path}: metadata.json"), path)
    entry = json_object(parts["config.json"], f"{path}: config.json")
    kind = text(entry, "class_name", f"{path}: the network")
    if kind not in NETWORKS:
        raise ModelError(f"{path} holds a {kind}; expected a Sequential or Functional network")
    check_origin(entry, kind, f"{path}: the network")
    config = mapping_of(entry, "config", f"{path}: the network")
    reading = Reading(shapes=shapes or {})
    net = reading.net(config)
    what = "model.weights.h5"
    with opened(parts[what], path, what) as file:
        return build(reading, net, _Weights(file, reading, path, limits, what), limits)


class _Weights(Stored):
    """Finds the values of a layer's weights in the file, as `layers.base.WeightSource`."""

    def find(self, layer: Layer, path: tuple[str, ...], index: int, where: str) -> h5py.Dataset:
        group: h5py.Group = self.file
        for part in (*self.reading.origins[layer].path, *path[:-1], "vars"):
            group = _step(group, part, h5py.Group, where)
        return _step(group, str(index), h5py.Dataset, where)


def _step(group: h5py.Group, part: str, kind: type, where: str) -> h5py.Group:
    """A member under its name or, where Keras had to change that, behind an underscore."""
    changed = f"_{part}"
    return member(group, changed if changed in group and part not in group else part, kind, where)


def _unpack(path: Path, limits: Limits) -> dict[str, bytes]:
    try:
        with open_regular(path, ModelError) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise TrustError(f"{path} has {len(entries)} entries, more than {MAX_ENTRIES}")
            _check_names(entries, path)
            sizes = {e.filename: e for e in entries}
            limits.check_bytes(sum(sizes[n].file_size for n in MAX_BYTES if n in sizes),
                               path.stat().st_size, str(path))
            return {name: _read(archive, sizes.get(name), name, limit, path)
                    for name, limit in MAX_BYTES.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError,
            ValueError) as error:
        raise ModelError(f"cannot read {path} as a .keras archive: {error}; it is damaged, cut "
                         "short, or not written by Keras 3's model.save('name.keras')") from error


def _check_names(entries: list[zipfile.ZipInfo], path: Path) -> None:
    seen = set()
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name:
            raise TrustError(f"{path} has an entry {name!r} that points outside the archive")
        if name in seen:
            raise TrustError(f"{path} has two entries {name!r}")
        seen.add(name)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, name: str, limit: int,
          path: Path) -> bytes:
    """One part, its size limited by what is declared and by what really comes out."""
    if entry is None:
        raise ModelError(f"{path} has no {name}; expected an archive written by Keras 3's "
                         "model.save('name.keras')")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{path}: {name} is packed by method {entry.compress_type}, expected "
                         "stored or deflated, as Keras writes")
    allowed = min(limit, max(FREE_BYTES, entry.compress_size * MAX_RATIO))
    if entry.file_size > allowed:
        raise TrustError(f"{path}: {name} unpacks from {entry.compress_size} to "
                         f"{entry.file_size} bytes, the limit is {allowed}")
    with archive.open(entry) as stream:
        data = stream.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ModelError(f"{path}: {name} has {len(data)} bytes or more, "
                         f"declared are {entry.file_size}")
    return data


def json_object(data: bytes, what: str) -> Mapping[str, object]:
    value = parse_json(data, ModelError, what, finite=False)  # Keras writes Infinity
    if not isinstance(value, dict):
        raise ModelError(f"{what} must be an object, found {type(value).__name__}")
    return value


def _check_version(metadata: Mapping[str, object], path: Path) -> None:
    version = metadata.get("keras_version")
    if not isinstance(version, str) or not version.startswith("3."):
        raise ModelError(f"{path} was written by Keras {version}; expected 3: open it there and "
                         "save it again with model.save('name.keras')")
