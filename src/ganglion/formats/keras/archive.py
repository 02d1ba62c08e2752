"""`.keras` archives (Keras 3), read without Keras: a zip of config.json and model.weights.h5.

The file may come from a stranger. Nothing is extracted to disk, nothing in it is run, and every
size is compared with what the file really holds before memory is taken for it.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, TrustError
from ganglion.files import MAX_JSON_BYTES, open_regular, parse_json
from ganglion.formats.keras.config import NETWORKS, Reading, build
from ganglion.formats.keras.layers import check_origin, mapping_of, text
from ganglion.formats.keras.live import checked
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.layers.base import Layer
from ganglion.ops.shapes import Shapes

Array = np.ndarray

MAX_BYTES = {"config.json": MAX_JSON_BYTES, "metadata.json": 1 << 20,
             "model.weights.h5": 4 << 30}
"""Largest size of each part once unpacked."""
MAX_RATIO = 200
"""Unpacked bytes for each stored one, above `FREE_BYTES`; honest parts stay far below."""
FREE_BYTES = 1 << 20
MAX_ENTRIES = 10_000
MIN_CHUNK = 1 << 16
"""Elements that a block of packed weights may have, however few the weights are."""
_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE,
                      h5py.h5z.FILTER_FLETCHER32})


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
    _check_version(_json(parts["metadata.json"], f"{path}: metadata.json"), path)
    entry = _json(parts["config.json"], f"{path}: config.json")
    kind = text(entry, "class_name", f"{path}: the network")
    if kind not in NETWORKS:
        raise ModelError(f"{path} holds a {kind}; expected a Sequential or Functional network")
    check_origin(entry, kind, f"{path}: the network")
    config = mapping_of(entry, "config", f"{path}: the network")
    reading = Reading(shapes=shapes or {})
    net = reading.net(config)
    with damage(path):
        file = h5py.File(io.BytesIO(parts["model.weights.h5"]), "r")
    with file:
        return build(reading, net, _Weights(file, reading, path, limits), limits)


@contextmanager
def damage(path: Path, what: str = "model.weights.h5") -> Iterator[None]:
    """Turns what HDF5 raises on damaged bytes into ModelError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError,
            MemoryError) as error:
        raise ModelError(f"{path}: {what} is damaged: {error}") from error


class _Weights:
    """Finds the values of a layer's weights in the file, as `layers.base.WeightSource`."""

    def __init__(self, file: h5py.File, reading: Reading, path: Path, limits: Limits) -> None:
        self._file, self._reading, self._path, self._limits = file, reading, path, limits
        self._made = 0

    def __call__(self, layer: Layer, name: str, path: tuple[str, ...], index: int,
                 shape: tuple[int, ...]) -> Array:
        where = f"{self._path}: layer {name!r}: {path[-1]}"
        with damage(self._path):
            return self._values(layer, path, index, shape, where)

    def _values(self, layer: Layer, path: tuple[str, ...], index: int, shape: tuple[int, ...],
                where: str) -> Array:
        group: h5py.Group = self._file
        for part in (*self._reading.origins[layer].path, *path[:-1], "vars"):
            group = self._step(group, part, h5py.Group, where)
        dataset = self._step(group, str(index), h5py.Dataset, where)
        if dataset.shape != shape:
            raise ModelError(f"{where} has the shape {list(dataset.shape or ())} in the file, "
                             f"but the layer's arguments ask for {list(shape)}")
        check_storage(dataset, where)
        self._made += dataset.nbytes
        self._limits.check_bytes(self._made, self._path.stat().st_size, f"{where}: the archive")
        return checked(np.asarray(dataset[()]), where)

    def _step(self, group: h5py.Group, part: str, kind: type, where: str) -> h5py.Group:
        """One member of a group, followed through hard links only."""
        found = part if part in group else f"_{part}"
        link = group.get(found, getlink=True)
        if link is None:
            raise ModelError(f"{where} is missing in the file: {group.name} has no {part!r}")
        if not isinstance(link, h5py.HardLink):
            raise TrustError(f"{where}: {part!r} is a link out of its place in the file; "
                             "no archive that Keras writes has one")
        member = group[found]
        if not isinstance(member, kind):
            raise ModelError(f"{where}: {member.name} must be a {kind.__name__}, "
                             f"found {type(member).__name__}")
        return member


def check_storage(dataset: h5py.Dataset, where: str) -> None:
    """Refuses data kept elsewhere, exotic filters, and sizes that the file does not hold."""
    if dataset.external or dataset.is_virtual:
        raise TrustError(f"{where} keeps its values in another file")
    if dataset.dtype.kind not in "fiu" or dataset.dtype.itemsize > 8:
        raise ModelError(f"{where} has the type {dataset.dtype}, expected floating point numbers")
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if not filters <= _FILTERS:
        raise TrustError(f"{where} is packed with a filter that Keras does not use")
    if dataset.chunks is not None and math.prod(dataset.chunks) > max(dataset.size, MIN_CHUNK):
        raise TrustError(f"{where} of shape {list(dataset.shape)} is packed in blocks of "
                         f"{list(dataset.chunks)}, which are unpacked whole")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(FREE_BYTES, stored * MAX_RATIO):
        raise TrustError(f"{where} asks for {dataset.nbytes} bytes of which the file holds "
                         f"{stored}")


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


def _json(data: bytes, what: str) -> Mapping[str, object]:
    value = parse_json(data, ModelError, what, finite=False)  # Keras writes Infinity
    if not isinstance(value, dict):
        raise ModelError(f"{what} must be an object, found {type(value).__name__}")
    return value


def _check_version(metadata: Mapping[str, object], path: Path) -> None:
    version = metadata.get("keras_version")
    if not isinstance(version, str) or not version.startswith("3."):
        raise ModelError(f"{path} was written by Keras {version}; expected 3: open it there and "
                         "save it again with model.save('name.keras')")
