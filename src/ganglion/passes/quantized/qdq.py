"""Reading QuantizeLinear/DequantizeLinear pairs, and the small edits that their rewrites share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx_ir as ir

from ganglion.ops.base import GANGLION_DOMAIN, Op
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder

BYTE_TYPES = (ir.DataType.INT8, ir.DataType.UINT8)


@dataclass(frozen=True)
class Codes:
    """Quantisation of a tensor: real = (code - zero_point) · scale, one pair for all elements.

    `value` holds the codes (None where only the parameters are known).
    """

    value: ir.Value | None
    scale: ir.Value
    zero: ir.Value
    dtype: ir.DataType

    @property
    def step(self) -> float:
        return float(array_of(self.scale).reshape(()))

    @property
    def zero_point(self) -> int:
        return int(array_of(self.zero).reshape(()))

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest code of the dtype."""
        info = np.iinfo(self.dtype.numpy())
        return int(info.min), int(info.max)

    @property
    def parameters(self) -> list[ir.Value]:
        """[scale, zero point], as an operator's inputs."""
        return [self.scale, self.zero]

    def matches(self, other: "Codes") -> bool:
        """Whether equal codes mean equal numbers."""
        return (self.dtype == other.dtype and self.step == other.step
                and self.zero_point == other.zero_point)

    def nearest(self, number: float) -> int:
        """The code that `number` is quantised to, saturated."""
        lo, hi = self.limits
        code = np.rint(np.float32(number) / np.float32(self.step)) + np.float32(self.zero_point)
        return int(np.clip(code, lo, hi))


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is known when building; bound state (also an input) is not."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def array_of(value: ir.Value) -> np.ndarray:
    """A constant's elements. Only for values of which `is_constant` holds."""
    if value.const_value is None:
        raise ValueError(f"{value.name!r} is not a constant")
    return value.const_value.numpy()


def producer(value: ir.Value | None, *ops: Op) -> ir.Node | None:
    """The node that computes `value` when it is one of these operators."""
    node = None if value is None else value.producer()
    return node if is_op(node, *ops) else None


class Editor(GraphBuilder):
    """A builder that inserts and replaces, with types given, not inferred."""

    _zeros: dict[ir.DataType, ir.Value]

    @classmethod
    def extending(cls, model: ir.Model) -> Self:
        """An editor of the graph of `model` itself."""
        self = super().extending(model)
        self._zeros = {}
        return self

    def constant(self, array: np.ndarray | np.generic | float, name: str = "const",
                 share: bool = False) -> ir.Value:
        """An initializer of its own, unless `share` says otherwise."""
        return super().constant(np.asarray(array), name, share)

    def zero(self, dtype: ir.DataType) -> ir.Value:
        """A scalar constant 0, one for each dtype."""
        if dtype not in self._zeros:
            self._zeros[dtype] = self.constant(np.zeros((), dtype.numpy()), "zero_point")
        return self._zeros[dtype]

    def insert(self, before: ir.Node, name: str, inputs: Sequence[ir.Value | None],
               dtype: ir.DataType | None, shape: ir.Shape | None, *, domain: str = "",
               attributes: Sequence[ir.Attr] = (), outputs: int = 1) -> ir.Value:
        """The first output of a new node in front of `before`; its dtype and shape are given."""
        node = ir.Node(domain, name, list(inputs), attributes, num_outputs=outputs,
                       name=self.fresh(name.lower()))
        for value in node.outputs:
            value.name = self.fresh(f"{node.name}_out")
        if dtype is not None:
            node.outputs[0].dtype = dtype
        node.outputs[0].shape = shape
        self.graph.insert_before(before, node)
        return node.outputs[0]

    def own(self, before: ir.Node, name: str, inputs: Sequence[ir.Value | None], like: ir.Value,
            dtype: ir.DataType, attributes: Sequence[ir.Attr] = (), **ints: int) -> ir.Value:
        """A node of `ai.ganglion` whose output has the shape of `like`."""
        return self.insert(before, name, inputs, dtype, like.shape, domain=GANGLION_DOMAIN,
                           attributes=[*attributes, *(ir.AttrInt64(k, v) for k, v in ints.items())])

    def behind(self, maker: ir.Node | None, node: ir.Node) -> ir.Value:
        """Puts a new node of one output behind `maker`, in front of all without one."""
        if maker is not None:
            self.graph.insert_after(maker, node)
        elif len(self.graph):
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.append(node)
        return node.outputs[0]

    def take_output(self, old: ir.Value, new: ir.Value) -> None:
        """`new` becomes the graph output in the place and under the name of `old`."""
        name = old.name
        self.graph.outputs[list(self.graph.outputs).index(old)] = new
        old.name, new.name = self.fresh(f"{name}_float"), name

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """`new` takes every use of `old`; and its name, when newly made or when it is an output.

        So a tensor of codes keeps its name through all rewrites. An output that would be an
        input, a constant or another output gets an Identity.
        """
        name, maker = old.name, old.producer()
        if old.is_graph_output():
            if maker and (new.producer() is None or new.is_graph_output()):
                new = self.insert(maker, "Identity", [new], new.dtype, new.shape)
            new.metadata_props.update(old.metadata_props)
        bound = new.uses() or new.producer() is None or new.is_graph_output()
        takes_name = old.is_graph_output() or not bound
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        if takes_name:
            old.name, new.name = self.fresh(f"{name}_before"), name

    def codes(self, dequantize: ir.Node | None) -> Codes | None:
        """What a DequantizeLinear reads, when it has one constant scale for a byte tensor."""
        if dequantize is None or dequantize.inputs[0] is None:
            return None
        return self._codes(dequantize, dequantize.inputs[0], dequantize.inputs[0].dtype)

    def target(self, quantize: ir.Node) -> Codes | None:
        """What a QuantizeLinear writes to, likewise; `value` is None."""
        return self._codes(quantize, None, quantize.outputs[0].dtype)

    def _codes(self, node: ir.Node, value: ir.Value | None, dtype: ir.DataType | None
               ) -> Codes | None:
        scale = node.inputs[1]
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        if dtype is None and zero is not None:
            dtype = zero.dtype
        if dtype is None or dtype not in BYTE_TYPES or scale is None or not is_constant(scale):
            return None
        if scale.dtype != ir.DataType.FLOAT or array_of(scale).size != 1:
            return None
        if zero is None:
            zero = self.zero(dtype)
        return Codes(value, scale, zero, dtype) if is_constant(zero) else None
