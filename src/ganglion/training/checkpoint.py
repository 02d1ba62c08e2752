"""A checkpoint: everything that the next epoch depends on, in one .npz without pickled objects.

Members: "state/NAME" for every bound tensor, "best/K/NAME" for the best weights of watch K, and
"meta", the JSON of the rest as bytes. It is written aside and renamed, so a kill leaves the old
one. A fingerprint of the step, the settings and the data keeps it from being used for another run.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.files import write_atomic
from ganglion.ops.base import Array
from ganglion.training.callbacks import History, Watch

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands after `history.epoch[-1]`."""

    fingerprint: str
    state: Mapping[str, Array]
    history: History
    learning_rate: float


def fingerprint(step: ir.Model, settings: Mapping[str, object], arrays: Iterable[Array]) -> str:
    """A digest of the step with its initial values, of what steers the run, and of the data."""
    digest = hashlib.sha256(ir.to_proto(step).SerializeToString(deterministic=True))
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save(path: Path, point: Checkpoint, watches: Sequence[Watch]) -> None:
    """Replaces the checkpoint at `path`; OSError leaves the old one as it was."""
    members = {f"state/{name}": array for name, array in point.state.items()}
    for k, watch in enumerate(watches):
        members |= {f"best/{k}/{name}": a for name, a in (watch.weights or {}).items()}
    meta = {"version": VERSION, "fingerprint": point.fingerprint,
            "history": asdict(point.history), "learning_rate": point.learning_rate,
            "watches": [[w.best, w.best_epoch, w.wait] for w in watches]}
    members["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **members)
    write_atomic(path, buffer.getvalue())


def load(path: Path, expected: str, watches: Sequence[Watch]) -> Checkpoint | None:
    """What `save` wrote, None when there is no file; puts the watches back where they were.

    Raises DataError when the file is damaged or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        meta = json.loads(members["meta"].tobytes())
        version, found = meta["version"], meta["fingerprint"]
        history, marks = History(**meta["history"]), list(meta["watches"])
        rate = float(meta["learning_rate"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError,
            zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable checkpoint ({error}); delete it to start "
                        "afresh, or give another path") from error
    if version != VERSION or found != expected or len(marks) != len(watches):
        raise DataError(f"{path} is the checkpoint of another run: the network, its initial "
                        "weights, the data or the settings differ; repeat the call that wrote it, "
                        "delete it, or give another path")
    for k, (watch, (best, epoch, wait)) in enumerate(zip(watches, marks)):
        watch.best, watch.best_epoch, watch.wait = best, epoch, wait
        watch.weights = _under(members, f"best/{k}/") or None
    return Checkpoint(found, _under(members, "state/"), history, rate)


def _under(members: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in members.items() if name.startswith(prefix)}
