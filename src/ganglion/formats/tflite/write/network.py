"""A Model as a TensorFlow Lite file, float or int8, that LiteRT loads. See docs/tflite.md."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError, UnsupportedOp
from ganglion.files import write_atomic
from ganglion.formats.tflite.write.codes import SHIFT, codes_of, parameters
from ganglion.formats.tflite.write.flat import FlatNetwork, Quant
from ganglion.formats.tflite.write.rows import ROWS
from ganglion.formats.tflite.write.site import Site, Stored, Values, constant_of, plain
from ganglion.ops.facts import is_op
from ganglion.ops.graph import require_numbers
from ganglion.ops.named import AVERAGE_POOL, DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from ganglion.ops.values import static_shape
from ganglion.passes.base import only_reader
from ganglion.passes.pipeline import prepare


def export(model: ir.Model, path: str | Path, batch: int = 1, *, hybrid: bool = False
           ) -> FlatNetwork:
    """Writes the Model as a .tflite file for `batch` rows, aside first, then renamed; returns
    what stands in the file.

    QuantizeLinear and DequantizeLinear become quantised tensors, and the operators between them
    int8 operators where TensorFlow Lite has such; the others compute with floats between
    DEQUANTIZE and QUANTIZE. With `hybrid` the weights of float convolutions (depthwise ones apart)
    and fully connected layers that the Model stores as int8 stay int8, so that LiteRT quantises
    their inputs on the fly; else they are written as floats. Raises DataError for another
    suffix, UnsupportedOp naming the node that a .tflite file cannot hold, and ModelError for
    weights with NaN and as `passes.pipeline.prepare`.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise DataError(f"{path}: networks are exported as .tflite files; choose such a name")
    network = network_of(model, batch, hybrid)
    write_atomic(path, network.file())
    return network


def network_of(model: ir.Model, batch: int = 1, hybrid: bool = False) -> FlatNetwork:
    """The tensors and operators of the file. Raises as `export`."""
    require_numbers(model)
    model = prepare(model, batch)
    flat = FlatNetwork()
    values = Values(flat, {str(v.name) for v in (*model.graph.inputs, *model.graph.outputs)},
                    hybrid)
    codes = codes_of(model)
    for value in model.graph.inputs:
        _input(values, value, codes.get(value))
    for node in model.graph:
        if node not in values.done:
            _write(values, node)
    for value in model.graph.outputs:
        _output(values, value)
    flat.prune()
    return flat


def _input(values: Values, value: ir.Value, quant: Quant | None) -> None:
    """A graph input; the uint8 codes of one become int8 at once."""
    if value.dtype is None or value.is_initializer():
        raise UnsupportedOp(f"input {value.name!r} has no element type or keeps a state; a .tflite "
                            "file is written for networks without state")
    shape, dtype = static_shape(value), np.dtype(value.dtype.numpy())
    unsigned = quant is not None and dtype == np.uint8
    tensor = values.flat.tensor(str(value.name), dtype, shape,
                                _unsigned(quant) if unsigned else quant)
    values.flat.inputs.append(tensor)
    if unsigned:
        tensor = values.with_quant(tensor, quant, "input")
    values.stored[value] = Stored(tensor, plain(len(shape)))


def _unsigned(quant: Quant | None) -> Quant | None:
    return None if quant is None else Quant(quant.scale, tuple(z + SHIFT for z in quant.zero))


def _write(values: Values, node: ir.Node) -> None:
    """One node. Constants are written where they are read."""
    site = Site(values, node)
    if is_op(node, QUANTIZE_LINEAR):
        _quantize(site)
    elif is_op(node, DEQUANTIZE_LINEAR):
        _dequantize(site)
    elif node.domain not in ("", "ai.onnx") or node.op_type not in ROWS:
        raise site.unsupported("this operator is not written to .tflite files. Replace it, compile "
                               "the network to C instead, or add a rule in "
                               "ganglion/formats/tflite/write. "
                               f"Written are: {', '.join(sorted(ROWS))}")
    elif len(node.outputs) != 1 or constant_of(node.outputs[0]) is None:
        ROWS[node.op_type](site)


def _quantize(site: Site) -> None:
    """QuantizeLinear: the same tensor where it is quantised so already, else QUANTIZE."""
    quant = parameters(site.node, site.node.outputs[0].dtype)
    if not quant.per_tensor or site.node.outputs[0].dtype not in (ir.DataType.INT8,
                                                                  ir.DataType.UINT8):
        raise site.unsupported("activations are written as int8 or uint8 with one scale")
    held = site.held(0)
    site.put(site.values.with_quant(held.tensor, quant, site.name), held.perm)


def _dequantize(site: Site) -> None:
    """DequantizeLinear: its numbers are stored as the codes; constants where they are read."""
    if constant_of(site.node.outputs[0]) is not None:
        return
    if site.quant(0) is None:
        raise site.unsupported("dequantises what is no int8 or uint8 tensor of one scale")
    reader = only_reader(site.result)
    told = parameters(site.node, site.value(0).dtype)
    if told != site.quant(0) and not is_op(reader, AVERAGE_POOL):
        raise site.unsupported("reads codes by another scale or zero point than they were written "
                               "with, which no tensor of a .tflite file can say")
    held = site.held(0)
    site.put(held.tensor, held.perm)


def _output(values: Values, value: ir.Value) -> None:
    """A graph output: in the Model's order of axes, of its element type, under its name."""
    name, flat = str(value.name), values.flat
    array = constant_of(value)
    held = values.stored.get(value)
    if held is None:
        if array is None:
            raise UnsupportedOp(f"output {name!r} is written by no operator that a .tflite file "
                                "holds")
        held = Stored(flat.constant(array, name), plain(array.ndim))
    tensor = values.ordered(held, plain(len(held.perm)), name)
    quant = flat.tensors[tensor].quant
    if value.dtype == ir.DataType.FLOAT:
        tensor = values.with_quant(tensor, None, name)
    elif value.dtype == ir.DataType.UINT8 and quant is not None:
        tensor = _as_unsigned(values, tensor, quant, name)
    if tensor in flat.inputs or tensor in flat.outputs or flat.tensors[tensor].data is not None:
        source = flat.tensors[tensor]
        made = flat.tensor(name, source.dtype, source.shape, source.quant)
        flat.op("RESHAPE", [tensor, flat.ints(*source.shape)], [made],
                ("ReshapeOptions", {"new_shape": list(source.shape)}), name)
        tensor = made
    flat.tensors[tensor].name = name
    flat.outputs.append(tensor)


def _as_unsigned(values: Values, tensor: int, quant: Quant, node: str) -> int:
    source = values.flat.tensors[tensor]
    made = values.flat.tensor(values.fresh(source.name), np.dtype(np.uint8), source.shape,
                              _unsigned(quant))
    values.flat.op("QUANTIZE", [tensor], [made], None, node)
    return made
