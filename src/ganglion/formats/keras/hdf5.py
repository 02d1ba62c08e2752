"""Files of Keras 2 and of `model.save("name.h5")`: configuration and weights in one HDF5 file.

The configuration stands in the attribute `model_config`, in Keras 2's words, which are put into
those of Keras 3; the weights in `model_weights`, a group a layer, in the order of `weight_names`.
The file may come from a stranger: links and exotic storage are refused (`stored`).
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.files import read_regular
from ganglion.formats.keras.archive import json_object
from ganglion.formats.keras.config import NETWORKS, Reading, build
from ganglion.formats.keras.layers import Json, check_origin, items, mapping_of, objects, text
from ganglion.formats.keras.stored import Stored, damage, member, opened
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.layers.base import Layer
from ganglion.ops.shapes import Shapes

MAX_FILE_BYTES = 4 << 30


def load_hdf5(path: Path | str, limits: Limits = DEFAULT, shapes: Shapes | None = None) -> ir.Model:
    """Reads a Sequential or functional network with its weights; `shapes` as `load_keras`.

    Raises TrustError for what no honest file holds, UnsupportedOp naming the layer for what has no
    counterpart here, ModelError for a damaged file and for one that holds weights alone.
    """
    path = Path(path)
    data = read_regular(path, ModelError, MAX_FILE_BYTES)
    with opened(data, path, "the file") as file:
        entry = _configuration(file, path)
        kind = text(entry, "class_name", f"{path}: the network")
        if kind not in NETWORKS:
            raise ModelError(f"{path} holds a {kind}; expected a Sequential or functional network")
        reading = Reading(shapes=shapes or {})
        net = reading.net(_network(entry, str(path)))
        return build(reading, net, _InOrder(file, reading, path, limits), limits)


def _configuration(file: h5py.File, path: Path) -> Json:
    with damage(path, "the file"):
        found = file.attrs.get("model_config")
    if found is None:
        raise ModelError(f"{path} holds no network, only weights: build the network in Keras, "
                         "model.load_weights(this file), then model.save('name.keras')")
    raw = found if isinstance(found, bytes) else str(found).encode()
    return json_object(raw, f"{path}: model_config")


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


class _InOrder(Stored):
    """The weights of a layer one after another, whatever they are called."""

    def __init__(self, file: h5py.File, reading: Reading, path: Path, limits: Limits) -> None:
        super().__init__(file, reading, path, limits, "the file")
        self._left: dict[str, list[h5py.Dataset]] = {}

    def find(self, layer: Layer, path: tuple[str, ...], index: int, where: str) -> h5py.Dataset:
        own = self.reading.origins[layer].names[-1]
        if own not in self._left:
            self._left[own] = self._listed(own, where)
        if not self._left[own]:
            raise ModelError(f"{where} is missing in the file")
        return self._left[own].pop(0)

    def _listed(self, layer: str, where: str) -> list[h5py.Dataset]:
        group = self.file
        for part in ("model_weights", layer):
            group = member(group, part, h5py.Group, where)
        found = []
        for name in group.attrs.get("weight_names", []):
            *folders, last = (name.decode() if isinstance(name, bytes) else str(name)).split("/")
            inner = group
            for part in folders:
                inner = member(inner, part, h5py.Group, where)
            found.append(member(inner, last, h5py.Dataset, where))
        return found
