"""`.keras` archives written by hand, so that tests of damage and malice need no Keras."""

import copy
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

Weights = dict[str, np.ndarray]


def layer(kind: str, name: str, **config: object) -> dict[str, object]:
    """One layer's entry."""
    return {"module": "keras.layers", "class_name": kind, "registered_name": None,
            "config": {"name": name, "trainable": True, "dtype": "float32", **config}}


def tensor(name: str, node: int = 0, index: int = 0) -> dict[str, object]:
    """A symbolic argument of a call."""
    return {"class_name": "__keras_tensor__",
            "config": {"shape": [None, 4], "dtype": "float32",
                       "keras_history": [name, node, index]}}


def sequential(*layers: Mapping[str, object], shape: tuple[int, ...] = (4,)) -> dict[str, object]:
    first = layer("InputLayer", "input", batch_shape=[None, *shape])
    return {"module": "keras", "class_name": "Sequential", "registered_name": None,
            "config": {"name": "net", "layers": [first, *copy.deepcopy(layers)]}}


def functional() -> dict[str, object]:
    """`add([dense(x), x])`."""
    members = [layer("InputLayer", "x", batch_shape=[None, 4]), layer("Dense", "dense", units=4),
               layer("Add", "add")]
    calls = [[], [{"args": [tensor("x")], "kwargs": {}}],
             [{"args": [[tensor("dense"), tensor("x")]], "kwargs": {}}]]
    for member, inbound in zip(members, calls, strict=True):
        member["name"], member["inbound_nodes"] = member["config"]["name"], inbound  # type: ignore[index]
    return {"module": "keras.models", "class_name": "Functional",
            "registered_name": "Functional",
            "config": {"name": "net", "layers": members, "input_layers": ["x", 0, 0],
                       "output_layers": ["add", 0, 0]}}


def dense_weights(inputs: int = 4, units: int = 4, path: str = "layers/dense") -> Weights:
    rng = np.random.default_rng(0)
    return {f"{path}/vars/0": rng.standard_normal((inputs, units)).astype(np.float32),
            f"{path}/vars/1": rng.standard_normal(units).astype(np.float32)}


def hdf5(weights: Weights, edit: Callable[[h5py.File], None] | None = None) -> bytes:
    """The bytes of model.weights.h5; `edit` may spoil the file before it is closed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, array in weights.items():
            file[path] = array
        if edit is not None:
            edit(file)
    return buffer.getvalue()


def archive(path: Path, config: object, weights: bytes, *, extra: Mapping[str, bytes] | None = None,
            leave_out: str = "", version: str = "3.9.0",
            compression: int = zipfile.ZIP_STORED) -> Path:
    """Writes an archive; `config` is dumped as JSON unless it is bytes."""
    parts = {"metadata.json": json.dumps({"keras_version": version}).encode(),
             "config.json": config if isinstance(config, bytes) else json.dumps(config).encode(),
             "model.weights.h5": weights, **(extra or {})}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in parts.items():
            if name != leave_out:
                file.writestr(zipfile.ZipInfo(name), data, compression)
    return path
