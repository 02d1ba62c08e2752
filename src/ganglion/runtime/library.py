"""Opening what was built: the folder is checked, then the library's bytes are read, and only what
can do nothing while it is loaded is loaded."""

import ctypes
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ganglion import cpu
from ganglion.errors import DataError, GanglionError, ModelError, TargetError, TrustError
from ganglion.runtime import elf
from ganglion.runtime.loader import Library, open_library
from ganglion.runtime.ports import Description, Function, parse_description
from ganglion.runtime.vetting import Exports, refuse

MANIFEST = "manifest.json"
READERS: Mapping[str, Callable[[bytes, str], Exports]] = {".so": elf.exports}
"""What reads a library's bytes before it is loaded, by the suffix of its file."""
UNREAD = (".dylib", ".dll")
"""Libraries of macOS and Windows, which are loaded without that: their digest is all that is known
of them, and code of theirs may run while they are loaded."""
FORMAT = 1
MAX_BYTES = 1 << 30
"""Largest file of an artefact that is read."""
MOST_TRIES = 1000
"""How often an opening begins again because the folder was replaced meanwhile."""
SIZE_BYTES = ctypes.sizeof(ctypes.c_size_t)


@dataclass(frozen=True)
class Loaded:
    """A library in this process. `library` keeps it open; `run` and `run_with` are addresses.

    `run_with` is 0 where the network is not divided; `worker_bytes`: scratch for each thread of it.
    """

    library: Library
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
        """Where NAME_<name> is."""
        return self.library.address(f"{self.description.name}_{name}")

    def reset(self, state: int) -> None:
        """Write the initial state to the block at this address."""
        _RESET(self.address("reset"))(state)


_RESET = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def load_path(path: Path) -> Loaded:
    """Load an artefact's folder, or a library file by itself (NAME.so, with nothing to check).

    A folder that is saved to meanwhile is opened as it was before or after. Raises ModelError for
    what is no artefact, TrustError for a file that is not what its manifest says, or that would do
    more than lie in memory when it is loaded, TargetError for a library of another machine.
    """
    for _ in range(MOST_TRIES):
        with _unchanged(path) as same:
            try:
                return _load_path(path)
            except GanglionError:
                if same():
                    raise
    raise DataError(f"{path} was replaced again and again while it was opened: open it when "
                    f"nobody writes to it")


def _load_path(path: Path) -> Loaded:
    if not path.exists():
        _recover(path)
    if path.is_dir():
        return load_files(_Folder(path), str(path))
    if path.suffix not in (*READERS, *UNREAD):
        raise ModelError(f"{path} is neither an artefact's folder nor a library "
                         f"({', '.join((*READERS, *UNREAD))})")
    return _load(_read(path), path.stem, path.suffix, str(path))


@contextmanager
def _unchanged(path: Path) -> Iterator[Callable[[], bool]]:
    """Whether, by then, the path names what it named at first: a save may replace a folder while
    its files are read. It is kept open meanwhile, so that no other gets its number."""
    fd = -1
    with suppress(OSError):  # nothing there yet, or a system whose folders can't be opened
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))

    def number() -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    first = number()
    try:
        yield lambda: number() == first
    finally:
        if fd >= 0:
            os.close(fd)


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
    if Path(library).suffix not in (*READERS, *UNREAD):
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
    if suffix in UNREAD:
        return _load_unread(data, name, suffix, where)
    exports = READERS[suffix](data, where)
    raw = _description(data, exports, name, where)
    description = parse_description(raw)
    divided = f"{name}_run_with" in exports.names
    _check_exports(exports, name, description, divided, where)

    def size(which: str) -> int:
        at = exports.objects[f"{name}_{which}"]
        return int.from_bytes(data[at:at + SIZE_BYTES], sys.byteorder)

    state = size("state_bytes")
    _check_state(description, state, where)
    library = open_library(data, suffix, where)
    return Loaded(library, description, json.loads(raw), size("arena_bytes"), state,
                  library.address(f"{name}_run"),
                  library.address(f"{name}_run_with") if divided else 0,
                  size("worker_bytes") if divided else 0)


def _load_unread(data: bytes, name: str, suffix: str, where: str) -> Loaded:
    """A library that says what it is once it is in memory."""
    library = open_library(data, suffix, where)

    def place(part: str) -> int:
        try:
            return library.address(f"{name}_{part}")
        except OSError:
            return 0

    missing = [p for p in ("description", "arena_bytes", "state_bytes", "run", "reset")
               if not place(p)]
    if missing:
        raise ModelError(f"{where}: the library is not one of network {name!r}: it lacks "
                         f"{name}_{missing[0]}")
    raw = ctypes.string_at(place("description"))
    description = parse_description(raw)

    def size(part: str) -> int:
        return ctypes.c_size_t.from_address(place(part)).value

    _check_state(description, size("state_bytes"), where)
    divided = place("run_with")
    return Loaded(library, description, json.loads(raw), size("arena_bytes"), size("state_bytes"),
                  place("run"), divided, size("worker_bytes") if divided else 0)


def _check_state(description: Description, nbytes: int, where: str) -> None:
    if any(t.offset < 0 or t.offset + t.nbytes > nbytes for t in description.state):
        raise ModelError(f"{where}: the description puts state outside of its block")


def _description(data: bytes, exports: Exports, name: str, where: str) -> bytes:
    """The text that the library holds about itself."""
    start = exports.objects.get(f"{name}_description")
    if start is None:
        raise ModelError(f"{where}: the library is not one of network {name!r}: it exports "
                         f"{', '.join(sorted(exports.names)) or 'nothing'}")
    end = data.find(b"\0", start)
    if end < 0:
        raise refuse(where, "has a description without end")
    return data[start:end]


def _check_exports(exports: Exports, name: str, description: Description, divided: bool,
                   where: str) -> None:
    """A library exports what its header declares, no less and no more."""
    functions = {"run", "reset", *(f.name for f in description.entries)}
    objects = {"arena_bytes", "state_bytes", "description"}
    if divided:
        functions.add("run_with")
        objects.add("worker_bytes")
    for found, parts in ((exports.functions, functions), (exports.objects, objects)):
        wanted = {f"{name}_{part}" for part in parts}
        if missing := sorted(wanted - set(found)):
            raise ModelError(f"{where}: the library is not one of network {name!r}: it lacks "
                             f"{missing[0]!r}, which its description names: build the network "
                             f"again")
        if more := sorted(set(found) - wanted):
            raise refuse(where, f"exports {more[0]!r}, which its description does not name")
