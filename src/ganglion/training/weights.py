"""Which values of a Model are trained, how large ones are punished, and how they are written back.

Layers mark what they create: metadata "ganglion.trainable" = "true" or "false" on a value. A Model
from elsewhere carries no marks; there the role of an initializer decides.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.base import Array
from ganglion.ops.bindings import bindings
from ganglion.ops.fake_quantization import NAME as FAKE_QUANTIZE
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.marks import REGULARIZER, TRAINABLE, UNTRAINABLE

LEARNED_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "Add": (0, 1),
    "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2), "Gather": (0,), "PRelu": (1,), FAKE_QUANTIZE: (1,),
}
"""Operator -> numbers of the inputs that hold what is learned."""

_MOVES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity",
                    FAKE_QUANTIZE, "Exp"})
"""What may stand between an initializer and the operator that learns it: exporters move weights,
quantisation rounds them and keeps the logarithm of a scale."""


def trainable(model: ir.Model) -> list[ir.Value]:
    """The initializers to train, in the graph's order: float, at least one dimension.

    With marks: those marked "true". Without any mark: those that `LEARNED_INPUTS` names.
    """
    graph = model.graph
    candidates = [v for v in graph.initializers.values() if is_float_array(v)]
    if any(TRAINABLE in v.metadata_props for v in graph.initializers.values()):
        return [v for v in candidates if v.metadata_props.get(TRAINABLE) == "true"]
    learned = {origin(v) for node in graph for k in LEARNED_INPUTS.get(node.op_type, ())
               if k < len(node.inputs) and (v := node.inputs[k]) is not None}
    statistics = {v for node in graph if node.op_type == "BatchNormalization"
                  for v in node.inputs[3:5]}
    return [v for v in candidates if v in learned and v not in statistics]


def require_trainable(model: ir.Model) -> None:
    """Raises ModelError for a network whose training would not do what was asked for: quantised,
    with state of its own, with a node that says so itself, or with weights that are not finite."""
    for node in model.graph:
        reason = node.metadata_props.get(UNTRAINABLE)
        if reason is not None:
            raise ModelError(f"node {node.name!r} ({node.op_type}) cannot be trained: {reason}")
        rounds = "Quantize" in node.op_type or node.op_type.startswith("QLinear")
        if rounds and not is_fake_quantize(node):
            raise ModelError(
                f"node {node.name!r} ({node.op_type}): the network is quantised, and its rounded "
                "weights have no gradient; train the float network, or give fit the network with "
                "QuantizeLinear and DequantizeLinear, whose float shadow it trains")
    if bindings(model):
        raise ModelError(f"the network keeps state between calls ({bindings(model)[0].input!r}); "
                         "train the network that takes whole sequences, then make it streaming")
    for name, value in model.graph.initializers.items():
        if is_float_array(value) and value.const_value is not None:
            bad = int((~np.isfinite(value.const_value.numpy().astype(np.float32))).sum())
            if bad:
                raise ModelError(f"{bad} values of weight {name!r} are NaN or infinite; "
                                 "start from a sound copy of the network")


def penalty(g: GraphBuilder, weights: Sequence[ir.Value]) -> list[ir.Value]:
    """l1·Σ|w| and l2·Σw² of every weight that carries a regularizer, each of shape [].

    Raises ModelError for metadata that is not {"l1": number, "l2": number}.
    """
    found = []
    for weight in weights:
        l1, l2 = _factors(weight)
        parts = [(l1, g.op("Abs", weight))] if l1 else []
        parts += [(l2, g.op("Mul", weight, weight))] if l2 else []
        for factor, each in parts:
            found.append(g.op("Mul", g.op("ReduceSum", each, keepdims=0),
                              g.scalar(factor, weight)))
    return found


def write_back(model: ir.Model, values: Mapping[str, Array]) -> ir.Model:
    """A copy of `model` whose initializers of these names hold these values.

    Raises DataError for a name that the Model does not have or a value of another shape.
    """
    copy = model.clone()
    for name, array in values.items():
        value = copy.graph.initializers.get(name)
        if value is None or value.const_value is None:
            raise DataError(f"the network has no weight {name!r}; it has "
                            f"{sorted(copy.graph.initializers)[:20]}")
        old = value.const_value
        if tuple(old.shape.numpy()) != array.shape:
            raise DataError(f"weight {name!r} has shape {list(old.shape)}, found "
                            f"{list(array.shape)}")
        kept = np.array(array, dtype=old.dtype.numpy())
        value.const_value = ir.tensor(kept, name=name)
    return copy


def origin(value: ir.Value) -> ir.Value:
    """The value that this one shows in another shape or order, or rounded."""
    node = value.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def is_float_array(value: ir.Value) -> bool:
    return (value.dtype is not None and value.dtype.is_floating_point()
            and value.shape is not None and len(value.shape) >= 1)


def _factors(weight: ir.Value) -> tuple[float, float]:
    text = weight.metadata_props.get(REGULARIZER)
    if text is None:
        return 0.0, 0.0
    try:
        found = json.loads(text)
        return float(found.get("l1", 0.0)), float(found.get("l2", 0.0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"weight {weight.name!r}: metadata {REGULARIZER!r} is {text!r}; expected "
                         'JSON like {"l1": 0.0, "l2": 0.01}') from error
