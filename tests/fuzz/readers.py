"""The readers under fuzzing, a row each: what takes the bytes, and where to start."""

import io
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tests.fuzz import mutators, seeds
from tests.support.keras_archives import archive, dense_weights, hdf5

from ganglion.artifact import tuning_cache
from ganglion.data import load_csv, load_npz, read_wav
from ganglion.data.arrays import read_npy, read_npz
from ganglion.data.images import read_image
from ganglion.data.tables import read_csv
from ganglion.errors import GanglionError
from ganglion.formats import load
from ganglion.passes.pipeline import prepare
from ganglion.plan.planner import plan
from ganglion.runtime.library import load_files
from ganglion.runtime.ports import parse_description
from ganglion.training.loop import checkpoint
from ganglion.training.loop.stopping import EarlyStopping, Watch

MAX_SECONDS = 10.0
"""Of the processor, for one input."""
MAX_RESIDENT_BYTES = 1 << 30


@dataclass(frozen=True)
class Reader:
    """`take(data)` gives something or raises; `mutate`: how inputs are changed besides bytewise."""

    take: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    mutate: mutators.Mutate | None = None
    max_bytes: int = 4096


@cache
def scratch() -> Path:
    """A folder of this process, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="ganglion-fuzz-", dir=memory if memory.is_dir() else None))


def placed(name: str, data: bytes) -> Path:
    """The bytes as a file of this name."""
    path = scratch() / f"{os.getpid()}{name}"
    path.write_bytes(data)
    return path


def _network(suffix: str) -> Callable[[bytes], object]:
    def take(data: bytes) -> object:
        return plan(prepare(load(placed(suffix, data))))

    return take


def _npz(data: bytes) -> object:
    path = placed(".npz", data)
    try:
        load_npz(path)
    finally:
        found = read_npz(path)
    return found


def _npz_of(data: bytes) -> object:
    """The bytes as a member, so that the checksum is right."""
    return read_npz(placed(".npz", seeds.zipped("x.npy", data)))


def _csv(data: bytes) -> object:
    path = placed(".csv", data)
    try:
        load_csv(path)
    finally:
        found = read_csv(path)
    return found


def _keras(config: bytes | None = None, weights: bytes | None = None) -> object:
    path = scratch() / f"{os.getpid()}.keras"
    archive(path, config if config is not None else seeds.keras_configs()[1],
            weights if weights is not None else hdf5(dense_weights()))
    return load(path)


def _checkpoint(data: bytes) -> object:
    path = scratch() / f"{os.getpid()}checkpoint.npz"
    np.savez(path, meta=np.frombuffer(data, np.uint8), **{"state/w": np.eye(2)})
    return checkpoint.load(path, "f", [Watch(EarlyStopping())], [])


READERS: Mapping[str, Reader] = {
    "onnx": Reader(_network(".onnx"), seeds.onnx_files, mutators.onnx_network, 1 << 16),
    "tflite": Reader(_network(".tflite"), seeds.tflite_files, mutators.words, 1 << 16),
    "keras": Reader(lambda d: load(placed(".keras", d)), lambda: [], max_bytes=1 << 14),
    "keras-config": Reader(_keras, seeds.keras_configs, mutators.json_text),
    "keras-weights": Reader(lambda d: _keras(None, d), seeds.keras_weights, mutators.words,
                            1 << 14),
    "npy": Reader(lambda d: read_npy(placed(".npy", d)), seeds.arrays, mutators.text),
    "npz": Reader(_npz, seeds.archives, mutators.words),
    "npz-member": Reader(_npz_of, seeds.arrays, mutators.text),
    "csv": Reader(_csv, seeds.tables),
    "wav": Reader(lambda d: read_wav(io.BytesIO(d)), seeds.sounds, mutators.words),
    "image": Reader(lambda d: read_image(placed(".png", d), 4, 4, 3), seeds.images),
    "checkpoint": Reader(_checkpoint, seeds.checkpoints, mutators.json_text),
    "tuning-cache": Reader(lambda d: tuning_cache.parse(d, Path("tuning.json")), seeds.caches,
                           mutators.json_text),
    "manifest": Reader(lambda d: load_files({"manifest.json": d, "net.so": seeds.LIBRARY}, "net"),
                       seeds.manifests, mutators.json_text),
    "description": Reader(parse_description, seeds.descriptions, mutators.json_text),
}


def accepts_or_explains(reader: Reader, data: bytes) -> bool:
    """Whether the bytes were accepted; anything but an error of this project passes through."""
    try:
        reader.take(data)
    except GanglionError:
        return False
    return True
