"""A live Keras 3 model as a Model, through its configuration and weights. Keras is not imported."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.keras.config import Origin, Reading, build
from ganglion.layers.base import Layer

Array = np.ndarray


class KerasLayer(Protocol):
    """What is asked of a layer of the live model."""

    @property
    def name(self) -> str: ...

    def get_weights(self) -> list[Array]: ...

    def set_weights(self, weights: list[Array]) -> None: ...


class KerasModel(Protocol):
    """What is asked of the live model: any backend's Sequential or Functional has it."""

    def get_config(self) -> Mapping[str, object]: ...

    @property
    def layers(self) -> Sequence[KerasLayer]: ...


def from_keras(model: KerasModel) -> ir.Model:
    """The Model that computes what `model.predict` does, with the weights that it has now.

    Raises UnsupportedOp naming the layer for what has no counterpart here, ModelError for a
    model that was never built or whose weights are not finite.
    """
    if not hasattr(model, "get_config") or not hasattr(model, "layers"):
        raise ModelError(f"expected a Keras model, found {type(model).__name__}")
    config = model.get_config()
    if not isinstance(config, Mapping) or "layers" not in config:
        raise UnsupportedOp(f"{type(model).__name__} is a subclass of keras.Model with code of its "
                            "own; describe it with keras.Sequential or the functional interface")
    reading = Reading()
    net = reading.net(config)
    taken: dict[Layer, list[Array]] = {}

    def source(layer: Layer, name: str, path: tuple[str, ...], index: int,
               shape: tuple[int, ...]) -> Array:
        if layer not in taken:
            taken[layer] = list(find_layer(model, reading.origins[layer]).get_weights())
        if not taken[layer]:
            raise ModelError(f"layer {name!r} has fewer weights than its configuration asks for; "
                             f"missing {path[-1]} {list(shape)}")
        return checked(taken[layer].pop(0), f"layer {name!r}: {path[-1]}")

    made = build(reading, net, source)
    for layer, rest in taken.items():
        if rest:
            raise UnsupportedOp(f"layer {layer.name!r} has {len(rest)} weights more than its "
                                "configuration asks for")
    return made


def checked(array: Array, what: str) -> Array:
    """The array as float32. Raises ModelError for other than finite numbers."""
    if array.dtype.kind not in "fiu":
        raise ModelError(f"{what} has the type {array.dtype}, expected floating point numbers")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise ModelError(f"{what} holds NaN or infinity (or numbers beyond float32); "
                         "the training that made it diverged")
    return single


def find_layer(model: KerasModel, origin: Origin) -> KerasLayer:
    """The live layer that stands at `origin`."""
    layers: Sequence[KerasLayer] = model.layers
    found: KerasLayer | None = None
    for name in origin.names:
        found = next((layer for layer in layers if layer.name == name), None)
        if found is None:
            raise ModelError(f"the model has no layer {'.'.join(origin.names)!r}, "
                             "which its configuration names")
        layers = getattr(found, "layers", ())
    if found is None:
        raise ModelError("a layer without a name cannot be found")
    return found
