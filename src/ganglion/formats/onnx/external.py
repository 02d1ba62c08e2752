"""Tensors that an ONNX file keeps in other files of its folder."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from onnx import TensorProto

from ganglion.errors import ModelError, TrustError
from ganglion.files import open_regular
from ganglion.formats.limits import Limits


class External:
    """Reads external data of one folder, all of it together bounded by what its files hold."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._held: dict[Path, int] = {}
        self._made = 0

    def read(self, tensor: TensorProto, owner: str, nbytes: int) -> None:
        """Brings the tensor's bytes into the proto. Raises ModelError for what does not fit,
        TrustError for what lies outside the folder or unfolds beyond the limits."""
        entries = {e.key: e.value for e in tensor.external_data}
        path = _inside(self._folder, entries.get("location", ""), owner)
        offset = _number(entries.get("offset", "0"), f"offset of {owner}")
        length = _number(entries.get("length", str(nbytes)), f"length of {owner}")
        if length != nbytes:
            raise ModelError(f"{owner} of shape {list(tensor.dims)} declares {length} external "
                             f"bytes, expected {nbytes}")
        with open_regular(path, ModelError) as file:
            self._check(file, path, owner, offset, nbytes)
            file.seek(offset)
            tensor.raw_data = file.read(nbytes)
        if len(tensor.raw_data) != nbytes:
            raise ModelError(f"{owner}: {path} was cut short while it was read")
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT

    def _check(self, file: BinaryIO, path: Path, owner: str, offset: int, nbytes: int) -> None:
        status = os.fstat(file.fileno())
        if offset + nbytes > status.st_size:
            raise ModelError(f"{owner} needs bytes {offset} to {offset + nbytes} of {path}, which "
                             f"has {status.st_size}; the data file is cut short")
        # A file with holes holds less than its size says.
        blocks: int = getattr(status, "st_blocks", status.st_size)
        self._held[path] = min(status.st_size, 512 * blocks)
        self._made += nbytes
        self._limits.check_bytes(self._made, sum(self._held.values()),
                                 f"external data up to {owner}")


def _inside(folder: Path, location: str, owner: str) -> Path:
    """The place of a data file; TrustError unless it truly lies in the model's folder."""
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    absolute = location.startswith("/") or bool(windows.drive or windows.root)
    if not parts or absolute or ".." in parts or ".." in windows.parts or "\0" in location:
        raise TrustError(f"{owner} asks for the file {location!r}; external data must have a "
                         "relative name without '..' in the model's own folder")
    root = folder.resolve()
    path = (root / location).resolve()
    if root not in path.parents:
        raise TrustError(f"{owner} asks for {location!r}, a link to {path} outside the model's "
                         "folder; copy the file into the folder")
    return path


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"the {what} is {text[:40]!r}, expected a whole number of bytes")
    return int(text)
