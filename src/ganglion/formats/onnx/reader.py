"""ONNX files: opset 1 to 28, external data in the model's folder, any symbolic batch."""

import difflib
import json
from collections import Counter
from functools import partial
from heapq import heappop, heappush
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import inliner
from onnx_ir.passes import common

from ganglion.errors import ModelError, UnsupportedOp, spoken_counts
from ganglion.files import read_regular, write_atomic
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.formats.onnx.contrib import lay_open
from ganglion.formats.onnx.control import write_out
from ganglion.formats.onnx.floats import checked, single_precision
from ganglion.formats.onnx.functions import write_out_functions
from ganglion.formats.onnx.inputs import fix_inputs
from ganglion.formats.onnx.opset import convert_opset
from ganglion.formats.onnx.safety import MAX_BYTES, secure
from ganglion.formats.onnx.sequences import read_parts
from ganglion.ops import marks
from ganglion.ops.base import GANGLION_DOMAIN, OPSET
from ganglion.ops.dialect import IR_VERSION
from ganglion.ops.exported import mark_constants, separate_parameters
from ganglion.ops.fixed import Values
from ganglion.ops.infer import infer_model
from ganglion.ops.registry import find, rows
from ganglion.ops.shapes import Shapes


def load_onnx(path: Path | str, limits: Limits = DEFAULT, shapes: Shapes | None = None,
              values: Values | None = None) -> ir.Model:
    """Reads an ONNX file as a Model of opset 21, every value with its dtype and shape.

    Local functions and operators that ONNX defines by others (`formats.onnx.functions`) are
    written out, Constant nodes become initializers, parameters that an exporter joined get one each
    (see `ops.exported`), floats become float32 (see `onnx_floats`), a symbolic batch stays
    symbolic. An input with a default value becomes that constant, unless the Model's bindings make
    it state. If and Loop are written out (`formats.onnx.control`), for which `shapes` says the
    sizes of inputs that the file leaves open. `values`: inputs that become constants, by name.

    Raises ModelError for a damaged file or an inconsistent graph, UnsupportedOp naming the node
    for what cannot be compiled, TrustError for external data outside the file's folder and for a
    file that unfolds beyond `limits`.
    """
    path = Path(path)
    proto = _parse(read_regular(path, ModelError, MAX_BYTES), path)
    return from_proto(proto, path, limits, shapes, values)


def from_proto(proto: onnx.ModelProto, path: Path, limits: Limits = DEFAULT,
               shapes: Shapes | None = None, values: Values | None = None) -> ir.Model:
    """The same of a network in memory, which is changed. `path`: what errors call it; external
    data would stand in its folder."""
    secure(proto, path.parent, limits)
    _sort(proto.graph)
    try:
        onnx.checker.check_model(proto)
        fix_inputs(proto.graph, values or {})
        proto = write_out_functions(_inlined(proto), limits)
        write_out(proto, partial(_typed, path=path), limits, shapes)
        model = ir.from_proto(proto)
    except (onnx.checker.ValidationError, ir.serde.SerdeError, EncodeError, UnicodeDecodeError,
            ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path} is not a valid ONNX model: {error}") from error
    _check_given(model, path)
    _normalise(model, path)
    _check_operators(model)
    infer_model(model)
    return model


def save_onnx(model: ir.Model, path: Path | str) -> None:
    """Writes the Model as one ONNX file; the old file stays whole when writing fails.

    The same Model gives the same bytes. Raises ModelError for a Model above 2 GiB and for weights
    that would not be read again (NaN), OSError.
    """
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            checked(value.const_value, f"weight {name!r}")
    try:
        data = ir.to_proto(model).SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise ModelError(f"the Model cannot be written as one ONNX file: {error}; "
                         f"at most {MAX_BYTES} bytes fit") from error
    write_atomic(Path(path), data)


def _typed(model: ir.Model, path: Path) -> None:
    """A part of the network, brought to the project's own form."""
    _normalise(model, path)
    infer_model(model)


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise ModelError(f"{path} ({len(data)} bytes) is not an ONNX file or is cut short: "
                         f"{error}") from error
    if not proto.HasField("graph") or not proto.graph.output:
        raise ModelError(f"{path} ({len(data)} bytes) holds no graph with outputs; "
                         "it is not an ONNX model, or it is cut short")
    return proto


def _sort(graph: onnx.GraphProto) -> None:
    """Nodes behind what they read, in the order of the file as far as that goes; some tools append
    theirs. A circle is left for the checker to name."""
    maker = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
    waiting = [{maker[n] for n in node.input if n in maker} - {k}
               for k, node in enumerate(graph.node)]
    if all(j < k for k, needed in enumerate(waiting) for j in needed):
        return
    readers: dict[int, list[int]] = {}
    for k, needed in enumerate(waiting):
        for j in needed:
            readers.setdefault(j, []).append(k)
    ready = [k for k, needed in enumerate(waiting) if not needed]
    order = []
    while ready:
        k = heappop(ready)
        order.append(k)
        for reader in readers.get(k, ()):
            waiting[reader].discard(k)
            if not waiting[reader]:
                heappush(ready, reader)
    if len(order) == len(graph.node):
        nodes = [graph.node[k] for k in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the bodies of its local functions in place of their calls."""
    if not proto.functions:
        return proto
    flat = inliner.inline_local_functions(proto)
    if flat.functions:
        names = ", ".join(repr(f.name) for f in flat.functions[:5])
        raise ModelError(f"the local functions {names} use other opsets than the network; export "
                         "it with one opset")
    return flat


def _check_given(model: ir.Model, path: Path) -> None:
    """Raises ModelError naming a value that is read and that nothing gives."""
    known = {id(v) for v in (*model.graph.inputs, *model.graph.initializers.values())}
    known |= {id(v) for node in model.graph for v in node.outputs}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and id(value) not in known:
                raise ModelError(f"{path}: node {node.name!r} ({node.op_type}) reads "
                                 f"{value.name!r}, which nothing gives")


def _normalise(model: ir.Model, path: Path) -> None:
    """Brings the graph to the project's own opset, element types and naming, in place."""
    for node in list(model.graph):
        if node.domain == "ai.onnx":
            node.domain = ""
        if not node.outputs:  # where all are optional
            model.graph.remove(node)
    versions = model.graph.opset_imports
    if "ai.onnx" in versions:
        versions.setdefault("", versions.pop("ai.onnx"))
    try:
        mark_constants(model.graph)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.NameFixPass()(model)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: constants are malformed: {error}") from error
    state = _bound_names(model)
    _drop_default_inputs(model, state)
    separate_parameters(model)
    convert_opset(model)
    read_parts(model)
    try:
        lay_open(model)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: a node of com.microsoft is malformed: {error}") from error
    single_precision(model, state)
    model.ir_version = IR_VERSION


def _bound_names(model: ir.Model) -> set[str]:
    """The outputs and inputs that are state."""
    try:
        pairs = json.loads(model.metadata_props.get(marks.BINDINGS, "[]"))
        return {str(name) for output, value in pairs for name in (output, value)}
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ModelError(f"metadata 'ganglion.bindings' is malformed: {error}; expected a JSON "
                         "list of [output, input]") from error


def _drop_default_inputs(model: ir.Model, state: set[str]) -> None:
    """An input that is also an initializer is a constant, except where it is state."""
    kept = [v for v in model.graph.inputs if not v.is_initializer() or v.name in state]
    if len(kept) != len(model.graph.inputs):
        model.graph.inputs.clear()
        model.graph.inputs.extend(kept)


def _check_operators(model: ir.Model) -> None:
    """Refuses what neither ONNX nor a row defines. Whether it compiles is for planning to say."""
    missing = [node for node in model.graph if not _is_defined(node)]
    if not missing:
        return
    node = missing[0]
    known = sorted(name for domain, name in rows() if domain in ("", GANGLION_DOMAIN))
    near = difflib.get_close_matches(node.op_type, known, n=3)
    hint = f"; did you mean {' or '.join(near)}" if near else ""
    wanted = Counter(f"{n.domain or 'ai.onnx'}.{n.op_type}" for n in missing)
    raise UnsupportedOp(
        f"node {node.name!r} uses the operator {node.op_type!r} of domain "
        f"{node.domain or 'ai.onnx'!r}, which opset {OPSET} does not define{hint}. "
        f"{spoken_counts(wanted, 'node')} not supported: export the network with standard "
        f"operators of these: {', '.join(known)}")


def _is_defined(node: ir.Node) -> bool:
    if find(node.domain, node.op_type) is not None:
        return True
    standard = node.domain == "" and onnx.defs.has(node.op_type, OPSET, "")
    return standard and not onnx.defs.get_schema(node.op_type, OPSET, "").deprecated
