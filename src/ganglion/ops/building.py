"""The verbs of building: nodes appended, constants shared, names unique."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops.dialect import GANGLION_DOMAIN, IR_VERSION, OPSET, Array, Attrs

AttrValue = (int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | Array
             | ir.DataType)


class Builder(ABC):
    """Appends nodes to a graph. Every value it returns has a dtype and a static shape.
    `constant_bytes`: of all constants that it made. Gradients are written with this alone;
    `ops.graph.GraphBuilder` is the one that there is.
    """

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, GANGLION_DOMAIN: 1},
                               name=name)
        self._names: set[str] = set()
        self._next: dict[str, int] = {}
        self.constant_bytes = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @classmethod
    def extending(cls, model: ir.Model) -> Self:
        """A builder that appends to the graph of `model` itself."""
        self = cls.__new__(cls)
        self._graph = model.graph
        self._names = {v.name for v in _all_values(model.graph) if v.name}
        self._names |= {n.name for n in model.graph if n.name}
        self._next, self._constants, self.constant_bytes = {}, {}, 0
        return self

    @property
    def graph(self) -> ir.Graph:
        return self._graph

    def fresh(self, hint: str) -> str:
        """A name not used yet, `hint` itself if free."""
        name, k = hint, self._next.get(hint, 1)
        while name in self._names:
            name, k = f"{hint}_{k}", k + 1
        self._names.add(name)
        self._next[hint] = k
        return name

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        value = ir.Value(name=self.fresh(name), type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._graph.inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value) -> ir.Value:
        """Makes `value` an output called `name` (through Identity when it already has a role)."""
        if value.is_graph_input() or value.is_initializer() or value.is_graph_output():
            value = self.op("Identity", value)
        if value.name != name:
            value.name = self.fresh(name)
        self._graph.outputs.append(value)
        return value

    def constant(self, array: Array | float | int, name: str = "const",
                 share: bool = True) -> ir.Value:
        """An initializer. Equal small constants become one value unless `share` is False."""
        array = np.asarray(array, order="C")  # ascontiguousarray would turn [] into [1]
        key = (str(array.dtype), array.shape, array.tobytes() if array.nbytes <= 64 else b"")
        if share and array.nbytes <= 64 and key in self._constants:
            return self._constants[key]
        self.constant_bytes += array.nbytes
        name = self.fresh(name)
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name),
                         type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
                         shape=ir.Shape(array.shape))
        self._graph.register_initializer(value)
        if share and array.nbytes <= 64:
            self._constants[key] = value
        return value

    def scalar(self, value: float, like: ir.Value) -> ir.Value:
        """A constant of shape [] with the dtype of `like`. Raises ValueError for infinity and for
        fractions among integers."""
        if like.dtype is None:
            raise ModelError(f"value {like.name!r} has no dtype")
        if not like.dtype.is_floating_point() and not float(value).is_integer():
            raise ValueError(f"{value} is no number of the type {like.dtype.name.lower()}")
        return self.constant(np.asarray(value, dtype=like.dtype.numpy()))

    def ints(self, *values: int) -> ir.Value:
        """A constant int64 vector, as shape-like inputs want."""
        return self.constant(np.asarray(values, dtype=np.int64))

    def op(self, name: str, *inputs: ir.Value | None, domain: str = "", hint: str | None = None,
           attrs: Attrs | None = None, **more: AttrValue) -> ir.Value:
        """Appends a node with one output and returns that; arguments as in `ops`."""
        made = {**(attrs or {}), **more}
        return self.ops(name, *inputs, outputs=1, domain=domain, hint=hint, attrs=made)[0]

    def ops(self, name: str, *inputs: ir.Value | None, outputs: int, domain: str = "",
            hint: str | None = None, attrs: Attrs | None = None,
            **more: AttrValue) -> Sequence[ir.Value]:
        """Appends a node with several outputs; raises ModelError when ONNX rejects its inputs.

        Attributes stand in `attrs` (as `attributes` gives them), as keywords, or in both.
        """
        made = _attributes({**(attrs or {}), **more})
        node = self._node(name, inputs, outputs, domain, hint, made)
        self._graph.append(node)
        return node.outputs

    def _node(self, name: str, inputs: Sequence[ir.Value | None], outputs: int, domain: str,
              hint: str | None, attrs: Sequence[ir.Attr]) -> ir.Node:
        node_name = self.fresh(hint or name.lower())
        node = ir.Node(domain, name, list(inputs), attrs, num_outputs=outputs, name=node_name)
        for i, value in enumerate(node.outputs):
            value.name = self.fresh(f"{node_name}_out" if outputs == 1 else f"{node_name}_out{i}")
        self._infer(node)
        return node

    def take_over(self, node: ir.Node, name: str, outputs: int, domain: str) -> ir.Node:
        """A node `name` with the inputs and attributes of `node`, right behind it, whose first
        outputs take over the names and all uses of `node`'s outputs, which is left without any."""
        hint = f"{node.name or node.op_type.lower()}_{name.lower()}"
        new = self._node(name, node.inputs, outputs, domain, hint, list(node.attributes.values()))
        self._graph.insert_after(node, new)
        for old, value in zip(node.outputs, new.outputs):
            old.name, value.name = value.name, old.name or value.name
            ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        return new

    def add_outputs(self, node: ir.Node, count: int) -> Sequence[ir.Value]:
        """The outputs of `node`, made at least `count`, every one of them named."""
        if len(node.outputs) < count:
            node.resize_outputs(count)
        for i, value in enumerate(node.outputs):
            if not value.name:
                value.name = self.fresh(f"{node.name or node.op_type.lower()}_out{i}")
        self._infer(node)
        return node.outputs

    def add(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        """a + b; here and below a number becomes a constant of the other operand's dtype."""
        return self.op("Add", a, self._like(b, a))

    def sub(self, a: ir.Value | float, b: ir.Value | float) -> ir.Value:
        """a - b."""
        return self.op("Sub", self._like(a, b), self._like(b, a))

    def mul(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        """a * b."""
        return self.op("Mul", a, self._like(b, a))

    def div(self, a: ir.Value | float, b: ir.Value | float) -> ir.Value:
        """a / b."""
        return self.op("Div", self._like(a, b), self._like(b, a))

    def greater(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        """a > b, a bool."""
        return self.op("Greater", a, self._like(b, a))

    def less(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        """a < b, a bool."""
        return self.op("Less", a, self._like(b, a))

    def where(self, mask: ir.Value, a: ir.Value | float, b: ir.Value | float) -> ir.Value:
        """a where the mask holds, else b; one of a and b may be a number."""
        return self.op("Where", mask, self._like(a, b), self._like(b, a))

    def total(self, x: ir.Value, axes: Sequence[int], keepdims: bool = True) -> ir.Value:
        """The sum of x over `axes`."""
        return self.op("ReduceSum", x, self.ints(*axes), keepdims=int(keepdims))

    def _like(self, value: ir.Value | float, other: ir.Value | float) -> ir.Value:
        if isinstance(value, ir.Value):
            return value
        if not isinstance(other, ir.Value):
            raise TypeError("one operand must be a value of the graph")
        return self.scalar(value, other)

    def model(self, metadata: Mapping[str, str] | None = None) -> ir.Model:
        model = ir.Model(self._graph, ir_version=IR_VERSION, producer_name="ganglion")
        model.metadata_props.update(metadata or {})
        return model

    @abstractmethod
    def _infer(self, node: ir.Node) -> None:
        """Sets the types of a node's outputs; raises ModelError when the inputs do not fit."""


def _all_values(graph: ir.Graph) -> list[ir.Value]:
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        values.extend(node.outputs)
    return values


def _attributes(attrs: Attrs) -> list[ir.Attr]:
    """Attributes as onnx_ir holds them; an empty list is one of integers.

    Raises ModelError for a value that no attribute can hold.
    """
    made: list[ir.Attr] = []
    for name, value in attrs.items():
        if isinstance(value, np.ndarray):
            made.append(ir.AttrTensor(name, ir.tensor(value)))
        elif isinstance(value, ir.DataType):
            made.append(ir.AttrInt64(name, int(value)))
        elif isinstance(value, list | tuple) and len(value) == 0:
            made.append(ir.AttrInt64s(name, []))
        elif isinstance(value, int | float | str | list | tuple):
            made.append(ir.convenience.convert_attribute(name, value))
        else:
            raise ModelError(f"attribute {name!r} is {value!r}; numbers, texts, lists of them and "
                             "arrays are possible")
    return made
