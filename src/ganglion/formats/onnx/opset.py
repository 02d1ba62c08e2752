"""Other opsets into the project's own, as a table of the operators whose meaning changed.

Upwards (7 to 21; `formats.onnx.oldest` has what changed before) an operator not in `UPWARDS` only
gained element types or attributes whose default is the old meaning. Downwards (22 to 28) an
operator is accepted when all that it uses existed in opset 21. Source: the changelog of the ONNX
operators.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.onnx.oldest import Rule, oldest_rules
from ganglion.ops.base import GANGLION_DOMAIN, OPSET
from ganglion.ops.graph import GraphBuilder

OLDEST = 1
NEWEST = 28


def convert_opset(model: ir.Model) -> None:
    """Rewrites the graph in place to `OPSET`. Raises UnsupportedOp naming the node that cannot."""
    version = model.graph.opset_imports.get("")
    if version is None:
        raise ModelError("the file does not say which ONNX opset it uses; save it again with the "
                         "onnx package")
    if not OLDEST <= version <= NEWEST:
        raise UnsupportedOp(f"the file uses opset {version}, supported are {OLDEST} to {NEWEST}; "
                            "export it again, or use onnx.version_converter.convert_version")
    g = GraphBuilder.extending(model)
    for node in list(model.graph):
        if node.domain != "":
            continue
        if version > OPSET:
            _downwards(node, version)
        for rule in (*oldest_rules(node.op_type), *UPWARDS.get(node.op_type, ())):
            if version < rule.until:
                rule.rewrite(g, node)
    model.graph.opset_imports.clear()
    model.graph.opset_imports.update({"": OPSET, GANGLION_DOMAIN: 1})


def _axes_to_input(g: GraphBuilder, node: ir.Node) -> None:
    """Reduce…(x, axes=[a])  ⇒  Reduce…(x, [a])"""
    axes = node.attributes.pop("axes", None)
    if axes is not None and len(axes.as_ints()):
        node.resize_inputs(2)
        node.replace_input_with(1, g.ints(*axes.as_ints()))


def _equal_split(g: GraphBuilder, node: ir.Node) -> None:
    """Split(x) into n outputs  ⇒  Split(x, num_outputs=n)"""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes.add(ir.AttrInt64("num_outputs", len(node.outputs)))


def _refuse_training(g: GraphBuilder, node: ir.Node) -> None:
    """BatchNormalization with more than one output trained, before `training_mode` said so."""
    if len(node.outputs) > 1:
        raise UnsupportedOp(f"node {node.name!r} (BatchNormalization) is in training mode; export "
                            "the network for inference")


def _half_pixel_off(g: GraphBuilder, node: ir.Node) -> None:
    """RoiAlign(...)  ⇒  RoiAlign(..., coordinate_transformation_mode="output_half_pixel")"""
    node.attributes.add(ir.AttrString("coordinate_transformation_mode", "output_half_pixel"))


def _rename_mode(g: GraphBuilder, node: ir.Node) -> None:
    """GridSample(mode="bilinear")  ⇒  GridSample(mode="linear"), and bicubic alike"""
    mode = node.attributes.get("mode")
    if mode is not None:
        text = mode.as_string()
        node.attributes.add(ir.AttrString("mode", {"bilinear": "linear",
                                                   "bicubic": "cubic"}.get(text, text)))


def _axis_to_input(g: GraphBuilder, node: ir.Node) -> None:
    """DFT(x, length, axis=a)  ⇒  DFT(x, length, a); the default was 1 and became -2"""
    axis = node.attributes.pop("axis", None)
    node.resize_inputs(3)
    node.replace_input_with(2, g.constant(np.asarray(1 if axis is None else axis.as_int())))


def _moved(g: GraphBuilder, node: ir.Node, name: str, place: int, default: Sequence[int] | None
           ) -> None:
    """The attribute `name`, a list of integers, as input number `place`."""
    given = node.attributes.pop(name, None)
    values = default if given is None else given.as_ints()
    if values is not None:
        node.resize_inputs(max(place + 1, len(node.inputs)))
        node.replace_input_with(place, g.ints(*values))


def _axes_to_second(g: GraphBuilder, node: ir.Node) -> None:
    """Squeeze(x, axes=[a])  ⇒  Squeeze(x, [a]), Unsqueeze and ReduceSum alike"""
    _moved(g, node, "axes", 1, None)


def _parts_to_input(g: GraphBuilder, node: ir.Node) -> None:
    """Split(x, split=[a, b])  ⇒  Split(x, [a, b])"""
    _moved(g, node, "split", 1, None)


def _slice_to_inputs(g: GraphBuilder, node: ir.Node) -> None:
    """Slice(x, starts=, ends=, axes=)  ⇒  Slice(x, starts, ends, axes)"""
    for place, name in enumerate(("starts", "ends", "axes"), 1):
        _moved(g, node, name, place, None)


def _pad_to_inputs(g: GraphBuilder, node: ir.Node) -> None:
    """Pad(x, pads=, value=v)  ⇒  Pad(x, pads, v)"""
    _moved(g, node, "pads", 1, None)
    _scalars_to_inputs(g, node, {"value": 2})


def _bounds_to_inputs(g: GraphBuilder, node: ir.Node) -> None:
    """Clip(x, min=a, max=b)  ⇒  Clip(x, a, b)"""
    _scalars_to_inputs(g, node, {"min": 1, "max": 2})


def _scalars_to_inputs(g: GraphBuilder, node: ir.Node, places: Mapping[str, int]) -> None:
    for name, place in places.items():
        given = node.attributes.pop(name, None)
        if given is not None:
            node.resize_inputs(max(place + 1, len(node.inputs)))
            node.replace_input_with(place, g.constant(np.asarray(given.as_float(), np.float32)))


def _drop_ratio(g: GraphBuilder, node: ir.Node) -> None:
    """Dropout(x, ratio=r)  ⇒  Dropout(x): before opset 12 it was the identity of inference"""
    node.attributes.pop("ratio", None)


def _refuse_by_position(g: GraphBuilder, node: ir.Node) -> None:
    """BatchNormalization(spatial=1)  ⇒  BatchNormalization; statistics of each position are refused
    """
    spatial = node.attributes.pop("spatial", None)
    if spatial is not None and spatial.as_int() != 1:
        raise UnsupportedOp(f"node {node.name!r} (BatchNormalization, spatial=0) has statistics of "
                            "every position; export with opset 9 or newer")


def _scales_to_input(g: GraphBuilder, node: ir.Node) -> None:
    """Upsample(x, scales=[s])  ⇒  Upsample(x, [s])"""
    scales = node.attributes.pop("scales", None)
    if scales is not None:
        node.resize_inputs(2)
        node.replace_input_with(1, g.constant(np.asarray(scales.as_floats(), np.float32)))


def _without_region(g: GraphBuilder, node: ir.Node) -> None:
    """Resize(x, scales), Upsample(x, scales)  ⇒  Resize(x, , scales) from the upper left corner"""
    node.op_type = "Resize"
    scales = node.inputs[1]
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, scales)
    node.attributes.add(ir.AttrString("coordinate_transformation_mode", "asymmetric"))
    node.attributes.add(ir.AttrString("nearest_mode", "floor"))


def _of_two_axes(g: GraphBuilder, node: ir.Node) -> None:
    """Softmax(x, axis=a)  ⇒  Reshape(Softmax(Flatten(x, a), axis=-1), Shape(x)): all axes from `a`
    on were one; the default was 1"""
    given = node.attributes.pop("axis", None)
    axis = 1 if given is None else given.as_int()
    x, y = node.inputs[0], node.outputs[0]
    node.attributes.add(ir.AttrInt64("axis", -1))
    rank = None if x is None or x.shape is None else len(x.shape)
    if x is None or (rank is not None and axis % max(rank, 1) == rank - 1):
        return
    flat = ir.node("Flatten", [x], {"axis": axis}, name=g.fresh(f"{node.name}_flat"))
    shape = ir.node("Shape", [x], name=g.fresh(f"{node.name}_shape"))
    node.replace_input_with(0, flat.outputs[0])
    for made in (flat, shape):
        made.outputs[0].name = g.fresh(f"{made.name}_out")
        g.graph.insert_before(node, made)
    _followed(g, node, y, ir.node("Reshape", [y, shape.outputs[0]],
                                  name=g.fresh(f"{node.name}_back")))


def _followed(g: GraphBuilder, node: ir.Node, y: ir.Value, back: ir.Node) -> None:
    """Puts `back`, which reads the node's output `y`, behind the node and in place of `y`."""
    g.graph.insert_after(node, back)
    made = back.outputs[0]
    made.name, y.name = y.name, g.fresh(f"{back.name}_of")
    made.type, made.shape, y.shape = y.type, y.shape, None
    ir.convenience.replace_all_uses_with(y, made, replace_graph_outputs=True)
    back.replace_input_with(0, y)


def _batch_first(g: GraphBuilder, node: ir.Node) -> None:
    """LSTM(x, layout=1)  ⇒  Transpose(LSTM(Transpose(x))), GRU and RNN, and their states, alike"""
    layout = node.attributes.pop("layout", None)
    if layout is None or not layout.as_int():
        return
    for place in (0, 5, 6):
        x = node.inputs[place] if place < len(node.inputs) else None
        if x is not None:
            turned = ir.node("Transpose", [x], {"perm": [1, 0, 2]},
                             name=g.fresh(f"{node.name}_steps"))
            turned.outputs[0].name = g.fresh(f"{turned.name}_out")
            g.graph.insert_before(node, turned)
            node.replace_input_with(place, turned.outputs[0])
    for place, y in enumerate(node.outputs):
        if y.name:
            _followed(g, node, y, ir.node(
                "Transpose", [y], {"perm": [1, 0, 2] if place else [2, 0, 1, 3]},
                name=g.fresh(f"{node.name}_batch")))


def _renamed_scatter(g: GraphBuilder, node: ir.Node) -> None:
    """Scatter(x, indices, updates)  ⇒  ScatterElements(x, indices, updates)"""
    node.op_type = "ScatterElements"


def _scaled_image(g: GraphBuilder, node: ir.Node) -> None:
    """ImageScaler(x, scale=s, bias=[b])  ⇒  Add(Mul(x, s), [b] along the channels)"""
    bias = node.attributes.get("bias")
    added = np.asarray([0.0] if bias is None else bias.as_floats(), np.float32)
    _multiplied(g, node, "scale", added.reshape(-1, 1, 1))


def _straight_line(g: GraphBuilder, node: ir.Node) -> None:
    """Affine(x, alpha=a, beta=b)  ⇒  Add(Mul(x, a), b)"""
    beta = node.attributes.get("beta")
    _multiplied(g, node, "alpha", np.asarray(0.0 if beta is None else beta.as_float(), np.float32))


def _multiplied(g: GraphBuilder, node: ir.Node, name: str, added: np.ndarray) -> None:
    factor = node.attributes.get(name)
    times = g.constant(np.asarray(1.0 if factor is None else factor.as_float(), np.float32))
    product = ir.node("Mul", [node.inputs[0], times], name=g.fresh(f"{node.name}_times"))
    product.outputs[0].name = g.fresh(f"{product.name}_out")
    g.graph.insert_before(node, product)
    node.op_type = "Add"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(0, product.outputs[0])
    node.replace_input_with(1, g.constant(added))


def _cut_borders(g: GraphBuilder, node: ir.Node) -> None:
    """Crop(x, border=[left, top, right, bottom], scale=[h, w])  ⇒  Slice(x, ...)"""
    border, scale = node.attributes.pop("border", None), node.attributes.pop("scale", None)
    sides = () if border is None else border.as_ints()
    if len(sides) != 4 or min(sides) < 0:
        raise ModelError(f"node {node.name!r} (Crop) has the border {list(sides)}; expected left, "
                         "top, right and bottom, none negative")
    starts = [sides[1], sides[0]]
    ends = [-n if n else np.iinfo(np.int64).max for n in (sides[3], sides[2])]
    if scale is not None and len(scale.as_ints()) == 2:
        ends = [a + n for a, n in zip(starts, scale.as_ints())]
    node.op_type = "Slice"
    node.resize_inputs(4)
    for place, values in enumerate((starts, ends, (2, 3)), 1):
        node.replace_input_with(place, g.ints(*values))


_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
               "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare")

UPWARDS: Mapping[str, tuple[Rule, ...]] = {
    **{name: (Rule(18, _axes_to_input),) for name in _REDUCTIONS},
    **{name: (Rule(13, _axes_to_second),) for name in ("Squeeze", "Unsqueeze", "ReduceSum")},
    **{name: (Rule(13, _of_two_axes),) for name in ("Softmax", "LogSoftmax", "Hardmax")},
    "Split": (Rule(13, _parts_to_input), Rule(18, _equal_split)),
    "BatchNormalization": (Rule(9, _refuse_by_position), Rule(14, _refuse_training)),
    "RoiAlign": (Rule(16, _half_pixel_off),),
    "GridSample": (Rule(20, _rename_mode),),
    "DFT": (Rule(20, _axis_to_input),),
    "Slice": (Rule(10, _slice_to_inputs),),
    "Pad": (Rule(11, _pad_to_inputs),),
    "Clip": (Rule(11, _bounds_to_inputs),),
    "Dropout": (Rule(12, _drop_ratio),),
    "Upsample": (Rule(9, _scales_to_input), Rule(NEWEST + 1, _without_region)),
    "ImageScaler": (Rule(NEWEST + 1, _scaled_image),),
    "Affine": (Rule(NEWEST + 1, _straight_line),),
    "Crop": (Rule(NEWEST + 1, _cut_borders),),
    "Resize": (Rule(11, _without_region),),
    "Scatter": (Rule(NEWEST + 1, _renamed_scatter),),
    **{name: (Rule(NEWEST + 1, _batch_first),) for name in ("LSTM", "GRU", "RNN")},
}
"""By the opsets, the oldest change first. ImageScaler, Affine and Crop were ONNX's before opset 1
was final, and are still written by converters from Core ML and Torch."""


def _downwards(node: ir.Node, version: int) -> None:
    """Drops attributes that say no more than opset 21 meant; refuses the others."""
    if not onnx.defs.has(node.op_type, OPSET, ""):
        return
    old = onnx.defs.get_schema(node.op_type, OPSET, "")
    new = onnx.defs.get_schema(node.op_type, version, "")
    for name in [n for n in node.attributes if n not in old.attributes]:
        known = new.attributes.get(name)
        default = None if known is None else onnx.helper.get_attribute_value(known.default_value)
        value = node.attributes[name].value
        if default is None or value != (default.decode() if isinstance(default, bytes)
                                        else default):
            raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) uses {name}={value!r} of "
                                f"opset {version}, unknown in opset {OPSET}; export with opset "
                                f"{OPSET}")
        del node.attributes[name]
    if len(node.inputs) > old.max_input:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) has {len(node.inputs)} inputs, "
                            f"opset {OPSET} knows {old.max_input}; export with opset {OPSET}")
    fmod = node.attributes.get("fmod")
    if node.op_type == "Mod" and (fmod is None or not fmod.as_int()):
        x = node.inputs[0]
        if x is not None and x.dtype is not None and x.dtype.is_floating_point():
            raise UnsupportedOp(f"node {node.name!r} (Mod of floats with fmod=0) exists from "
                                f"opset 28; write it as A - floor(A / B) * B")
