"""Which values of a Model are trained, how large ones are punished, and how they are written back.

Layers mark what they create: metadata "ganglion.trainable" = "true" or "false" on a value. A Model
from elsewhere carries no marks; there every float initializer that a gradient reaches is trained,
but for those that `frozen` names.
"""

import json
from collections.abc import Container, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.base import Array
from ganglion.ops.bindings import bindings
from ganglion.ops.exported import KIND, is_float, separate_parameters
from ganglion.ops.facts import is_conversion, is_op, is_rearranged, learned_by
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.marks import CONSTANT, REGULARIZER, TRAINABLE, UNTRAINABLE
from ganglion.ops.named import ADD, BATCH_NORMALIZATION, DIV, EXP, MUL, SUB
from ganglion.ops.registry import find

STATISTIC = "a running statistic, which batches move, not gradients"
PARAMETER = "PARAMETER"
PYTORCH = "pytorch"
"""What PyTorch's exporters write as the producer of a file."""
_FOLDED = ("onnx::", "/")
"""How the names of what TorchScript's exporter computed itself begin."""
BUFFERS = frozenset({"mean", "std", "pixel_mean", "pixel_std", "image_mean", "image_std", "mask",
                     "attn_mask", "inv_freq", "pe", "running_mean", "running_var"})
"""Last parts of names that are buffers by convention, for files that do not tell them apart."""


def trainable(model: ir.Model) -> list[ir.Value]:
    """The initializers that are trained unless something else is asked for, in the graph's order:
    all floats for which `frozen` has no reason."""
    reasons = frozen(model)
    return [v for v in model.graph.initializers.values() if is_float(v) and v not in reasons]


def frozen(model: ir.Model) -> dict[ir.Value, str]:
    """The float initializers that are not trained unless they are named, and why.

    Marks of layers decide where there are any; then what the exporter says; then the graph: what no
    gradient reaches, what shifts or scales the input before any weight, single numbers, and names
    that programs give to buffers. Decision 30 has the whole rule.
    """
    graph = model.graph
    floats = [v for v in graph.initializers.values() if is_float(v)]
    rules: list[tuple[Container[ir.Value], str]] = [
        (statistics(model), STATISTIC), (_masks(floats), "holds -infinity, as masks do")]
    if any(TRAINABLE in v.metadata_props for v in graph.initializers.values()):
        rules += [(_marked(floats, TRAINABLE, "false"), "its layer is not trainable"),
                  ([v for v in floats if TRAINABLE not in v.metadata_props],
                   "a constant of its layer")]
    else:
        products = {origin(v) for node in graph for k in learned_by(node)
                    if k < len(node.inputs) and (v := node.inputs[k]) is not None}
        kinds = any(KIND in v.metadata_props for v in floats)
        rules += [
            (_marked(floats, CONSTANT, "true"), "a constant of the graph, not a weight"),
            ([v for v in floats if v.metadata_props.get(KIND, PARAMETER) != PARAMETER],
             "a buffer, or set not to learn, where it comes from"),
            ([v for v in floats if kinds and KIND not in v.metadata_props
              and (v not in products or _is_single(v))],
             "computed by the exporter, not a parameter"),
            (_input_constants(model), "shifts or scales the input before any weight"),
            ([v for v in floats if not kinds and _is_buffer(v)],
             "named as programs name buffers"),
            ([v for v in floats if not kinds and v.shape is not None and len(v.shape) == 0
              and not (model.producer_name == PYTORCH and not str(v.name).startswith(_FOLDED))],
             "a single number, as constants are"),
            (unreached(model), "no gradient reaches it")]
    return {v: next(why for values, why in rules if v in values) for v in floats
            if any(v in values for values, _ in rules)}


def _masks(values: Sequence[ir.Value]) -> list[ir.Value]:
    return [v for v in values if v.const_value is not None
            and np.isneginf(v.const_value.numpy().astype(np.float32)).any()]


def statistics(model: ir.Model) -> set[ir.Value]:
    """The running means and variances."""
    return {v for node in model.graph if is_op(node, BATCH_NORMALIZATION)
            for v in node.inputs[3:5] if v is not None}


def unreached(model: ir.Model) -> set[ir.Value]:
    """The initializers from which no path of operators with a gradient leads to an output."""
    found = set(model.graph.outputs)
    for node in reversed(model.graph):
        row = find(node.domain, node.op_type)
        if row is not None and row.vjp is not None and any(v in found for v in node.outputs):
            found.update(v for v in node.inputs if v is not None)
    return {v for v in model.graph.initializers.values() if v not in found}


def _marked(values: Sequence[ir.Value], key: str, text: str) -> set[ir.Value]:
    return {v for v in values if v.metadata_props.get(key) == text}


def _is_single(value: ir.Value) -> bool:
    """Whether there is one number in it, as in what an exporter adds under a root."""
    return value.const_value is not None and value.const_value.size == 1


def _is_buffer(value: ir.Value) -> bool:
    return str(value.name).rpartition(".")[2].rpartition("/")[2] in BUFFERS


def _input_constants(model: ir.Model) -> set[ir.Value]:
    """What is subtracted from the input, or divides it, before anything else but such constants,
    single numbers and moves of it."""
    raw = {v for v in model.graph.inputs if not v.is_initializer()}
    found: set[ir.Value] = set()
    for node in model.graph:
        first = node.inputs[0] if node.inputs else None
        scales = is_op(node, SUB, DIV, MUL, ADD) or is_conversion(node)
        if first not in raw or not (_shows(node) or scales):
            continue
        others = [v for v in node.inputs[1:] if v is not None and is_float(v)]
        if is_op(node, SUB, DIV):
            found.update(v for v in others if v.is_initializer())
        if all(v in found or (v.shape is not None and len(v.shape) == 0) for v in others):
            raw.update(node.outputs)
    return found


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
            array = value.const_value.numpy().astype(np.float32)
            bad = int((~np.isfinite(array) & ~np.isneginf(array)).sum())
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
    """A copy of `model` whose initializers of these names hold these values; parameters that an
    exporter joined are apart in it.

    Raises DataError for a name that the Model does not have or a value of another shape.
    """
    copy = model.clone()
    separate_parameters(copy)
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
    while node is not None and _shows(node) and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _shows(node: ir.Node) -> bool:
    """What may stand between an initializer and the operator that learns it: exporters move
    weights, quantisation rounds them and keeps the logarithm of a scale."""
    return is_rearranged(node) or is_fake_quantize(node) or is_op(node, EXP)


def is_float_array(value: ir.Value) -> bool:
    return is_float(value) and value.shape is not None and len(value.shape) >= 1


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
