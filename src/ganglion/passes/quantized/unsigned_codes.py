"""int8 codes inside a network ⇒ uint8, as dot products of bytes want their left side."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import Moves, Points
from ganglion.ops.facts import is_even, is_table, movement, row_of
from ganglion.passes.base import Pass
from ganglion.passes.quantized.qdq import Editor, array_of, is_constant

OFFSET = 128


class UnsignedCodes(Pass):
    """int8 codes with zero point z  ⇒  uint8 codes with zero point z + 128, each 128 higher

    Only between operators of this project and the moves between them; inputs and outputs of the
    network keep their dtype. Exact: the same numbers, sums and roundings. Dot products of bytes
    take an unsigned left side, so convolutions then read images as they lie; where a ReLU has put
    the zero point at the bottom it becomes 0, which saturation reaches by itself.
    """

    def rewrite(self, model: ir.Model) -> bool:
        edit = Editor.extending(model)
        found = [v for group in _groups(model.graph) if all(map(_free, group)) for v in group]
        for value in found:
            _raise(edit, value)
        return bool(found)


def _points(node: ir.Node) -> Points | None:
    row = row_of(node)
    return None if row is None else row.points


def _tied(node: ir.Node) -> list[ir.Value]:
    """Values of a node whose dtype is one and the same."""
    points = _points(node)
    if _moves(node):
        found = [*node.inputs, *node.outputs]
    else:
        found = [node.inputs[0], node.outputs[0]] if points is not None and points.tied else []
    return [v for v in found if v is not None and _int8(v)]


def _int8(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.INT8


def _groups(graph: ir.Graph) -> Iterator[list[ir.Value]]:
    """int8 values that must change together."""
    home: dict[ir.Value, list[ir.Value]] = {}
    for node in graph:
        for value in node.outputs:
            if _int8(value):
                home.setdefault(value, [value])
        tied = _tied(node)
        for value in tied:
            home.setdefault(value, [value])
        for value in tied[1:]:
            mine, other = home[tied[0]], home[value]
            if mine is not other:
                mine += other
                home |= dict.fromkeys(other, mine)
    seen: set[int] = set()
    for group in home.values():
        if id(group) not in seen:
            seen.add(id(group))
            yield group


def _free(value: ir.Value) -> bool:
    """Whether all that make and read the value can be told of other codes."""
    maker = value.producer()
    if maker is None or value.is_graph_output() or not _told(maker, value, made=True):
        return False
    return all(_told(use.node, value, made=False) and (use.idx == 0 or _moves(use.node))
               for use in value.uses())


def _moves(node: ir.Node) -> bool:
    """Whether its outputs hold elements of its inputs alone, in their order of size."""
    return is_even(node) and movement(node) in (Moves.VIEW, Moves.PLACE, Moves.PICK, Moves.JOIN)


def _told(node: ir.Node, value: ir.Value, made: bool) -> bool:
    if _moves(node):
        return True
    if is_table(node):
        return not made or is_constant(node.inputs[1])
    points = _points(node)
    if "output_dtype" in node.attributes:
        return False
    at = None if points is None else points.y if made else points.x
    return at is not None and len(node.inputs) > at and is_constant(node.inputs[at])


def _raise(edit: Editor, value: ir.Value) -> None:
    """Turns one value's codes; those tied to it follow by themselves."""
    value.dtype = ir.DataType.UINT8
    maker = value.producer()
    if maker is not None and not _moves(maker):
        points = _points(maker)
        _shift(edit, maker, 1 if points is None else points.y)
        for name in ("lo", "hi"):
            if name in maker.attributes:
                bound = maker.attributes[name].as_int() + OFFSET
                maker.attributes[name] = ir.AttrInt64(name, bound)
    for node in dict.fromkeys(use.node for use in value.uses()):
        reader = _points(node)
        if reader is not None:
            _shift(edit, node, reader.x)


def _shift(edit: Editor, node: ir.Node, at: int | None) -> None:
    """Puts codes 128 higher in the place of a node's constant int8 input."""
    given = None if at is None else node.inputs[at]
    if at is not None and given is not None:
        codes = (array_of(given).astype(np.int16) + OFFSET).astype(np.uint8)
        node.replace_input_with(at, edit.constant(codes, f"{given.name}_raised"))
