"""Other opsets into the project's own, as a table of the operators whose meaning changed.

Upwards (13 to 21) an operator not in `UPWARDS` only gained element types or attributes whose
default is the old meaning. Downwards (22 to 28) an operator is accepted when all that it uses
existed in opset 21. Source: the changelog of the ONNX operators.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.base import GANGLION_DOMAIN, OPSET
from ganglion.ops.graph import GraphBuilder

OLDEST = 13
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
        rule = UPWARDS.get(node.op_type)
        if version > OPSET:
            _downwards(node, version)
        elif rule is not None and version < rule.until:
            rule.rewrite(g, node)
    model.graph.opset_imports.clear()
    model.graph.opset_imports.update({"": OPSET, GANGLION_DOMAIN: 1})


class Rule(NamedTuple):
    """`rewrite(g, node)` changes a node written for an opset below `until`, in place."""

    until: int
    rewrite: Callable[[GraphBuilder, ir.Node], None]


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


_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
               "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare")

UPWARDS: Mapping[str, Rule] = {
    **{name: Rule(18, _axes_to_input) for name in _REDUCTIONS},
    "Split": Rule(18, _equal_split),
    "BatchNormalization": Rule(14, _refuse_training),
    "RoiAlign": Rule(16, _half_pixel_off),
    "GridSample": Rule(20, _rename_mode),
    "DFT": Rule(20, _axis_to_input),
}


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
