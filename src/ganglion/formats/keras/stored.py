"""Weights out of an HDF5 file that may come from a stranger.

Links are followed inside the file alone, exotic storage is refused, and every size is compared with
what the file really holds before memory is taken for it.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ganglion.errors import ModelError, TrustError
from ganglion.formats.keras.config import Reading
from ganglion.formats.keras.live import checked
from ganglion.formats.limits import Limits
from ganglion.layers.base import Layer

MAX_RATIO = 200
"""Unpacked bytes for each stored one, above `FREE_BYTES`; honest parts stay far below."""
FREE_BYTES = 1 << 20
MIN_CHUNK = 1 << 16
"""Elements that a block of packed weights may have, however few the weights are."""
_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE,
                      h5py.h5z.FILTER_FLETCHER32})


def opened(data: bytes, path: Path, what: str) -> h5py.File:
    """The bytes as an HDF5 file. Raises ModelError, which calls them `what` of `path`."""
    with damage(path, what):
        return h5py.File(io.BytesIO(data), "r")


@contextmanager
def damage(path: Path, what: str) -> Iterator[None]:
    """Turns what HDF5 raises on damaged bytes into ModelError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError,
            MemoryError) as error:
        raise ModelError(f"{path}: {what} is damaged: {error}") from error


class Stored:
    """The values of layers' weights, as `layers.base.WeightSource`; `find` says where they lie."""

    def __init__(self, file: h5py.File, reading: Reading, path: Path, limits: Limits, what: str
                 ) -> None:
        self.file, self.reading = file, reading
        self._path, self._limits, self._what = path, limits, what
        self._made = 0

    def find(self, layer: Layer, path: tuple[str, ...], index: int, where: str) -> h5py.Dataset:
        """The data of weight number `index` of a layer, or of the layer that `path` leads to."""
        raise NotImplementedError

    def __call__(self, layer: Layer, name: str, path: tuple[str, ...], index: int,
                 shape: tuple[int, ...]) -> np.ndarray:
        where = f"{self._path}: layer {name!r}: {path[-1]}"
        with damage(self._path, self._what):
            dataset = self.find(layer, path, index, where)
            if dataset.shape != shape:
                raise ModelError(f"{where} has the shape {list(dataset.shape or ())} in the file, "
                                 f"but the layer's arguments ask for {list(shape)}")
            _check_storage(dataset, where)
            self._made += dataset.nbytes
            self._limits.check_bytes(self._made, self._path.stat().st_size, f"{where}: the file")
            return checked(np.asarray(dataset[()]), where)


def member(group: h5py.Group, name: str, kind: type, where: str) -> h5py.Group:
    """One member of a group, followed through hard links only."""
    link = group.get(name, getlink=True)
    if link is None:
        raise ModelError(f"{where} is missing in the file: {group.name} has no {name!r}")
    if not isinstance(link, h5py.HardLink):
        raise TrustError(f"{where}: {name!r} is a link out of its place in the file; no file that "
                         "Keras writes has one")
    found = group[name]
    if not isinstance(found, kind):
        raise ModelError(f"{where}: {found.name} must be a {kind.__name__}, "
                         f"found {type(found).__name__}")
    return found


def _check_storage(dataset: h5py.Dataset, where: str) -> None:
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
