"""Weights back into the live Keras 3 model that a Model was read from."""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.keras.config import Reading, build
from ganglion.formats.keras.live import Array, KerasLayer, KerasModel, find_layer
from ganglion.layers.base import Layer
from ganglion.ops.marks import TRAINABLE

LARGEST = 2 ** 24
"""float32 tells the integers below this from each other."""


def to_keras(trained: ir.Model, model: KerasModel) -> None:
    """Puts the weights of `trained`, which `from_keras(model)` gave before it learned, into the
    live model.

    The network is read once more with the number of each element in its place, which shows where
    every element of a Keras weight stands in the Model. Nothing is written unless all of it fits.
    Raises ModelError for a Model that does not come from this one, UnsupportedOp for a weight
    that is not simply kept in another order.
    """
    reading = Reading()
    net = reading.net(model.get_config())
    asked: list[tuple[KerasLayer, tuple[int, ...]]] = []

    def number(layer: Layer, name: str, path: tuple[str, ...], index: int,
               shape: tuple[int, ...]) -> Array:
        count = int(np.prod(shape))
        if count > LARGEST:
            raise UnsupportedOp(f"layer {name!r}: weight {path[-1]!r} has {count} elements; at "
                                f"most {LARGEST} can be put back")
        asked.append((find_layer(model, reading.origins[layer]), shape))
        return np.arange(count, dtype=np.float32).reshape(shape)

    places = [v for v in build(reading, net, number).graph.initializers.values()
              if TRAINABLE in v.metadata_props]
    found: dict[KerasLayer, list[Array]] = {}
    for (layer, shape), place in zip(asked, places, strict=True):
        found.setdefault(layer, []).append(_element_by_element(trained, place, shape))
    writes: list[Callable[[], None]] = []
    for layer, arrays in found.items():
        if [a.shape for a in arrays] != [np.shape(w) for w in layer.get_weights()]:
            raise ModelError(f"layer {layer.name!r} of the Keras model has weights of other shapes "
                             "than the Model")
        writes.append(partial(layer.set_weights, arrays))
    for write in writes:
        write()


def _element_by_element(trained: ir.Model, place: ir.Value, shape: tuple[int, ...]) -> Array:
    """The Keras weight of this shape whose elements stand as the numbers in `place` say."""
    value = trained.graph.initializers.get(str(place.name))
    if value is None or value.const_value is None or place.const_value is None:
        raise ModelError(f"the Model has no weight {place.name!r}, which the Keras model has; give "
                         "the model that it was read from")
    numbers = place.const_value.numpy().ravel().astype(np.int64)
    array = value.const_value.numpy().ravel()
    if len(array) != len(numbers):
        raise ModelError(f"weight {place.name!r} has {len(array)} elements, in the Keras model "
                         f"{len(numbers)}; give the model that it was read from")
    if not np.array_equal(np.sort(numbers), np.arange(int(np.prod(shape)))):
        raise UnsupportedOp(f"weight {place.name!r} is not the Keras weight in another order, so "
                            "it cannot be put back")
    back = np.empty(len(numbers), np.float32)
    back[numbers] = array
    return back.reshape(shape)
