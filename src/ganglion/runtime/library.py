"""Opening what was built: the folder is checked, then its library is loaded from a private copy.

The copy is what was checked, whatever happens to the folder afterwards; and a loader that is given
a path for the second time hands back the old library, even if the file is another one by then.
"""

import ctypes
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion import cpu
from ganglion.errors import DataError, ModelError, TargetError, TrustError
from ganglion.runtime.ports import Description, Function, parse_description

MANIFEST = "manifest.json"
SUFFIXES = (".so", ".dylib", ".dll")
FORMAT = 1
MAX_BYTES = 1 << 30
"""Largest file of an artefact that is read."""


@dataclass(frozen=True)
class Loaded:
    """A library in this process. `handle` keeps it open; `run` and `run_with` are addresses.

    `run_with` is 0 where the network is not divided; `worker_bytes`: scratch for each thread of it.
    """

    handle: ctypes.CDLL
    description: Description
    raw_description: Mapping[str, object]
    arena_bytes: int
    state_bytes: int
    run: int
    run_with: int = 0
    worker_bytes: int = 0

    def function(self, name: str) -> Function:
        """What a call of NAME_<name> takes and gives. Raises DataError for an unknown name."""
        first = Function("run", self.description.inputs, self.description.outputs,
                         self.arena_bytes)
        known = {f.name: f for f in (first, *self.description.entries)}
        if name not in known:
            raise DataError(f"network {self.description.name!r} has no function {name!r}; it has "
                            f"{', '.join(map(repr, known))}")
        return known[name]

    def address(self, name: str) -> int:
        """Where NAME_<name> is. Raises ModelError where the library lacks it."""
        try:
            found = self.handle[f"{self.description.name}_{name}"]
        except AttributeError as error:
            raise ModelError(f"the library lacks the function {name!r} that its description "
                             f"names: build the network again") from error
        return ctypes.cast(found, ctypes.c_void_p).value or 0

    def reset(self, state: int) -> None:
        """Write the initial state to the block at this address."""
        function = self.handle[f"{self.description.name}_reset"]
        function.argtypes, function.restype = [ctypes.c_void_p], None
        function(state)


def load_path(path: Path) -> Loaded:
    """Load an artefact's folder, or a library file by itself (NAME.so, with nothing to check).

    Raises ModelError for what is no artefact, TrustError for a file that is not what its manifest
    says, TargetError for a library of another machine.
    """
    if not path.exists():
        _recover(path)
    if path.is_dir():
        return load_files(_Folder(path), str(path))
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path} is neither an artefact's folder nor a library "
                         f"({', '.join(SUFFIXES)})")
    return _load(_read(path), path.stem, path.suffix, str(path))


def load_files(files: Mapping[str, bytes], where: str) -> Loaded:
    """Load an artefact from its files by name. `where`: what the errors call it. Raises as
    `load_path` does."""
    manifest = _manifest(files, where)
    library = manifest.get("library")
    built_for = manifest.get("target")
    if library is None:
        raise TargetError(f"{where} holds C sources only (target {built_for!r}): compile it for "
                          f"'host' to run it here")
    if not isinstance(library, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", library):
        raise TrustError(f"{where}: the manifest names the library {library!r}, which is no plain "
                         f"file name")
    if Path(library).suffix not in SUFFIXES:
        raise TargetError(f"{where} was built for {built_for!r}; {library} does not run on this "
                          f"machine: compile it for 'host'")
    _check_isas(manifest, where)
    data = _verified(files, manifest, library, where)
    loaded = _load(data, str(manifest.get("name")), Path(library).suffix, where)
    if loaded.description.digest != manifest.get("digest"):
        raise TrustError(f"{where}: the library was built from another Model than the manifest "
                         f"says: build it again")
    return loaded


def _recover(path: Path) -> None:
    """Bring back what a save left that was killed between its two renames."""
    from ganglion.files import recover_folder  # not needed to import the runtime, and slow to load

    recover_folder(path)


class _Folder(Mapping[str, bytes]):
    """The files of a folder, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> bytes:
        return _read(self._path / name)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (entry.name for entry in self._path.iterdir())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _read(path: Path) -> bytes:
    from ganglion.files import read_regular  # as in _recover

    return read_regular(path, ModelError, MAX_BYTES)


def _manifest(files: Mapping[str, bytes], where: str) -> Mapping[str, object]:
    from ganglion.files import parse_json  # as in _recover

    try:
        data = files[MANIFEST]
    except (KeyError, ModelError) as error:
        raise ModelError(f"{where} has no {MANIFEST} that can be read ({error}): it is no "
                         f"artefact; `ganglion compile` or Artifact.save() make one") from error
    manifest = parse_json(data, ModelError, f"{where}: {MANIFEST}")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(f"{where}: {MANIFEST} is not of format {FORMAT}, the one that this "
                         f"version reads: build the network again, or update")
    return manifest


def _verified(files: Mapping[str, bytes], manifest: Mapping[str, object], name: str,
              where: str) -> bytes:
    digests = manifest.get("files")
    wanted = digests.get(name) if isinstance(digests, dict) else None
    try:
        data = files[name]
    except KeyError as error:
        raise ModelError(f"{where} lacks its library {name}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise TrustError(f"{where}: {name} is not the file that was built (SHA-256 {found}, the "
                         f"manifest says {wanted}): copy the folder again, or build it again")
    return data


def _check_isas(manifest: Mapping[str, object], where: str) -> None:
    """A library with instructions that this processor lacks would kill the process."""
    needed = manifest.get("isas")
    if not isinstance(needed, list):
        raise ModelError(f"{where}: {MANIFEST} does not list the instruction sets ('isas')")
    missing = [isa for isa in needed if isa not in cpu.isas()]
    if missing:
        raise TargetError(f"{where} needs the instruction sets {', '.join(map(str, missing))}; "
                          f"this machine has {', '.join(cpu.isas())}: compile it for 'host' here")


def _load(data: bytes, name: str, suffix: str, where: str) -> Loaded:
    handle = open_library(data, suffix, where)
    try:
        start = ctypes.c_char.in_dll(handle, f"{name}_description")
        raw = ctypes.string_at(ctypes.addressof(start))
        arena = ctypes.c_size_t.in_dll(handle, f"{name}_arena_bytes").value
        state = ctypes.c_size_t.in_dll(handle, f"{name}_state_bytes").value
        run = _address(handle, f"{name}_run")
        divided = hasattr(handle, f"{name}_run_with")
        run_with = _address(handle, f"{name}_run_with") if divided else 0
        worker = ctypes.c_size_t.in_dll(handle, f"{name}_worker_bytes").value if divided else 0
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{where}: the library is not one of network {name!r} "
                         f"({error})") from error
    description = parse_description(raw)
    if any(t.offset < 0 or t.offset + t.nbytes > state for t in description.state):
        raise ModelError(f"{where}: the description puts state outside of its block")
    return Loaded(handle, description, json.loads(raw), arena, state, run, run_with, worker)


def _address(handle: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(handle[name], ctypes.c_void_p).value or 0


def open_library(data: bytes, suffix: str, where: str) -> ctypes.CDLL:
    """Load bytes as a library, through a file of a name that never was before.

    Raises TargetError, which calls it `where`, for what this machine can't load.
    """
    folder = tempfile.TemporaryDirectory(prefix="ganglion-", ignore_cleanup_errors=True)
    with folder as private:
        path = Path(private) / f"net{suffix}"
        path.write_bytes(data)
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            hint = "the temporary folder forbids running code: set TMPDIR to another" \
                if "failed to map segment" in str(error) else "compile it for 'host' here"
            raise TargetError(f"{where}: this machine ({cpu.machine()}, {sys.platform}) can't load "
                              f"the library ({error}): {hint}") from error
