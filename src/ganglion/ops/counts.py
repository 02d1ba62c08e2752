"""Attributes that count or switch something, held to their meaning before anything computes.

ONNX's shape inference believes them: it divides by a stride of zero, and reads behind its list of
outputs where `num_outputs` of Split names fewer than the node has, which ends the process.
"""

from collections.abc import Mapping

import onnx_ir as ir

from ganglion.errors import ModelError

LEAST: Mapping[str, int] = {
    "strides": 1, "dilations": 1, "kernel_shape": 1, "group": 1, "blocksize": 1, "num_outputs": 1,
    "hidden_size": 1}
"""By attribute, whatever the operator: the least that each of its numbers may be."""

SWITCHES = frozenset({
    "allowzero", "antialias", "ceil_mode", "count_include_pad", "exclude_outside", "fmod",
    "input_forget", "keepdims", "linear_before_reset", "noop_with_empty_axes", "saturate",
    "select_last_index", "storage_order", "training_mode", "transA", "transB"})
"""0 or 1: ONNX's inference and its reference disagree about any other number."""


def check_counts(node: ir.Node) -> None:
    """Raises ModelError naming the node and the attribute that counts less than there can be, or a
    Split whose outputs are not as many as it says."""
    for name, least in LEAST.items():
        attr = node.attributes.get(name)
        if attr is None:
            continue
        numbers = _numbers(attr)
        if any(n < least for n in numbers):
            raise ModelError(f"node {node.name!r} ({node.op_type}): {name} is {list(numbers)}; "
                             f"expected numbers from {least} up")
    for name in SWITCHES & node.attributes.keys():
        numbers = _numbers(node.attributes[name])
        if any(n not in (0, 1) for n in numbers):
            raise ModelError(f"node {node.name!r} ({node.op_type}): {name} is {list(numbers)}; "
                             "expected 0 or 1")
    if node.op_type == "Split" and node.domain in ("", "ai.onnx"):
        _check_split(node)


def _numbers(attr: ir.Attr) -> tuple[int, ...]:
    if attr.type == ir.AttributeType.INT:
        return (attr.as_int(),)
    return tuple(attr.as_ints()) if attr.type == ir.AttributeType.INTS else ()


def _check_split(node: ir.Node) -> None:
    sizes = node.inputs[1] if len(node.inputs) > 1 else None
    count = node.attributes.get("num_outputs")
    said = None
    if sizes is not None and sizes.const_value is not None:
        said = sizes.const_value.size
    elif count is not None and count.type == ir.AttributeType.INT:
        said = count.as_int()
    if said is not None and said != len(node.outputs):
        raise ModelError(f"node {node.name!r} (Split): says that it has {said} outputs and has "
                         f"{len(node.outputs)}")
