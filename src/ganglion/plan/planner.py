"""Model → Plan, the whole way: fuse, schedule, lower, place, assign offsets."""

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp, visible
from ganglion.kernels.base import CTYPES
from ganglion.ops.base import Kernel
from ganglion.ops.base import View as ViewOp
from ganglion.ops.bindings import bindings
from ganglion.ops.facts import family_of, is_op, shows
from ganglion.ops.guard import check_attributes
from ganglion.ops.inference import UNFIT
from ganglion.ops.named import CONV, CONV_TRANSPOSE
from ganglion.ops.registry import find, rows
from ganglion.ops.values import static_shape
from ganglion.plan.choices import NO_CHOICES, Choices
from ganglion.plan.finish import finish
from ganglion.plan.fusion import Unit, absorb, group, schedule
from ganglion.plan.lowerer import Lowerer
from ganglion.plan.lowering import ANY_DTYPE, EPILOGUE_AXIS, LOWERINGS, lower_view
from ganglion.plan.lowering.recurrent import stays_packed
from ganglion.plan.names import c_name, own_name
from ganglion.plan.pointwise import epilogue_of, is_pointwise, lower_group
from ganglion.plan.types import Plan
from ganglion.plan.views import Storage, View, dense_strides, row_major

OTHER_FLOATS = frozenset({"float16", "bfloat16", "float64"})


def plan(model: ir.Model, isas: Sequence[str] = ("scalar",), name: str | None = None,
         choices: Choices = NO_CHOICES, cores: int = 1) -> Plan:
    """Decides how a Model is computed on a target that runs `isas` (names of `kernels.isa`).

    `name`: of the network in C, else its graph's (`plan.names` says what becomes of it). `choices`:
    variants measured to be fastest; the cost model decides where there is none. `cores`: how many
    the steps of a large network are divided for.

    The Model must be prepared (`passes.pipeline.prepare`): static shapes, no training-only nodes.
    Raises UnsupportedOp for a node without lowering and ModelError for dynamic shapes.
    """
    nodes = list(model.graph)
    check_supported(nodes)
    _check_types(nodes)
    lowerer = Lowerer(tuple(isas), choices)
    _place_inputs(lowerer, model)
    units = group(nodes, {n: is_pointwise(n) for n in nodes})
    _fuse_epilogues(lowerer, units)
    for unit in schedule(units, model, _shown(nodes)):
        _lower(lowerer, unit)
    made_of = digest(model)
    called = c_name(name) if name else own_name(model.graph.name or "", made_of)
    return finish(lowerer, model, called, made_of, cores)


def digest(model: ir.Model) -> str:
    """SHA-256 of the Model's serialised form: the same network, the same digest."""
    proto = ir.to_proto(model)
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def check_supported(nodes: Sequence[ir.Node]) -> None:
    """Raises UnsupportedOp naming every operator that cannot be compiled, or the first node with
    an attribute that its row does not read."""
    missing = [n for n in nodes if (row := find(n.domain, n.op_type)) is None or row.lower is None
               or (isinstance(row.lower, Kernel) and row.lower.family not in LOWERINGS
                   and not is_pointwise(n))]
    if missing:
        known = ", ".join(sorted(row.name for row in rows().values() if row.lower is not None))
        listed = "; ".join(f"node {n.name!r}: {n.domain or 'ONNX'} {n.op_type}"
                           for n in missing[:10])
        raise UnsupportedOp(f"{len(missing)} node(s) cannot be compiled ({listed}), because "
                            f"they are not supported. Export the network with these: {known}")
    check_attributes(nodes)


def _check_types(nodes: Sequence[ir.Node]) -> None:
    """Raises UnsupportedOp naming the first node whose kernel does not know a type that it meets:
    numbers that C has no type for, and widths of floats that only element-wise operators and moves
    of data compute in."""
    for node in nodes:
        row = find(node.domain, node.op_type)
        narrow = (row is not None and isinstance(row.lower, Kernel)
                  and row.lower.family not in ANY_DTYPE)
        for value in (*node.inputs, *node.outputs):
            if value is None or value.dtype is None:
                continue
            name = value.dtype.numpy().name
            if name not in CTYPES or (narrow and name in OTHER_FLOATS):
                raise UnsupportedOp(
                    f"node {node.name!r} ({node.op_type}) meets {value.name!r} of type {name}, "
                    "which it is not compiled for; put a Cast to float32 in front of it and one "
                    "back behind it (gg.load does so when it reads a file)")


def _place_inputs(lowerer: Lowerer, model: ir.Model) -> None:
    bound = {b.input: i for i, b in enumerate(bindings(model))}
    orders = state_orders(model)
    position = 0
    for value in model.graph.inputs:
        if value.dtype is None:
            raise ModelError(f"input {value.name!r} has no dtype")
        shape, dtype = static_shape(value), str(value.dtype.numpy())
        size = int(np.prod(shape, dtype=np.int64))
        if value.name in bound:
            storage = Storage(str(value.name), dtype, size, "state", bound[value.name])
            order = orders.get(str(value.name), row_major(len(shape)))
        elif value.const_value is not None:
            continue
        else:
            storage, order = Storage(str(value.name), dtype, size, "input", position), None
            position += 1
        lowerer.views[value] = View(storage, shape,
                                    dense_strides(shape, order or row_major(len(shape))))


def state_orders(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Axis orders for bound convolution weights [O, C, kh, kw], which kernels read channels-last.

    Every state tensor of the same shape that is updated beside it (momentum, moments) follows.
    """
    bound = {b.input for b in bindings(model)}
    shapes = set()
    for node in model.graph:
        weight = node.inputs[1] if is_op(node, CONV, CONV_TRANSPOSE) else None
        if weight is not None and weight.name in bound:
            shapes.add(static_shape(weight))
    return {str(v.name): (0, *range(2, len(s)), 1) for v in model.graph.inputs
            if v.name in bound and (s := static_shape(v)) in shapes}


def _fuse_epilogues(lowerer: Lowerer, units: list[Unit]) -> None:
    place = {unit: i for i, unit in enumerate(units)}
    by_node = {n: u for u in units for n in u.nodes}
    for epilogue in [u for u in units if u.pointwise]:
        inside = set(epilogue.nodes)
        sources = {v: node for v in epilogue.inputs()
                   if (node := _fusable(v, by_node)) is not None
                   and not v.is_graph_output() and all(u.node in inside for u in v.uses())}
        for source in sorted(sources, key=lambda v: -place[by_node[sources[v]]]):
            node = sources[source]
            fused = epilogue_of(lowerer, epilogue, source, EPILOGUE_AXIS[family_of(node)])
            if fused is not None and node not in lowerer.fused:
                lowerer.fused[node] = fused
                absorb(by_node[node], epilogue, units)
                by_node |= dict.fromkeys(epilogue.nodes, by_node[node])
                break


def _fusable(value: ir.Value, by_node: dict[ir.Node, Unit]) -> ir.Node | None:
    """The kernel node that makes `value`, if it takes an epilogue."""
    node = value.producer()
    if node is None or family_of(node) not in EPILOGUE_AXIS or by_node[node].pointwise:
        return None
    return node


def _shown(nodes: Sequence[ir.Node]) -> dict[ir.Value, ir.Value]:
    """Values that show another value's bytes, and which."""
    return {node.outputs[0]: node.inputs[0] for node in nodes
            if shows(node) and node.inputs[0] is not None}


def _lower(lowerer: Lowerer, unit: Unit) -> None:
    """Raises ModelError naming a node whose operands or attributes do not fit its operator."""
    try:
        _lowered(lowerer, unit)
    except UNFIT as error:
        node = unit.nodes[0]
        shapes = [None if v is None or v.shape is None else list(v.shape) for v in node.inputs]
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not accept its inputs of the "
                         f"shapes {shapes} with its attributes: {error}") from error


def _lowered(lowerer: Lowerer, unit: Unit) -> None:
    if all(stays_packed(node) for node in unit.nodes):
        return
    if unit.pointwise:
        lower_group(lowerer, unit)
        return
    node = unit.nodes[0]
    row = find(node.domain, node.op_type)
    if row is not None and isinstance(row.lower, ViewOp):
        lower_view(lowerer, node)
    elif row is not None and isinstance(row.lower, Kernel):
        LOWERINGS[row.lower.family](lowerer, node)


def dump(plan: Plan) -> str:
    """The Plan as text, a line a step: for reading and for comparing."""
    lines = [f"{plan.name}: arena {plan.arena_bytes} B, state {plan.state_bytes} B, "
             f"constants {plan.const_bytes} B, {plan.macs} MACs"]
    for step in plan.steps:
        refs = " ".join(f"{r.place}[{r.index}]+{r.offset}" for r in step.operands)
        pieces = f"  in {len(step.pieces)} pieces" if step.pieces else ""
        lines.append(f"{step.variant:32} {refs}  # {visible(step.node, '')}{pieces}")
    return "\n".join(lines)
