"""Building Models: nodes appended with their types inferred, constants shared, names unique."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import shape_inference

from ganglion.errors import ModelError
from ganglion.ops.base import GANGLION_DOMAIN, OPSET, Array
from ganglion.ops.registry import find

IR_VERSION = 10
AttrValue = (int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | Array
             | ir.DataType)


class GraphBuilder:
    """Appends nodes to a graph. Every value it returns has a dtype and a static shape.

    >>> g = GraphBuilder("example")
    >>> x = g.input("x", ir.DataType.FLOAT, (1, 3))
    >>> g.output("y", g.op("Relu", x))
    >>> model = g.model()
    """

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, GANGLION_DOMAIN: 1},
                               name=name)
        self._names: set[str] = set()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @classmethod
    def extending(cls, model: ir.Model) -> "GraphBuilder":
        """A builder that appends to the graph of `model` itself."""
        self = cls.__new__(cls)
        self._graph = model.graph
        self._names = {v.name for v in _all_values(model.graph) if v.name}
        self._names |= {n.name for n in model.graph if n.name}
        self._constants = {}
        return self

    @property
    def graph(self) -> ir.Graph:
        return self._graph

    def fresh(self, hint: str) -> str:
        """A name not used yet, `hint` itself if free."""
        name, k = hint, 1
        while name in self._names:
            name, k = f"{hint}_{k}", k + 1
        self._names.add(name)
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

    def op(self, name: str, *inputs: ir.Value | None, domain: str = "",
           hint: str | None = None, **attrs: AttrValue) -> ir.Value:
        """Appends a node with one output and returns that."""
        return self.ops(name, *inputs, outputs=1, domain=domain, hint=hint, **attrs)[0]

    def ops(self, name: str, *inputs: ir.Value | None, outputs: int, domain: str = "",
            hint: str | None = None, **attrs: AttrValue) -> Sequence[ir.Value]:
        """Appends a node with several outputs; raises ModelError when ONNX rejects its inputs."""
        node_name = self.fresh(hint or name.lower())
        node = ir.node(name, list(inputs), dict(attrs), domain=domain, num_outputs=outputs,
                       name=node_name)
        for i, value in enumerate(node.outputs):
            value.name = self.fresh(f"{node_name}_out" if outputs == 1 else f"{node_name}_out{i}")
        infer_types(node)
        self._graph.append(node)
        return node.outputs

    def model(self, metadata: Mapping[str, str] | None = None) -> ir.Model:
        model = ir.Model(self._graph, ir_version=IR_VERSION, producer_name="ganglion")
        model.metadata_props.update(metadata or {})
        return model


def _all_values(graph: ir.Graph) -> list[ir.Value]:
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        values.extend(node.outputs)
    return values


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


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """The shape as integers; ModelError when a dimension is symbolic or unknown."""
    if value.shape is None:
        raise ModelError(f"value {value.name!r} has no shape; run shape inference first")
    dims = []
    for d in value.shape:
        if not isinstance(d, int):
            raise ModelError(f"value {value.name!r} has the dynamic shape {list(value.shape)}; "
                             "fix every dimension before this step (passes.fix_shapes)")
        dims.append(d)
    return tuple(dims)


def infer_types(node: ir.Node) -> None:
    """Sets dtype and shape of the node's outputs, by the row's rule or ONNX's own.

    Raises ModelError with the node's name when the inputs do not fit the operator.
    """
    row = find(node.domain, node.op_type)
    if row is not None and row.infer is not None:
        for out, (dtype, shape) in zip(node.outputs,
                                       row.infer(attributes(node), list(node.inputs))):
            out.dtype, out.shape = dtype, ir.Shape(shape)
        return
    schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    proto = ir.to_proto(node)
    types, data = {}, {}
    for value in node.inputs:
        if value is None:
            continue
        if value.dtype is None or value.shape is None:
            raise ModelError(f"node {node.name!r} ({node.op_type}): input {value.name!r} has no "
                             "dtype or shape")
        dims = [d if isinstance(d, int) else d.value for d in value.shape]
        types[value.name] = onnx.helper.make_tensor_type_proto(value.dtype.value, dims)
        if value.const_value is not None and value.const_value.size <= 64:
            data[value.name] = onnx.numpy_helper.from_array(value.const_value.numpy(), value.name)
    try:
        inferred = shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION)
    except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        found = ", ".join(f"{v.name}: {v.dtype} {v.shape}" for v in node.inputs if v is not None)
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs "
                         f"({found}): {error}") from error
    for out in node.outputs:
        proto_type = inferred.get(out.name)
        if proto_type is None:
            continue
        out.dtype = ir.DataType(proto_type.tensor_type.elem_type)
        if proto_type.tensor_type.HasField("shape"):
            out.shape = ir.Shape([d.dim_value if d.HasField("dim_value") else d.dim_param or None
                                  for d in proto_type.tensor_type.shape.dim])
