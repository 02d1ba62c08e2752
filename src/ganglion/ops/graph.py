"""Building Models: nodes appended with their types inferred, constants shared, names unique."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import shape_inference

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.base import GANGLION_DOMAIN, OPSET, Array, Attrs
from ganglion.ops.counts import check_counts
from ganglion.ops.registry import find

IR_VERSION = 10
UNFIT = (IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError)
"""What a row's own functions raise for too few inputs, another rank or another kind."""
AttrValue = (int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | Array
             | ir.DataType)


class GraphBuilder:
    """Appends nodes to a graph. Every value it returns has a dtype and a static shape.
    `constant_bytes`: of all constants that it made.

    >>> g = GraphBuilder("example")
    >>> x = g.input("x", ir.DataType.FLOAT, (1, 3))
    >>> g.output("y", g.op("Relu", x))
    >>> model = g.model()
    """

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, GANGLION_DOMAIN: 1},
                               name=name)
        self._names: set[str] = set()
        self._next: dict[str, int] = {}
        self.constant_bytes = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @classmethod
    def extending(cls, model: ir.Model) -> "GraphBuilder":
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
        """A constant of shape [] with the dtype of `like`."""
        if like.dtype is None:
            raise ModelError(f"value {like.name!r} has no dtype")
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
        infer_types(node)
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
        infer_types(node)
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


def attributes(node: ir.Node) -> dict[str, object]:
    """The node's attributes as plain Python values; tensors as arrays."""
    plain: dict[str, object] = {}
    for name, attr in node.attributes.items():
        value = attr.value
        if attr.type == ir.AttributeType.TENSOR:
            value = attr.as_tensor().numpy()
        elif attr.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS,
                           ir.AttributeType.STRINGS):
            value = list(value)
        plain[name] = value
    return plain


def dims(value: ir.Value) -> list[int | str | None]:
    """The shape with symbolic dimensions by name and unknown ones as None."""
    if value.shape is None:
        raise ModelError(f"value {value.name!r} has no shape; run shape inference first")
    return [d if isinstance(d, int) else d.value for d in value.shape]


FIX_SHAPES = ("give the sizes of its inputs: ganglion.load(path, shapes={\"x\": [1, 224, 224, 3]}) "
              "or ganglion.compile(model, shapes=...), --shape x=1,224,224,3 on the command line")
"""What to do about dimensions that are not numbers."""


def static_shape(value: ir.Value | None) -> tuple[int, ...]:
    """The shape as integers; ModelError when a dimension is symbolic or unknown, or when a
    required value is absent."""
    if value is None:
        raise ModelError("a required input is absent")
    if value.shape is None:
        raise ModelError(f"value {value.name!r} has no shape; run shape inference first")
    found = []
    for d in value.shape:
        if not isinstance(d, int):
            raise ModelError(f"value {value.name!r} has the dynamic shape {dims(value)}; "
                             f"{FIX_SHAPES}")
        found.append(d)
    return tuple(found)


def require_model(model: object, who: str) -> None:
    """Raises ModelError unless a caller of `who` gave a Model."""
    if not isinstance(model, ir.Model):
        raise ModelError(f"{who} takes a Model (an onnx_ir.Model), not {type(model).__name__}; "
                         "open files with ganglion.load, Keras models with ganglion.from_keras")


def require_numbers(model: ir.Model) -> None:
    """Raises ModelError naming the first weight that holds NaN."""
    for name, value in model.graph.initializers.items():
        if value.const_value is None or value.dtype != ir.DataType.FLOAT:
            continue
        missing = np.isnan(value.const_value.numpy())
        if missing.any():
            raise ModelError(f"weight {name!r} of shape {list(missing.shape)} holds NaN at "
                             f"{np.argwhere(missing)[0].tolist()}; its training diverged: train "
                             "it again, with a smaller learning rate")


def infer_types(node: ir.Node) -> None:
    """Sets dtype and shape of the node's outputs, by the row's rule or ONNX's own.

    Raises ModelError with the node's name when the inputs do not fit the operator.
    """
    check_counts(node)
    row = find(node.domain, node.op_type)
    if row is not None and row.infer is not None:
        try:
            made = row.infer(attributes(node), list(node.inputs))
        except UNFIT as error:
            raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs or "
                             f"attributes: {error}") from error
        for out, (dtype, shape) in zip(node.outputs, made):
            out.dtype, out.shape = dtype, ir.Shape(shape)
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    except onnx.defs.SchemaError as error:
        raise UnsupportedOp(f"node {node.name!r}: {node.domain or 'ONNX'} has no operator "
                            f"{node.op_type!r}") from error
    proto = ir.serde.serialize_node(node)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None:
            continue
        if value.dtype is None or value.shape is None:
            raise ModelError(f"node {node.name!r} ({node.op_type}): input {value.name!r} has no "
                             "dtype or shape")
        types[value.name] = onnx.helper.make_tensor_type_proto(value.dtype.value,
                                                               dims(value))
        if value.const_value is not None and value.const_value.size <= 64:
            data[value.name] = onnx.numpy_helper.from_array(value.const_value.numpy(), value.name)
    try:
        inferred = shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        found = ", ".join(f"{v.name}: {v.dtype} {v.shape}" for v in node.inputs if v is not None)
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs "
                         f"({found}): {error}") from error
    for out in node.outputs:
        proto_type = inferred.get(out.name or "")
        if proto_type is None:
            continue
        out.dtype = ir.DataType(proto_type.tensor_type.elem_type)
        if proto_type.tensor_type.HasField("shape"):
            out.shape = ir.Shape([d.dim_value if d.HasField("dim_value") else d.dim_param or None
                                  for d in proto_type.tensor_type.shape.dim])
