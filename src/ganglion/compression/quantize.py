"""Post-training quantisation to int8, written as QuantizeLinear and DequantizeLinear."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.compression.calibrate import Arrays, Ranges, ranges
from ganglion.compression.scales import (
    Scale,
    asymmetric,
    quantized_weights,
    symmetric,
    weight_scales,
    within,
)
from ganglion.compression.selection import (
    PRODUCTS,
    Group,
    bias_add,
    carriers,
    groups,
    integer_nodes,
    is_activation,
    weight_axis,
)
from ganglion.errors import DataError, ModelError
from ganglion.ops.graph import require_model
from ganglion.passes.fold_batch_norm import SplitBatchNorm
from ganglion.passes.infer import InferShapes
from ganglion.passes.pipeline import inference_passes, run
from ganglion.passes.qdq import Editor, array_of, is_constant
from ganglion.passes.split_gemm import SplitGemm

SCALE_KEY, ZERO_POINT_KEY = "ganglion.scale", "ganglion.zero_point"
"""Metadata of an int8 input or output: real = (code - zero_point) · scale."""

RECURRENT = ("LSTM", "GRU", "RNN")
LEAST_COMPRESSED_BYTES = 256
"""Smaller constants of operators that stay float are left as they are."""


def quantize(model: ir.Model, calibration: Arrays | None = None, *, method: str = "minmax",
             percentile: float = 99.99, per_channel: bool = True, weights_only: bool = False,
             io: str = "float") -> ir.Model:
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

    Raises DataError for empty, non-finite or unfitting calibration arrays, ModelError when the
    Model gives NaN or is not float32.
    """
    require_model(model, "quantize")
    if io not in ("float", "int8"):
        raise DataError(f"io is {io!r}, expected \"float\" or \"int8\"")
    copy = _simplified(model)
    edit = Editor(copy.graph)
    if weights_only:
        for node in list(copy.graph):
            _store_weights(edit, node, per_channel, product=node.op_type in PRODUCTS)
        return copy
    if calibration is None:
        raise DataError("quantize needs calibration rows for the activations' ranges; give 100 to "
                        "500 typical inputs, or weights_only=True")
    chosen = integer_nodes(copy.graph)
    wanted = _with_ports(copy, carriers(chosen), io)
    shared = groups(wanted, chosen)
    names = {v.name or "" for v in wanted}
    measured = ranges(copy, calibration, names, method, percentile)
    scales = {v: scale for g in shared for scale in [_scale(g, measured)] for v in g.values}
    for node in list(copy.graph):
        if node in chosen:
            _quantize_product(edit, node, scales, per_channel)
        else:
            _store_weights(edit, node, per_channel, product=False)
    for value, scale in scales.items():
        _through_codes(edit, value, scale, chosen, io)
    InferShapes()(copy)
    return copy


def _simplified(model: ir.Model) -> ir.Model:
    """A copy with constants folded and batch normalisation in the weights; batch as it is.

    A Gemm that is more than a product and a row comes in pieces, which are quantised one by one.
    """
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.dtype in (ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16):
            raise ModelError(f"{value.name!r} is {value.dtype}; quantize expects a float32 model, "
                             "convert it first")
    if any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph):
        raise ModelError(f"model {model.graph.name!r} is quantised already; give the float model")
    copy = model.clone(deep_copy=True)
    InferShapes()(copy)
    run(copy, inference_passes())
    run(copy, (SplitBatchNorm(), SplitGemm(), *inference_passes()))
    return copy


def _with_ports(model: ir.Model, values: list[ir.Value], io: str) -> list[ir.Value]:
    """With io="int8" also the float inputs and outputs that no integer node touches."""
    if io == "float":
        return values
    ports = [v for v in (*model.graph.inputs, *model.graph.outputs) if is_activation(v)]
    return list(dict.fromkeys([*values, *ports]))


def _scale(group: Group, measured: Ranges) -> Scale:
    found = [measured[v.name or ""] for v in group.values]
    lo, hi = min(r[0] for r in found), max(r[1] for r in found)
    if group.symmetric:
        lo, hi = max(lo, group.bounds[0]), min(hi, group.bounds[1])
        return symmetric(*((0.0, 1.0) if group.fixed and group.fixed.zero_point else (lo, hi)))
    if group.fixed is not None:
        return group.fixed
    if np.isinf(group.bounds).all():
        return asymmetric(lo, hi)
    return within(lo, hi, group.bounds)


def _quantize_product(edit: Editor, node: ir.Node, scales: Mapping[ir.Value, Scale],
                      per_channel: bool) -> None:
    """Weights ⇒ DequantizeLinear of int8, the bias ⇒ DequantizeLinear of int32."""
    if node.op_type not in PRODUCTS or node.inputs[0] is None:
        return
    weights = node.inputs[1]
    if weights is None or not is_constant(weights):
        return
    x = scales[node.inputs[0]]
    axis = weight_axis(node) if per_channel else None
    add = bias_add(node)
    owner, place = (node, 2) if add is None else (add[0], list(add[0].inputs).index(add[1]))
    bias = owner.inputs[place] if len(owner.inputs) > place else None
    least: np.ndarray | float = 0.0
    if bias is not None and is_constant(bias):
        # A bias must stay below 2^30 steps, so that sums keep clear of int32's end.
        most = np.abs(array_of(bias).astype(np.float64)).reshape(-1)
        most = most if axis is not None and most.size > 1 else most.max(initial=0.0)
        least = most / (2.0 ** 30 * x.scale)
    w_scale = weight_scales(array_of(weights), axis, least)
    _replace_input(edit, node, 1, _Stored(
        quantized_weights(array_of(weights), w_scale, axis), w_scale, axis))
    if bias is not None and is_constant(bias):
        real = array_of(bias).astype(np.float64)
        steps = np.asarray(x.scale * w_scale.astype(np.float64))
        codes = np.rint(real.reshape(-1) / steps).astype(np.int32).reshape(real.shape)
        many = steps.size > 1
        _replace_input(edit, owner, place, _Stored(
            codes, steps.astype(np.float32), real.ndim - 1 if many else None))


def _store_weights(edit: Editor, node: ir.Node, per_channel: bool, product: bool) -> None:
    """int8 storage for the weights of a node that computes in float32."""
    if node.domain != "":
        return
    places: tuple[tuple[int, int | None], ...] = ()
    if node.op_type in RECURRENT:
        places = ((1, 1), (2, 1))
    elif node.op_type == "Gather":
        places = ((0, None),)
    elif product:
        places = ((1, weight_axis(node)),)
    for place, axis in places:
        value = node.inputs[place]
        if value is None or not is_constant(value) or value.dtype != ir.DataType.FLOAT:
            continue
        array = array_of(value)
        if array.nbytes < LEAST_COMPRESSED_BYTES:
            continue
        kept = axis if per_channel else None
        scale = weight_scales(array, kept)
        _replace_input(edit, node, place, _Stored(quantized_weights(array, scale, kept), scale,
                                                  kept))


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
    node.replace_input_with(place, real)
    if not old.uses() and old.name is not None and not old.is_graph_output():
        edit.graph.initializers.pop(old.name, None)


def _through_codes(edit: Editor, value: ir.Value, scale: Scale, chosen: dict[ir.Node, None],
                   io: str) -> None:
    """value ⇒ QuantizeLinear → DequantizeLinear for those readers that compute on codes.

    All readers of what an integer node makes read it so, the graph's outputs among them.
    """
    maker = value.producer()
    readers = [u for u in value.uses() if u.node in chosen or maker in chosen or io == "int8"]
    step = edit.constant(np.float32(scale.scale), f"{value.name}_scale")
    zero = edit.constant(np.int8(scale.zero_point), f"{value.name}_zero_point")
    if io == "int8" and value.is_graph_input():
        real = _insert_after(edit, None, "DequantizeLinear", [value, step, zero], value)
        # A new type: clones of a Model share the old one.
        value.type = ir.TensorType(ir.DataType.INT8)
        _describe(value, scale)
        for use in readers:
            use.node.replace_input_with(use.idx, real)
        return
    codes = _insert_after(edit, maker, "QuantizeLinear", [value, step, zero], value)
    output = value.is_graph_output() and (maker in chosen or io == "int8")
    if not readers and output and io == "int8":
        _take_output(edit, value, codes)
        _describe(codes, scale)
        return
    real = _insert_after(edit, codes.producer(), "DequantizeLinear", [codes, step, zero], value)
    for use in readers:
        use.node.replace_input_with(use.idx, real)
    if output:
        _take_output(edit, value, codes if io == "int8" else real)
        if io == "int8":
            _describe(codes, scale)


def _take_output(edit: Editor, old: ir.Value, new: ir.Value) -> None:
    """`new` becomes the graph output in the place and under the name of `old`."""
    name = old.name
    place = list(edit.graph.outputs).index(old)
    edit.graph.outputs[place] = new
    old.name, new.name = edit.fresh(f"{name}_float"), name


def _describe(value: ir.Value, scale: Scale) -> None:
    value.metadata_props[SCALE_KEY] = repr(scale.scale)
    value.metadata_props[ZERO_POINT_KEY] = str(scale.zero_point)


def _insert_after(edit: Editor, maker: ir.Node | None, name: str, inputs: list[ir.Value],
                  like: ir.Value) -> ir.Value:
    node = ir.Node("", name, inputs, num_outputs=1, name=edit.fresh(f"{like.name}_{name}"))
    out = node.outputs[0]
    out.name = edit.fresh(f"{like.name}_{'codes' if name == 'QuantizeLinear' else 'real'}")
    out.shape = like.shape
    out.type = ir.TensorType(ir.DataType.INT8 if name == "QuantizeLinear" else ir.DataType.FLOAT)
    if maker is not None:
        edit.graph.insert_after(maker, node)
    elif len(edit.graph):
        edit.graph.insert_before(edit.graph[0], node)
    else:
        edit.graph.append(node)
    return out
