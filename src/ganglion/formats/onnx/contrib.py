"""Operators of ONNX Runtime's own domain, as the standard ones that they stand for.

What its tools write: fused nodes of optimised files, and the integer operators of its quantiser's
"QOperator" format, which become DequantizeLinear, the float operator and QuantizeLinear; the passes
make integer operators of those. Source: ONNX Runtime, docs/ContribOperators.md (1.20).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp

DOMAIN = "com.microsoft"
Inputs = Sequence[ir.Value | None]
CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")


class _Site:
    """One such node, and the nodes that take its place."""

    def __init__(self, model: ir.Model, node: ir.Node, names: set[str]) -> None:
        self._graph, self.node, self._names = model.graph, node, names

    def input(self, k: int) -> ir.Value | None:
        return self.node.inputs[k] if k < len(self.node.inputs) else None

    def attrs(self, *names: str) -> list[ir.Attr]:
        """Those of these attributes that the node has."""
        return [self.node.attributes[n] for n in names if n in self.node.attributes]

    def number(self, name: str, default: float) -> float:
        return self.node.attributes.get_float(name, default)

    def op(self, name: str, inputs: Inputs, attrs: Sequence[ir.Attr] = ()) -> ir.Value:
        return self.ops(name, inputs, attrs, 1)[0]

    def ops(self, name: str, inputs: Inputs, attrs: Sequence[ir.Attr], outputs: int
            ) -> Sequence[ir.Value]:
        made = ir.Node("", name, list(inputs), list(attrs), num_outputs=outputs,
                       name=self._fresh(f"{self.node.name}_{name.lower()}"))
        for value in made.outputs:
            value.name = self._fresh(f"{made.name}_out")
        self._graph.insert_before(self.node, made)
        return made.outputs

    def constant(self, array: np.ndarray, name: str) -> ir.Value:
        name = self._fresh(f"{self.node.name}_{name}")
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name),
                         shape=ir.Shape(array.shape),
                         type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
        self._graph.register_initializer(value)
        return value

    def real(self, k: int) -> ir.Value:
        """The numbers of codes, scale and zero point in inputs k, k + 1, k + 2."""
        return self.op("DequantizeLinear", self.some(k, 3))

    def codes(self, y: ir.Value, k: int) -> ir.Value:
        """`y` on the scale and zero point in inputs k and k + 1."""
        return self.op("QuantizeLinear", [y, *self.some(k, 2)])

    def some(self, k: int, count: int) -> list[ir.Value | None]:
        """The inputs from k on, without what is absent at their end."""
        found = [self.input(i) for i in range(k, k + count)]
        while found and found[-1] is None:
            found.pop()
        return found

    def activated(self, y: ir.Value) -> ir.Value:
        """`y` through the activation that a fused node names."""
        name = self.node.attributes.get_string("activation", "")
        given = self.node.attributes.get("activation_params")
        params = [] if given is None else list(given.as_floats())
        if name in ("", "Identity"):
            return y
        if name == "Clip":
            return self.op("Clip", [y, *(self.constant(np.asarray(p, np.float32), "bound")
                                         for p in params)])
        if name not in ACTIVATIONS or len(params) > len(ACTIVATIONS[name]):
            raise UnsupportedOp(f"node {self.node.name!r} ({self.node.op_type}): the activation "
                                f"{name!r} is not read")
        attrs = [ir.AttrFloat32(a, p) for a, p in zip(ACTIVATIONS[name], params)]
        return self.op(name, [y], attrs)

    def _fresh(self, name: str) -> str:
        found, k = name, 1
        while found in self._names:
            found, k = f"{name}_{k}", k + 1
        self._names.add(found)
        return found


ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "Relu": (), "Tanh": (), "Sigmoid": (), "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta")}


def _fused_conv(s: _Site) -> ir.Value:
    y = s.op("Conv", s.some(0, 3), s.attrs(*CONV))
    return s.activated(y if s.input(3) is None else s.op("Add", [y, s.input(3)]))


def _fused_gemm(s: _Site) -> ir.Value:
    return s.activated(s.op("Gemm", s.some(0, 3), s.attrs("alpha", "beta", "transA", "transB")))


def _gelu(s: _Site) -> ir.Value:
    x = s.input(0) if s.input(1) is None else s.op("Add", s.some(0, 2))
    fast = [ir.AttrString("approximate", "tanh")] if s.node.op_type == "FastGelu" else []
    return s.op("Gelu", [x], fast)


def _quick_gelu(s: _Site) -> ir.Value:
    alpha = s.constant(np.asarray(s.number("alpha", 1.702), np.float32), "alpha")
    return s.op("Mul", [s.input(0), s.op("Sigmoid", [s.op("Mul", [s.input(0), alpha])])])


def _skip_norm(s: _Site) -> ir.Value:
    if any(v.name and (v.uses() or v.is_graph_output()) for v in s.node.outputs[1:]):
        raise UnsupportedOp(f"node {s.node.name!r} (SkipLayerNormalization): only its first output "
                            "is read")
    total = s.op("Add", s.some(0, 2))
    total = total if s.input(4) is None else s.op("Add", [total, s.input(4)])
    epsilon = ir.AttrFloat32("epsilon", s.number("epsilon", 1e-12))
    return s.op("LayerNormalization", [total, *s.some(2, 2)], [epsilon])


def _quantised_pair(name: str) -> Callable[[_Site], ir.Value]:
    return lambda s: s.codes(s.op(name, [s.real(0), s.real(3)]), 6)


def _quantised(name: str, *attrs: str) -> Callable[[_Site], ir.Value]:
    def rule(s: _Site) -> ir.Value:
        if s.node.attributes.get_int("channels_last", 0):
            raise UnsupportedOp(f"node {s.node.name!r} ({s.node.op_type}) has its channels last; "
                                "quantise the network without that")
        return s.codes(s.op(name, [s.real(0)], s.attrs(*attrs)), 3)

    return rule


def _quantised_softmax(s: _Site) -> ir.Value:
    if s.node.attributes.get_int("opset", 13) < 13:
        raise UnsupportedOp(f"node {s.node.name!r} (QLinearSoftmax) is of opset 12 or older")
    return s.codes(s.op("Softmax", [s.real(0)], s.attrs("axis")), 3)


def _quantised_concat(s: _Site) -> ir.Value:
    parts = [s.real(k) for k in range(2, len(s.node.inputs), 3)]
    return s.codes(s.op("Concat", parts, s.attrs("axis")), 0)


def _quantised_gemm(s: _Site) -> ir.Value:
    bias: list[ir.Value | None] = []
    if s.input(6) is not None:
        step = s.op("Mul", [s.input(1), s.input(4)])
        bias = [s.op("DequantizeLinear", [s.input(6), step], [ir.AttrInt64("axis", 0)])]
    y = s.op("Gemm", [s.real(0), s.op("DequantizeLinear", s.some(3, 3), [ir.AttrInt64(
        "axis", 0 if s.node.attributes.get_int("transB", 0) else 1)]), *bias],
             s.attrs("alpha", "transA", "transB"))
    return y if s.input(7) is None else s.codes(y, 7)


def _dynamic_lstm(s: _Site) -> Sequence[ir.Value]:
    """Its weights stay int8; what ONNX Runtime rounds at every step stays float here."""
    kept = ("activation_alpha", "activation_beta", "activations", "clip", "direction",
            "hidden_size", "input_forget")
    weights = [_transposed_codes(s, codes, 8 + 2 * k) for k, codes in enumerate((1, 2))]
    return s.ops("LSTM", [s.input(0), *weights, *(s.input(k) for k in range(3, 8))],
                 s.attrs(*kept), len(s.node.outputs))


def _transposed_codes(s: _Site, place: int, scale: int) -> ir.Value:
    """[directions, inputs, 4·units] codes as the weights [directions, 4·units, inputs]."""
    step, zero = s.input(scale), s.input(scale + 1)
    array = None if step is None or step.const_value is None else step.const_value.numpy()
    if array is None or (array.ndim > 1 and len(array) > 1):
        raise UnsupportedOp(f"node {s.node.name!r} (DynamicQuantizeLSTM): its scales are no "
                            "constants, or of each unit in both directions")
    codes = s.op("Transpose", [s.input(place)], [ir.AttrInt64s("perm", [0, 2, 1])])
    shape = s.constant(np.array([-1] if array.size > 1 else [], np.int64), "shape")
    parameters = [None if v is None else s.op("Reshape", [v, shape]) for v in (step, zero)]
    axis = 1 if array.ndim > 1 else 0
    return s.op("DequantizeLinear", [codes, *parameters], [ir.AttrInt64("axis", axis)])


def _same(s: _Site) -> ir.Value:
    return s.op(s.node.op_type, list(s.node.inputs), list(s.node.attributes.values()))


RULES: Mapping[str, Callable[[_Site], ir.Value | Sequence[ir.Value]]] = {
    "FusedConv": _fused_conv, "FusedGemm": _fused_gemm, "Gelu": _gelu, "BiasGelu": _gelu,
    "FastGelu": _gelu, "QuickGelu": _quick_gelu, "SkipLayerNormalization": _skip_norm,
    "QLinearAdd": _quantised_pair("Add"), "QLinearMul": _quantised_pair("Mul"),
    "QLinearAveragePool": _quantised("AveragePool", *POOL),
    "QLinearGlobalAveragePool": _quantised("GlobalAveragePool"),
    "QLinearSigmoid": _quantised("Sigmoid"), "QLinearLeakyRelu": _quantised("LeakyRelu", "alpha"),
    "QLinearSoftmax": _quantised_softmax, "QLinearConcat": _quantised_concat,
    "QGemm": _quantised_gemm, "DynamicQuantizeLSTM": _dynamic_lstm, "QuantizeLinear": _same,
    "DequantizeLinear": _same}
"""What takes the place of a node's first output, or of all."""


def lay_open(model: ir.Model) -> None:
    """Rewrites every node of the domain that has a rule, in place; others stay for the reader to
    name. Raises UnsupportedOp for a form of one that has no counterpart."""
    names = {v.name or "" for n in model.graph for v in n.outputs}
    names |= {n.name or "" for n in model.graph} | set(model.graph.initializers)
    names |= {v.name or "" for v in model.graph.inputs}
    for node in list(model.graph):
        rule = RULES.get(node.op_type) if node.domain == DOMAIN else None
        if rule is None:
            continue
        made = rule(_Site(model, node, names))
        for old, new in zip(node.outputs, [made] if isinstance(made, ir.Value) else made):
            new.type, new.shape = old.type, old.shape
            old.name, new.name = new.name, old.name
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
