"""Training towards int8: the places that `quantize` rounds, rounded while the network learns."""

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.calibrate import Arrays
from ganglion.compression.quantization.measured import Measured, measure, require_float, simplified
from ganglion.compression.quantization.quantize import highest_code
from ganglion.compression.quantization.scales import (
    HIGH,
    LOW,
    Scale,
    along,
    least_error_scales,
    weight_scales,
)
from ganglion.compression.quantization.selection import Group, weight_axis
from ganglion.compression.quantization.sites import (
    Rounding,
    roundings,
    stored_places,
    weight_of,
)
from ganglion.ops import marks
from ganglion.ops.facts import learned_by
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.ops.graph import require_model
from ganglion.ops.marks import PRUNED, TRAINABLE
from ganglion.ops.values import static_shape
from ganglion.passes.infer import InferShapes
from ganglion.passes.pipeline import inference_passes
from ganglion.passes.quantized.qdq import Editor, array_of
from ganglion.passes.quantized.rounding import (
    learned_scale,
    rounding_node,
    row_elements,
)
from ganglion.passes.simplify.common_subexpressions import CommonSubexpressions
from ganglion.passes.single_ports import single_ports
from ganglion.training.step.weights import is_float_array, origin, trainable


def quantize_aware(model: ir.Model, calibration: Arrays, *, method: str = "minmax",
                   percentile: float = 99.99, per_channel: bool = True,
                   weight_bits: int = 8) -> ir.Model:
    """A float Model to train on, which rounds what `quantize` will round, and by the same codes.

    x → Conv(w) → ...  ⇒  FakeQuantize(x, s) → Conv(FakeQuantize(w, t)) → ...

    Start from a trained network; train the result with `fit` for a few epochs at a low learning
    rate; then `quantize(trained)` gives the int8 Model, without calibration.

    Gradients pass a rounding straight through, except outside its range (`ops.fake_quantization`).
    The scales are learned along with the weights (Esser et al., "Learned Step Size Quantization",
    ICLR 2020), as logarithms, so that they stay positive and any optimiser moves them by a share
    of themselves (Jain et al., "Trained Quantization Thresholds", MLSys 2020). Activations start
    from `calibration` with the arguments of `quantize`; weights from their largest element, those
    of fewer than 8 bits from the scale of least squared error. Zero points stay.

    Batch normalisation is folded by its running statistics before training, as it is for
    deployment, and what it became is trained as weight and bias: the network that learns is the
    one that will run. Dropout is left out. `weight_bits`: as `quantize`.

    Raises DataError and ModelError as `quantize`.
    """
    require_model(model, "quantize_aware")
    model = single_ports(model)
    require_float(model, "quantize_aware")
    high = highest_code(weight_bits)
    copy = _simplified(model)
    measured = measure(copy, calibration, method, percentile, "float", "quantize_aware")
    sites = roundings(measured.scales, measured.chosen, "float")
    edit = Editor.extending(copy)
    _round_weights(edit, measured, per_channel, high)
    _round_activations(edit, measured, sites)
    InferShapes()(copy)
    return copy


def _simplified(model: ir.Model) -> ir.Model:
    """As `quantize` simplifies, but equal weights stay apart, and what is trained is marked."""
    marked = model.clone(deep_copy=True)
    trained = set(trainable(marked))
    for node in marked.graph:
        read = [origin(v) for v in _read(node)]
        if any(v in trained for v in read):
            node.metadata_props[marks.LEARNS] = "true"
        if any(PRUNED in v.metadata_props for v in read):
            node.metadata_props[marks.THIN] = "true"
    passes = [p for p in inference_passes() if not isinstance(p, CommonSubexpressions)]
    copy = simplified(marked, [CommonSubexpressions(constants=False), *passes])
    for value in copy.graph.initializers.values():
        value.metadata_props.pop(TRAINABLE, None)
    for node in copy.graph:
        if node.metadata_props.pop(marks.LEARNS, None):
            for value in map(origin, _read(node)):
                if value.is_initializer() and is_float_array(value):
                    value.metadata_props[TRAINABLE] = "true"
        if node.metadata_props.pop(marks.THIN, None):
            for value in map(origin, _read(node)):
                if value.is_initializer() and len(static_shape(value)) > 1:
                    value.metadata_props[PRUNED] = "true"
    return copy


def _read(node: ir.Node) -> list[ir.Value]:
    places = () if is_fake_quantize(node) else learned_by(node)
    return [v for k in places if k < len(node.inputs) and (v := node.inputs[k]) is not None]


def _round_weights(edit: Editor, measured: Measured, per_channel: bool, high: int) -> None:
    """FakeQuantize in front of every weight that `quantize` stores as codes; one for a weight
    that several nodes read alike."""
    made: dict[tuple[ir.Value, int | None], ir.Value] = {}
    for node in list(edit.graph):
        places = stored_places(node, product=False)
        if node in measured.chosen:
            places = [] if weight_of(node) is None else [(1, weight_axis(node))]
        for place, axis in places:
            weight = node.inputs[place]
            kept = axis if per_channel else None
            if weight is None:
                continue
            if (weight, kept) not in made:
                made[weight, kept] = _rounded_weight(edit, node, weight, kept, high)
            node.replace_input_with(place, made[weight, kept])


def _rounded_weight(edit: Editor, node: ir.Node, weight: ir.Value, axis: int | None,
                    high: int) -> ir.Value:
    array = array_of(weight)
    scales = (weight_scales(array, axis) if high == HIGH
              else least_error_scales(array, axis, high))
    scales = _for_growth(array, scales, axis)
    scale = _learned(edit, str(weight.name), along(scales, axis, array.ndim))
    step = rounding_node(edit, weight, scale, (0, -high, high), array.size / scales.size)
    edit.graph.insert_before(node, step)
    return step.outputs[0]


def _for_growth(weights: np.ndarray, scales: np.ndarray, axis: int | None) -> np.ndarray:
    """The scales, those of channels without weights as the largest of the others: in steps of 1
    their weights would stay zero however they learn."""
    axes = tuple(i for i in range(weights.ndim) if i != axis) if axis is not None else None
    alive = weights.any(axis=axes)
    most = scales.max(initial=0.0, where=alive)
    return np.asarray(np.where(alive | (most == 0), scales, most), np.float32)


def _round_activations(edit: Editor, measured: Measured, sites: list[Rounding]) -> None:
    scale_of: dict[ir.Value, ir.Value] = {}
    for group, scale in measured.groups:
        shared = _group_scale(edit, group, scale)
        scale_of |= dict.fromkeys(group.values, shared)
    for site in sites:
        value = site.value
        step = rounding_node(edit, value, scale_of[value], (site.scale.zero_point, LOW, HIGH),
                             row_elements(value))
        rounded = edit.behind(value.producer() or scale_of[value].producer(), step)
        for reader, place in site.readers:
            reader.replace_input_with(place, rounded)
        if site.output:
            edit.take_output(value, rounded)


def _group_scale(edit: Editor, group: Group, scale: Scale) -> ir.Value:
    """One scale for the group: a constant where no data decides it, else learned."""
    name = str(group.values[0].name)
    if group.fixed is not None:
        return edit.constant(np.float32(scale.scale), f"{name}_scale")
    return _learned(edit, name, np.array([scale.scale], np.float32))


def _learned(edit: Editor, name: str, scale: np.ndarray) -> ir.Value:
    """A scale that is trained."""
    value, logarithm = learned_scale(edit, name, scale)
    logarithm.metadata_props[TRAINABLE] = "true"
    return value
