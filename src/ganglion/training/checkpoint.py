"""A checkpoint: everything that the rest of a run depends on, in one .npz without pickled objects.

Members: "state/NAME" for every bound tensor, "best/K/NAME" for the best weights of watch K,
"predictions/K" and "targets/K" for output K in the epoch under way, and "meta", the JSON of the
rest as bytes. The file is written aside and renamed, so a kill leaves the old one. A fingerprint of
the step, the settings and the data keeps it from being used for another run.
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
from ganglion.training.progress import Progress
from ganglion.training.run import Callback, History, Saved
from ganglion.training.stopping import Watch

VERSION = 2


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: after `progress.step` steps of epoch `progress.epoch`."""

    fingerprint: str
    state: Mapping[str, Array]
    history: History
    learning_rate: float
    stop: bool
    progress: Progress
    callbacks: tuple[Saved, ...]


def fingerprint(step: ir.Model, settings: Mapping[str, object], arrays: Iterable[Array]) -> str:
    """A digest of the step with its initial values, of what steers the run, and of the data."""
    digest = hashlib.sha256(ir.to_proto(step).SerializeToString(deterministic=True))
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save(path: Path, point: Checkpoint, watches: Sequence[Watch],
         callbacks: Sequence[Callback]) -> None:
    """Replaces the checkpoint at `path`; OSError leaves the old one as it was.

    Raises DataError for a callback's state that JSON cannot hold.
    """
    at = point.progress
    members = {f"state/{name}": array for name, array in point.state.items()}
    for name, arrays in zip(("predictions", "targets"), at.joined()):
        members |= {f"{name}/{k}": a for k, a in enumerate(arrays)}
    for k, watch in enumerate(watches):
        members |= {f"best/{k}/{name}": a for name, a in (watch.weights or {}).items()}
    meta = {"version": VERSION, "fingerprint": point.fingerprint,
            "history": asdict(point.history), "learning_rate": point.learning_rate,
            "stop": point.stop, "epoch": at.epoch, "step": at.step, "taken": at.taken,
            "rows": at.rows, "total": at.total.tolist(),
            "watches": [[w.best, w.best_epoch, w.wait] for w in watches],
            "callbacks": list(zip(_names(callbacks), map(dict, point.callbacks)))}
    try:
        members["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    except TypeError as error:
        raise DataError(f"the state of a callback cannot be kept in a checkpoint ({error}); "
                        "Callback.state gives numbers, texts and None by name") from error
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **members)
    write_atomic(path, buffer.getvalue())


def load(path: Path, expected: str, watches: Sequence[Watch],
         callbacks: Sequence[Callback]) -> Checkpoint | None:
    """What `save` wrote, None when there is no file; puts the watches back where they were, which
    `Checkpoint.callbacks` lets the caller do with the callbacks.

    Raises DataError when the file is damaged or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        meta = json.loads(members["meta"].tobytes())
        version, found = meta["version"], meta["fingerprint"]
        ours = (version == VERSION and found == expected and len(meta["watches"]) == len(watches)
                and [n for n, _ in meta["callbacks"]] == _names(callbacks))
        if not ours:
            raise DataError(
                f"{path} is the checkpoint of another run: the network, its initial weights, the "
                "data, the settings or the callbacks differ; repeat the call that wrote it, delete "
                "it, or give another path")
        parts = [[[a] for a in _under(members, f"{name}/").values()]
                 for name in ("predictions", "targets")]
        progress = Progress(np.array(meta["total"], np.float64), int(meta["epoch"]),
                            int(meta["step"]), int(meta["taken"]), int(meta["rows"]), *parts)
        point = Checkpoint(found, _under(members, "state/"), History(**meta["history"]),
                           float(meta["learning_rate"]), bool(meta["stop"]), progress,
                           tuple(dict(state) for _, state in meta["callbacks"]))
        for k, (watch, (best, epoch, wait)) in enumerate(zip(watches, meta["watches"])):
            watch.best, watch.best_epoch, watch.wait = best, epoch, wait
            watch.weights = _under(members, f"best/{k}/") or None
    except (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError,
            zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable checkpoint ({error}); delete it to start "
                        "afresh, or give another path") from error
    return point


def stateful(callbacks: Iterable[Callback]) -> list[Callback]:
    """Those that may keep something in a checkpoint, be it nothing as yet."""
    return [callback for callback in callbacks if type(callback).state is not Callback.state]


def _names(callbacks: Iterable[Callback]) -> list[str]:
    return [type(callback).__name__ for callback in stateful(callbacks)]


def _under(members: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in members.items() if name.startswith(prefix)}
