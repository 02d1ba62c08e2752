"""Files of Keras 2 and of `model.save("name.h5")`: configuration and weights in one HDF5 file.

The configuration stands in the attribute `model_config`, in Keras 2's words, which are put into
those of Keras 3; the weights in `model_weights`, a group a layer, in the order of `weight_names`.
The file may come from a stranger: links and exotic storage are refused, as in `archive`.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, TrustError, UnsupportedOp
from ganglion.files import MAX_JSON_BYTES, parse_json, read_regular
from ganglion.formats.keras.archive import check_storage, damage
from ganglion.formats.keras.config import NETWORKS, Reading, build
from ganglion.formats.keras.layers import Json, check_origin, items, mapping_of, objects, text
from ganglion.formats.keras.live import checked
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.layers.base import Layer
from ganglion.ops.shapes import Shapes

Array = np.ndarray
MAX_FILE_BYTES = 4 << 30


def load_hdf5(path: Path | str, limits: Limits = DEFAULT, shapes: Shapes | None = None) -> ir.Model:
    """Reads a Sequential or functional network with its weights; `shapes` as `load_keras`.

    Raises TrustError for what no honest file holds, UnsupportedOp naming the layer for what has no
    counterpart here, ModelError for a damaged file and for one that holds weights alone.
    """
    path = Path(path)
    data = read_regular(path, ModelError, MAX_FILE_BYTES)
    with damage(path, "the file"):
        file = h5py.File(io.BytesIO(data), "r")
    with file:
        entry = _configuration(file, path)
        kind = text(entry, "class_name", f"{path}: the network")
        if kind not in NETWORKS:
            raise ModelError(f"{path} holds a {kind}; expected a Sequential or functional network")
        reading = Reading(shapes=shapes or {})
        net = reading.net(_network(entry, str(path)))
        return build(reading, net, _Stored(file, reading, path, limits), limits)


def _configuration(file: h5py.File, path: Path) -> Json:
    with damage(path, "the file"):
        found = file.attrs.get("model_config")
    if found is None:
        raise ModelError(f"{path} holds no network, only weights: build the network in Keras, "
                         "model.load_weights(this file), then model.save('name.keras')")
    raw = found if isinstance(found, bytes) else str(found).encode()
    if len(raw) > MAX_JSON_BYTES:
        raise TrustError(f"{path}: model_config has {len(raw)} bytes, the limit is "
                         f"{MAX_JSON_BYTES}")
    value = parse_json(raw, ModelError, f"{path}: model_config", finite=False)
    if not isinstance(value, dict):
        raise ModelError(f"{path}: model_config must be an object, found {type(value).__name__}")
    return value


def _network(entry: Json, where: str) -> dict[str, object]:
    """A network's configuration in Keras 3's words. Networks inside others are refused."""
    config = entry.get("config")
    if isinstance(config, list):  # a Sequential before Keras 2.3
        config = {"name": "sequential", "layers": config}
        entry = {**entry, "config": config}
    config = mapping_of(entry, "config", where)
    made = [_layer(each, f"{where}: a layer") for each in objects(config, "layers", where)]
    if "input_layers" not in config and made:
        made = [*_entrance(objects(config, "layers", where)[0], made[0]), *made]
    return {**config, "layers": made}


def _entrance(given: Json, first: Json) -> list[dict[str, object]]:
    """The InputLayer that Keras 2 leaves out in front of a Sequential's first layer."""
    shape = mapping_of(given, "config", "the first layer").get("batch_input_shape")
    if first["class_name"] == "InputLayer" or shape is None:
        return []
    name = f"{text(mapping_of(first, 'config', 'a layer'), 'name', 'the first layer')}_input"
    return [{"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
             "config": {"name": name, "batch_shape": shape}}]


def _layer(entry: Json, where: str) -> dict[str, object]:
    kind = text(entry, "class_name", where)
    if kind in NETWORKS:
        raise UnsupportedOp(f"{where} is a network of its own, {kind}, which is not read from "
                            "HDF5: open the file in Keras and model.save('name.keras')")
    config = dict(mapping_of(entry, "config", f"layer {kind}"))
    shape = config.pop("batch_input_shape", None)
    if kind == "InputLayer":
        config["batch_shape"] = shape
    for flag in ("scale", "center"):  # some files hold 1 for True
        if config.get(flag) in (0, 1):
            config[flag] = bool(config[flag])
    if kind == "DepthwiseConv2D" and config.get("groups") == 1:
        del config["groups"]
    if isinstance(config.get("layer"), Mapping):
        config["layer"] = _layer(mapping_of(config, "layer", where), where)
    made = {"module": "keras.layers", "registered_name": None, **entry, "config": config}
    check_origin(made, kind, where)
    if "inbound_nodes" in entry:
        made["inbound_nodes"] = [_call(node, f"{where} {kind}")
                                 for node in items(entry, "inbound_nodes", where)]
    return made


def _call(node: object, where: str) -> dict[str, object]:
    """[["conv", 0, 0, {}], ...] in Keras 3's words."""
    if not isinstance(node, list):
        raise ModelError(f"{where}: a call must be a list of [layer, call, output, arguments]")
    tensors, kwargs = [], dict[str, object]()
    for each in node:
        if not isinstance(each, list) or len(each) not in (3, 4):
            raise ModelError(f"{where}: {each!r} must be [layer, call, output, arguments]")
        tensors.append({"class_name": "__keras_tensor__", "config": {"keras_history": each[:3]}})
        if len(each) == 4 and isinstance(each[3], dict):
            kwargs |= each[3]
    return {"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": kwargs}


class _Stored:
    """The weights of a layer one after another, as `layers.base.WeightSource`."""

    def __init__(self, file: h5py.File, reading: Reading, path: Path, limits: Limits) -> None:
        self._file, self._reading, self._path, self._limits = file, reading, path, limits
        self._left: dict[str, list[h5py.Dataset]] = {}
        self._made = 0

    def __call__(self, layer: Layer, name: str, path: tuple[str, ...], index: int,
                 shape: tuple[int, ...]) -> Array:
        where = f"{self._path}: layer {name!r}: {path[-1]}"
        with damage(self._path, "the file"):
            own = self._reading.origins[layer].names[-1]
            if own not in self._left:
                self._left[own] = self._listed(own, where)
            if not self._left[own]:
                raise ModelError(f"{where} is missing in the file")
            dataset = self._left[own].pop(0)
            if dataset.shape != shape:
                raise ModelError(f"{where} has the shape {list(dataset.shape or ())} in the file, "
                                 f"but the layer's arguments ask for {list(shape)}")
            check_storage(dataset, where)
            self._made += dataset.nbytes
            self._limits.check_bytes(self._made, self._path.stat().st_size, where)
            return checked(np.asarray(dataset[()]), where)

    def _listed(self, layer: str, where: str) -> list[h5py.Dataset]:
        group = self._member(self._member(self._file, "model_weights", where), layer, where)
        names = group.attrs.get("weight_names", [])
        found = []
        for name in names:
            member = group
            for part in (name.decode() if isinstance(name, bytes) else str(name)).split("/"):
                member = self._member(member, part, where)
            if not isinstance(member, h5py.Dataset):
                raise ModelError(f"{where}: {member.name} must be an array")
            found.append(member)
        return found

    def _member(self, group: h5py.Group, name: str, where: str) -> h5py.Group:
        """One member of a group, followed through hard links only."""
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise ModelError(f"{where} is missing in the file: {group.name} has no {name!r}")
        if not isinstance(link, h5py.HardLink):
            raise TrustError(f"{where}: {name!r} is a link out of its place in the file; no file "
                             "that Keras writes has one")
        return group[name]
