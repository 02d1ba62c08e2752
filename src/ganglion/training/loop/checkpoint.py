"""A checkpoint: everything that the rest of a run depends on, in one .npz without pickled objects.

Members: "state/NAME" for every bound tensor, "best/K/NAME" for the best weights of watch K,
"predictions/K" and "targets/K" for output K in the epoch under way, and "meta", the JSON of the
rest as bytes. The file is written aside and renamed, so a kill leaves the old one. A fingerprint of
the step, the settings and the data keeps it from being used for another run.
"""

import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ganglion.data.arrays import open_npz
from ganglion.errors import DataError
from ganglion.files import parse_json, write_atomic
from ganglion.ops.base import Array
from ganglion.training.loop.progress import Progress
from ganglion.training.loop.run import Callback, History, Saved
from ganglion.training.loop.stopping import Watch

VERSION = 2
MAX_BYTES = 1 << 34
"""A checkpoint is written unpacked, so that it holds what it gives; packed ones are refused above
this size."""
NOT_FINITE = "float"
"""{"float": "nan"} stands for a number that JSON lacks."""


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
        text = json.dumps(_written(meta), allow_nan=False)
        members["meta"] = np.frombuffer(text.encode(), np.uint8)
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
    if not os.path.lexists(path):
        return None
    try:
        with open_npz(path, MAX_BYTES) as archive:
            members = dict(archive)
        meta: Any = parse_json(members["meta"].tobytes(), DataError, f"{path}: meta")
        _check_owner(meta, path, expected, watches, callbacks)
        point = Checkpoint(expected, _under(members, "state/"), _history(meta["history"]),
                           _finite(meta["learning_rate"]), _flag(meta["stop"]),
                           _progress(meta, members),
                           tuple(_kept(state) for _, state in meta["callbacks"]))
        marks = [(None if best is None else _number(best), _count(epoch), _count(wait))
                 for best, epoch, wait in meta["watches"]]
    except (DataError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, _Foreign):
            raise
        raise DataError(f"{path} is not a readable checkpoint ({error}); delete it to start "
                        "afresh, or give another path") from error
    for k, (watch, (best, epoch, wait)) in enumerate(zip(watches, marks)):
        watch.best, watch.best_epoch, watch.wait = best, epoch, wait
        watch.weights = _under(members, f"best/{k}/") or None
    return point


class _Foreign(DataError):
    """A whole checkpoint, of another run."""


def _check_owner(meta: Any, path: Path, expected: str, watches: Sequence[Watch],
                 callbacks: Sequence[Callback]) -> None:
    ours = (meta["version"] == VERSION and meta["fingerprint"] == expected
            and len(meta["watches"]) == len(watches)
            and [n for n, _ in meta["callbacks"]] == _names(callbacks))
    if not ours:
        raise _Foreign(
            f"{path} is the checkpoint of another run: the network, its initial weights, the "
            "data, the settings or the callbacks differ; repeat the call that wrote it, delete "
            "it, or give another path")


def _progress(meta: Any, members: Mapping[str, Array]) -> Progress:
    parts = [[[a] for a in _under(members, f"{name}/").values()]
             for name in ("predictions", "targets")]
    total = np.array([_finite(n) for n in meta["total"]], np.float64)
    return Progress(total, _count(meta["epoch"]), _count(meta["step"]), _count(meta["taken"]),
                    _count(meta["rows"]), *parts)


def _history(raw: Any) -> History:
    """Raises ValueError unless the figures are lists of one number an epoch or fewer."""
    stopped = raw["stopped"]
    if stopped is not None and not isinstance(stopped, str):
        raise ValueError(f"the reason to stop is {stopped!r}, expected a text")
    epochs = [_count(n) for n in raw["epoch"]]
    figures = {str(name): [_number(n) for n in values]
               for name, values in raw["history"].items()}
    if any(len(values) > len(epochs) for values in figures.values()):
        raise ValueError("a figure has more values than there were epochs")
    return History(epochs, figures, stopped)


def _kept(state: Any) -> Saved:
    """Raises ValueError unless a callback's state is of numbers, texts and None by name."""
    if not isinstance(state, dict):
        raise ValueError(f"the state of a callback is {str(state)[:80]!r}")
    return {name: _restored(value) for name, value in state.items()}


def _written(value: Any) -> Any:
    """What JSON can hold of a value: numbers that are not finite by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: str(value)}
    if isinstance(value, Mapping):
        return {name: _written(v) for name, v in value.items()}
    return [_written(v) for v in value] if isinstance(value, list | tuple) else value


def _restored(value: Any) -> Any:
    """A number, text or None as `_written` kept it. Raises ValueError for anything else."""
    if isinstance(value, dict):
        if list(value) != [NOT_FINITE] or value[NOT_FINITE] not in ("nan", "inf", "-inf"):
            raise ValueError(f"{str(value)[:40]!r} stands where a number is expected")
        return float(value[NOT_FINITE])
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large for float64")
    if value is not None and not isinstance(value, float | int | str):
        raise ValueError(f"{str(value)[:40]!r} stands where a number or a text is expected")
    return value


def _finite(raw: Any) -> float:
    number = _number(raw)
    if not math.isfinite(number):
        raise ValueError(f"{number} stands where a finite number is expected")
    return number


def _number(raw: Any) -> float:
    """A number as `_written` keeps it. Raises ValueError for anything else."""
    raw = _restored(raw)
    if isinstance(raw, bool) or not isinstance(raw, float | int):
        raise ValueError(f"{str(raw)[:40]!r} stands where a number is expected")
    return float(raw)


def _count(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**53:
        raise ValueError(f"{str(raw)[:40]!r} stands where a count is expected")
    return raw


def _flag(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"{str(raw)[:40]!r} stands where true or false is expected")
    return raw


def stateful(callbacks: Iterable[Callback]) -> list[Callback]:
    """Those that may keep something in a checkpoint, be it nothing as yet."""
    return [callback for callback in callbacks if type(callback).state is not Callback.state]


def _names(callbacks: Iterable[Callback]) -> list[str]:
    return [type(callback).__name__ for callback in stateful(callbacks)]


def _under(members: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in members.items() if name.startswith(prefix)}
