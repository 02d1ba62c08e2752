"""Reading nodes and values: attributes as plain values, shapes as numbers."""

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError


def attributes(node: ir.Node) -> dict[str, object]:
    """The node's attributes as plain Python values; tensors as arrays."""
    plain: dict[str, object] = {}
    for name, attr in node.attributes.items():
        value = attr.value
        if attr.type == ir.AttributeType.TENSOR:
            value = attr.as_tensor().numpy()
        elif attr.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS,
                           ir.AttributeType.STRINGS):
            value = list(value)
        plain[name] = value
    return plain


def dims(value: ir.Value) -> list[int | str | None]:
    """The shape with symbolic dimensions by name and unknown ones as None."""
    if value.shape is None:
        raise ModelError(f"value {value.name!r} has no shape; run shape inference first")
    return [d if isinstance(d, int) else d.value for d in value.shape]


FIX_SHAPES = ("give the sizes of its inputs: ganglion.load(path, shapes={\"x\": [1, 224, 224, 3]}) "
              "or ganglion.compile(model, shapes=...), --shape x=1,224,224,3 on the command line")
"""What to do about dimensions that are not numbers."""


def static_shape(value: ir.Value | None) -> tuple[int, ...]:
    """The shape as integers; ModelError when a dimension is symbolic or unknown, or when a
    required value is absent."""
    if value is None:
        raise ModelError("a required input is absent")
    if value.shape is None:
        raise ModelError(f"value {value.name!r} has no shape; run shape inference first")
    found = []
    for d in value.shape:
        if not isinstance(d, int):
            raise ModelError(f"value {value.name!r} has the dynamic shape {dims(value)}; "
                             f"{FIX_SHAPES}")
        found.append(d)
    return tuple(found)


def known_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape if every dimension is a number."""
    if value is None or value.shape is None:
        return None
    found = tuple(d for d in value.shape if isinstance(d, int))
    return found if len(found) == len(value.shape) else None


def numpy_dtype(value: ir.Value) -> np.dtype[np.generic]:
    """The type of the elements. Raises ModelError where it is not known."""
    if value.dtype is None:
        raise ModelError(f"value {value.name!r} has no dtype")
    return value.dtype.numpy()


def is_given(value: ir.Value | None) -> bool:
    """Whether a value depends on what a caller gives; a default counts as given."""
    waiting = [value]
    seen: set[ir.Value] = set()
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        if each.is_graph_input():
            return True
        seen.add(each)
        maker = each.producer()
        waiting += () if maker is None else maker.inputs
    return False
