"""TensorFlow Lite files: float32, float16 weights, hybrid, int8 and uint8, without TensorFlow.

Quantised tensors stay codes, with a DequantizeLinear in front of every operator and a
QuantizeLinear behind it, as `compression.quantize` writes them. See docs/tflite.md.
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ganglion.errors import ModelError, spoken_counts
from ganglion.files import read_regular
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.formats.tflite.file import Network, Operator, Quantization, Tensor, read_network
from ganglion.formats.tflite.read.control import RULES, require_outside
from ganglion.formats.tflite.read.rows import ROWS
from ganglion.formats.tflite.read.site import Inner, Site, Values
from ganglion.formats.tflite.read.variables import bind
from ganglion.ops import marks
from ganglion.ops.evaluate import evaluate_node
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.infer import infer_model
from ganglion.ops.shapes import Shapes, chosen, require_inputs
from ganglion.ops.values import static_shape

MAX_FILE_BYTES = 1 << 32
"""Largest file that is read."""
MAX_FOLDED = 1 << 16
"""Elements that an operator on constants may give to be computed at once (shapes are small)."""


def load_tflite(path: Path | str, limits: Limits = DEFAULT, shapes: Shapes | None = None
                ) -> ir.Model:
    """Reads a .tflite file as a Model of opset 21, every value with its dtype and shape.

    Shapes are those of the file, open sizes those of `shapes`; an open batch that is not chosen is
    the file's note of it. int8 and uint8 inputs and outputs stay what they are, their scale and
    zero point in the metadata. Only the first subgraph is read.

    Raises ModelError for a damaged file, an inconsistent network or shapes that do not fit,
    UnsupportedOp naming the operator that cannot be read, TrustError for a file that unfolds
    beyond `limits`.
    """
    path = Path(path)
    data = read_regular(path, ModelError, MAX_FILE_BYTES)
    return convert(read_network(data, limits), path.stem, limits, shapes or {})


def convert(network: Network, name: str, limits: Limits, shapes: Shapes) -> ir.Model:
    """The network as a Model. Raises as `load_tflite`."""
    values = Values(GraphBuilder(name), network, inner=Inner(network.inner))
    require_inputs(shapes, [network.tensors[index].name for index in network.inputs])
    for index in network.inputs:
        _input(values, network.tensors[index], shapes)
    _check_operators(values)
    _operators(values, limits)
    for index in network.outputs:
        _output(values, network.tensors[index])
    model = values.g.model()
    bind(values, model)
    RemoveUnusedNodesPass()(model)
    infer_model(model)
    return model


def _operators(values: Values, limits: Limits) -> None:
    """Converts all operators of one subgraph."""
    for operator in values.network.operators:
        _convert(values, operator, limits)
        limits.check_nodes(len(values.g.graph), f"the network up to operator {operator.index}")
        limits.check_bytes(values.g.constant_bytes, values.network.size, "the network's constants")


def _run(limits: Limits, outer: Values, number: int, given: Sequence[ir.Value]) -> list[ir.Value]:
    """Converts an inner subgraph once, given its inputs; its outputs."""
    require_outside(number, outer.running)
    network = outer.inner.networks[number]
    outer.inner.converted += len(network.operators) + 1
    limits.check_nodes(outer.inner.converted, "the network, its loops written out,")
    values = Values(outer.g, network, variables=outer.variables, inner=outer.inner,
                    running=(*outer.running, number))
    if len(network.inputs) != len(given):
        raise ModelError(f"subgraph {number} has {len(network.inputs)} inputs and is given "
                         f"{len(given)}")
    values.made.update(zip(network.inputs, given))
    _operators(values, limits)
    found = [values.value(network.tensors[index]) for index in network.outputs]
    made = [value for value in found if value is not None]
    if len(made) < len(found):
        raise ModelError(f"subgraph {number} has an output that no operator writes")
    return made


def _check_operators(values: Values) -> None:
    """Refuses a network whole, with all that is not read."""
    networks = (values.network, *(n for n in values.inner.networks.values() if n.outputs))
    missing = [o for n in networks for o in n.operators if o.name not in {*ROWS, *RULES}]
    if not missing:
        return
    near = difflib.get_close_matches(missing[0].name, ROWS, n=3)
    hint = f"; nearest are {', '.join(near)}" if near else ""
    wanted = Counter(o.name for o in missing)
    owner = next(n for n in networks if any(o is missing[0] for o in n.operators))
    raise Site(replace(values, network=owner), missing[0]).unsupported(
        f"this operator is not read{hint}. {spoken_counts(wanted, 'operator')} not read: convert "
        "the network without them, or add rules in ganglion/formats/tflite/read/rows.py. Read are: "
        f"{', '.join(sorted({*ROWS, *RULES}))}")


def _input(values: Values, tensor: Tensor, shapes: Shapes) -> None:
    if tensor.index in values.made or tensor.data is not None:
        raise ModelError(f"input {tensor.name!r} is named twice or holds constant data")
    dtype = ir.DataType.FLOAT if tensor.dtype == ir.DataType.FLOAT16 else tensor.dtype
    value = values.g.input(tensor.name, dtype, _sizes(tensor, shapes.get(tensor.name)))
    _describe(value, tensor.quantization)
    values.made[tensor.index] = value


def _sizes(tensor: Tensor, given: Sequence[int | None] | None) -> list[int]:
    """The sizes of an input: the file's, and for those that it leaves open the caller's."""
    declared = tensor.signature or tensor.shape or ()
    sizes = [None if d == -1 else d for d in declared]
    if given is not None:
        sizes = chosen(tensor.name, sizes, given)
    # A batch that nobody chose is that which the file notes, mostly one row.
    if tensor.shape is not None and sizes[:1] == [None]:
        sizes[0] = tensor.shape[0]
    fixed = [n for n in sizes if n is not None]
    if len(fixed) < len(sizes):
        raise ModelError(f"input {tensor.name!r} has no fixed shape, {list(declared)}: give the "
                         f"sizes that are -1, load(path, shapes={{{tensor.name!r}: [...]}}) or "
                         f"--shape {tensor.name}=...")
    return fixed


def _output(values: Values, tensor: Tensor) -> None:
    found = values.value(tensor)
    if found is None:
        raise ModelError(f"output {tensor.name!r} is written by no operator")
    _describe(values.g.output(tensor.name, found), tensor.quantization)


def _describe(value: ir.Value, q: Quantization | None) -> None:
    """Notes scale and zero point, as `compression.quantize(io="int8")` does."""
    if q is not None and q.per_tensor:
        value.metadata_props[marks.SCALE] = repr(float(q.scale[0]))
        value.metadata_props[marks.ZERO_POINT] = str(int(q.zero[0]))


def _convert(values: Values, operator: Operator, limits: Limits) -> None:
    site = Site(values, operator)
    start = len(values.g.graph)
    if operator.name in RULES:
        RULES[operator.name](site, partial(_run, limits))
    else:
        ROWS[operator.name](site)
    for k in range(len(operator.outputs)):
        if operator.outputs[k] not in values.made:
            raise site.error(f"has an output {k} that it does not write")
    if operator.name in ROWS:
        _fold(values, operator, start)


def _fold(values: Values, operator: Operator, start: int) -> None:
    """Computes an operator on constants now, so that shapes made of shapes are known.

    Only where whole numbers come out: constant weights behind DequantizeLinear stay codes.
    """
    outputs = [(k, values.made[k]) for k in operator.outputs]
    given = [values.made[i] for i in operator.inputs if i in values.made]
    count = len(values.g.graph) - start
    if not count or any(v.const_value is None for v in given):
        return
    if any(v.dtype is None or v.dtype.is_floating_point() or values.network.tensors[k].quantization
           or prod(static_shape(v)) > MAX_FOLDED for k, v in outputs):
        return
    nodes = list(islice(reversed(values.g.graph), count))[::-1]
    known: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        inputs = [known.get(v, v) if v is not None else None for v in node.inputs]
        arrays = [None if v is None or v.const_value is None else v.const_value.numpy()
                  for v in inputs]
        for value, array in zip(node.outputs, evaluate_node(node, arrays)):
            known[value] = values.g.constant(array, f"{value.name}_folded")
    for k, value in outputs:
        values.made[k] = known.get(value, value)
    values.g.graph.remove(nodes, safe=False)

