"""Post-training quantisation to int8, written as QuantizeLinear and DequantizeLinear."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.compression.quantization.calibrate import Arrays
from ganglion.compression.quantization.learned import is_aware, take_out
from ganglion.compression.quantization.measured import measure, require_float, simplified
from ganglion.compression.quantization.products import Ends, product_codes
from ganglion.compression.quantization.scales import Scale, quantized_weights, weight_scales
from ganglion.compression.quantization.selection import bias_add, weight_axis
from ganglion.compression.quantization.sites import (
    Rounding,
    WeightRounding,
    roundings,
    stored_places,
    weight_of,
)
from ganglion.errors import DataError, ModelError
from ganglion.ops import marks
from ganglion.ops.base import Op
from ganglion.ops.facts import is_op
from ganglion.ops.graph import require_model
from ganglion.ops.named import CLIP, DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, RELU
from ganglion.passes.base import only_reader
from ganglion.passes.infer import InferShapes
from ganglion.passes.quantized.qdq import Editor, array_of, is_constant
from ganglion.passes.single_ports import single_ports


def quantize(model: ir.Model, calibration: Arrays | None = None, *, method: str = "minmax",
             percentile: float = 99.99, per_channel: bool = True, weights_only: bool = False,
             io: str = "float", weight_bits: int = 8) -> ir.Model:
    """An int8 copy of a float32 Model, standard ONNX that any ONNX runtime reads.

    Weights are int8, symmetric, with one scale an output channel (`per_channel`); activations int8
    with one scale and zero point a tensor; biases int32. Batch normalisation is folded first.
    Recurrent layers, normalisations and embeddings compute in float32; the weights of LSTM, GRU,
    RNN and embeddings are stored as int8.

    `calibration`: an array [rows, ...], a tuple of one an input, or a dict by input name; 100 to
    500 typical rows. It sets the activations' ranges by `method`: "minmax", "percentile" (leaving
    out the rarest (100 - `percentile`) % at each end) or "mse". Sigmoid, softmax, tanh and clipped
    activations keep their own range whatever it shows.
    `weights_only` leaves all activations float32 and needs no calibration.
    `io`: "float" keeps float32 inputs and outputs; "int8" gives int8 ones, whose scale and zero
    point stand in their metadata.
    `weight_bits`: 2 to 8; fewer than 8 simulate smaller weights, which are stored as int8 still.

    A Model of `quantize_aware`, trained, brings the ranges that it learned: give nothing but `io`.

    Raises DataError for empty, non-finite or unfitting calibration arrays and for settings that
    do not fit, ModelError when the Model gives NaN or is not float32.
    """
    require_model(model, "quantize")
    if io not in ("float", "int8"):
        raise DataError(f"io is {io!r}, expected \"float\" or \"int8\"")
    high = highest_code(weight_bits)
    if is_aware(model):
        others = (method, percentile, per_channel, weights_only, weight_bits)
        if calibration is not None or others != ("minmax", 99.99, True, False, 8):
            raise DataError("the network brings the ranges and bits that it was trained with; give "
                            "nothing but io")
        return _deployed(model, io)
    if weights_only and (calibration is not None or io != "float"):
        raise DataError("weights_only=True keeps all activations float, which nothing is measured "
                        "for: leave calibration and io out, or weights_only")
    model = single_ports(model)
    require_float(model, "quantize")
    copy = simplified(model)
    edit, form = Editor.extending(copy), WeightRounding(high=high)
    if weights_only:
        for node in list(copy.graph):
            _store_places(edit, node, form, per_channel, product=True)
        return copy
    measured = measure(copy, calibration, method, percentile, io)
    scales, chosen = measured.scales, measured.chosen
    rounded = roundings(scales, chosen, io)
    for node in list(copy.graph):
        if node not in chosen:
            _store_places(edit, node, form, per_channel, product=False)
        elif weight_of(node) is not None and node.inputs[0] is not None:
            axis = weight_axis(node) if per_channel else None
            _quantize_product(edit, node, scales, scales[node.inputs[0]], form, axis)
    for site in rounded:
        _through_codes(edit, site, io)
    InferShapes()(copy)
    return copy


def highest_code(weight_bits: int) -> int:
    """The greatest code of symmetric weights of so many bits; DataError outside 2 to 8."""
    if not isinstance(weight_bits, int) or not 2 <= weight_bits <= 8:
        raise DataError(f"weight_bits={weight_bits!r}: expected a whole number from 2 to 8")
    return int(2 ** (weight_bits - 1) - 1)


def _deployed(model: ir.Model, io: str) -> ir.Model:
    """What a network trained with FakeQuantize nodes becomes: codes in their very places."""
    copy = model.clone(deep_copy=True)
    learned = take_out(copy)
    edit = Editor.extending(copy)
    scales = {rounding.value: rounding.scale for rounding in learned.roundings}
    for (node, place), (form, axis) in learned.weights.items():
        x = learned.of_input(node)
        if weight_of(node) is not None and x is not None:
            _quantize_product(edit, node, scales, x, form, axis)
        else:
            _store(edit, node, place, axis, form)
    for site in learned.roundings:
        _through_codes(edit, site, io)
    InferShapes()(copy)
    return copy


def _store_places(edit: Editor, node: ir.Node, form: WeightRounding, per_channel: bool,
                  product: bool) -> None:
    """int8 storage for the weights of a node that computes in float32."""
    for place, axis in stored_places(node, product):
        _store(edit, node, place, axis if per_channel else None, form)


def _quantize_product(edit: Editor, node: ir.Node, scales: Mapping[ir.Value, Scale], x: Scale,
                      form: WeightRounding, axis: int | None) -> None:
    """Weights ⇒ DequantizeLinear of int8, the bias ⇒ DequantizeLinear of int32.

    `scales`: of the values that become codes; `x`: of the node's first input.
    """
    weights = weight_of(node)
    if weights is None:
        return
    add = bias_add(node)
    owner, place = (node, 2) if add is None else (add[0], list(add[0].inputs).index(add[1]))
    bias = owner.inputs[place] if len(owner.inputs) > place else None
    array = array_of(weights)
    real = (array_of(bias).astype(np.float64).reshape(-1)
            if bias is not None and is_constant(bias) else None)
    product = product_codes(node, array, real, Ends(x, _result(owner, scales)), axis, form)
    _replace_input(edit, node, 1, _Stored(product.codes, product.scale, axis))
    if bias is None or product.bias is None:
        return
    given = array_of(bias).shape
    codes = product.bias.reshape(given if product.bias.size == prod(given) else -1)
    if codes.dtype == np.float32:
        _put(edit, owner, place, edit.constant(codes, f"{bias.name}_counted"))
        return
    step = (x.scale * product.scale.astype(np.float64)).astype(np.float32)
    _replace_input(edit, owner, place, _Stored(
        codes, step, codes.ndim - 1 if step.size > 1 else None))


def _result(node: ir.Node, scales: Mapping[ir.Value, Scale]) -> Scale | None:
    """The scale of the codes that a product (with its bias) gives, through a clamp if one is
    right behind it."""
    value = node.outputs[0]
    clamp = only_reader(value)
    if value not in scales and clamp is not None and is_op(clamp, RELU, CLIP):
        value = clamp.outputs[0]
    return scales.get(value)


def _store(edit: Editor, node: ir.Node, place: int, axis: int | None, form: WeightRounding
           ) -> None:
    """DequantizeLinear of codes in the place of a node's weights."""
    value = node.inputs[place]
    if value is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}) has no weights at input {place}")
    array = array_of(value)
    scale = weight_scales(array, axis, form.high) if form.scale is None else form.scale
    _replace_input(edit, node, place, _Stored(
        quantized_weights(array, scale, axis, form.high), scale, axis))


@dataclass(frozen=True)
class _Stored:
    """Codes with their scales, one or one a slice along `axis`."""

    codes: np.ndarray
    scale: np.ndarray
    axis: int | None


def _replace_input(edit: Editor, node: ir.Node, place: int, stored: _Stored) -> None:
    """Puts DequantizeLinear(codes) in the place of a node's constant input."""
    old = node.inputs[place]
    if old is None:
        return
    codes = edit.constant(stored.codes, f"{old.name}_q")
    scale = edit.constant(stored.scale, f"{old.name}_scale")
    zero = edit.constant(np.zeros(stored.scale.shape, stored.codes.dtype), f"{old.name}_zero")
    axis = [] if stored.axis is None else [ir.AttrInt64("axis", stored.axis)]
    real = edit.insert(node, "DequantizeLinear", [codes, scale, zero], ir.DataType.FLOAT,
                       ir.Shape(stored.codes.shape), attributes=axis)
    _put(edit, node, place, real)


def _put(edit: Editor, node: ir.Node, place: int, new: ir.Value) -> None:
    """`new` in the place of a node's constant input, which goes where nothing else reads it."""
    old = node.inputs[place]
    node.replace_input_with(place, new)
    if old is not None and not old.uses() and old.name and not old.is_graph_output():
        edit.graph.initializers.pop(old.name, None)


def _through_codes(edit: Editor, site: Rounding, io: str) -> None:
    """value ⇒ QuantizeLinear → DequantizeLinear for the readers of a rounding."""
    value, scale = site.value, site.scale
    step = edit.constant(np.float32(scale.scale), f"{value.name}_scale")
    zero = edit.constant(np.asarray(scale.zero_point, site.dtype.numpy()),
                         f"{value.name}_zero_point")
    if io == "int8" and value.is_graph_input():
        real = _insert_after(edit, None, DEQUANTIZE_LINEAR, [value, step, zero], value, site.dtype)
        # A new type: clones of a Model share the old one.
        value.type = ir.TensorType(site.dtype)
        _describe(value, scale)
        for reader, place in site.readers:
            reader.replace_input_with(place, real)
        return
    codes = _insert_after(edit, value.producer(), QUANTIZE_LINEAR, [value, step, zero], value,
                          site.dtype)
    if not site.readers and site.output and io == "int8":
        edit.take_output(value, codes)
        _describe(codes, scale)
        return
    real = _insert_after(edit, codes.producer(), DEQUANTIZE_LINEAR, [codes, step, zero], value,
                         site.dtype)
    for reader, place in site.readers:
        reader.replace_input_with(place, real)
    if site.output:
        edit.take_output(value, codes if io == "int8" else real)
        if io == "int8":
            _describe(codes, scale)


def _describe(value: ir.Value, scale: Scale) -> None:
    value.metadata_props[marks.SCALE] = repr(scale.scale)
    value.metadata_props[marks.ZERO_POINT] = str(scale.zero_point)


def _insert_after(edit: Editor, maker: ir.Node | None, op: Op, inputs: list[ir.Value],
                  like: ir.Value, codes: ir.DataType) -> ir.Value:
    coded = op is QUANTIZE_LINEAR
    node = ir.Node("", op.name, inputs, num_outputs=1, name=edit.fresh(f"{like.name}_{op.name}"))
    out = node.outputs[0]
    out.name = edit.fresh(f"{like.name}_{'codes' if coded else 'real'}")
    out.shape = like.shape
    out.type = ir.TensorType(codes if coded else ir.DataType.FLOAT)
    return edit.behind(maker, node)
