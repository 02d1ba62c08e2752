"""`ganglion inspect`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from ganglion.cli.show import print_json, print_table, say
from ganglion.cli.source import Source
from ganglion.ops.facts import is_coding, is_op
from ganglion.ops.named import DEQUANTIZE_LINEAR, RESIZE
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import dump
from ganglion.plan.planner import plan as make_plan
from ganglion.plan.types import Plan
from ganglion.toolchain.targets import host
from ganglion.training.step.selection import layer_of

PARAMETER_TYPES = {ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT32}


@dataclass
class Layer:
    """One line of the table. `dtype`: what its result is stored as."""

    name: str
    operators: list[str] = field(default_factory=list)
    output: str = ""
    dtype: str = ""
    parameters: int = 0
    macs: int = 0


def run_plan(source: Source) -> None:
    """Prints what this machine would do for one call, a line a step."""
    for line in dump(make_plan(ready_to_plan(source.load()), host().isas)).split("\n"):
        say(line)


def run(source: Source, as_json: bool) -> None:
    """Prints a network's layers and what a call of it takes."""
    model = source.load()
    ready = ready_to_plan(model)
    plan = make_plan(ready, ("scalar",))
    layers = describe(model, ready, plan)
    totals = {"parameters": sum(row.parameters for row in layers), "macs": plan.macs,
              "const_bytes": plan.const_bytes, "arena_bytes": plan.arena_bytes,
              "state_bytes": plan.state_bytes}
    if as_json:
        rows = [{"layer": r.name, "operators": r.operators, "output": r.output, "dtype": r.dtype,
                 "parameters": r.parameters, "macs": r.macs} for r in layers]
        ports = {"inputs": [_port(v) for v in model.graph.inputs],
                 "outputs": [_port(v) for v in model.graph.outputs]}
        print_json({"name": model.graph.name, **ports, "layers": rows, **totals})
        return
    print_table(source.path.name, ["layer", "operators", "output", "type", "parameters", "MACs"],
                [[r.name, " ".join(r.operators), r.output, r.dtype, r.parameters, r.macs]
                 for r in layers])
    say(f"inputs: {_listed(model.graph.inputs)}   outputs: {_listed(model.graph.outputs)}")
    say("parameters {parameters:,}   MACs {macs:,}   constants {const_bytes:,} bytes   "
        "arena {arena_bytes:,} bytes   state {state_bytes:,} bytes".format(**totals))


def describe(model: ir.Model, ready: ir.Model, plan: Plan) -> list[Layer]:
    """The layers of `model` in order; MACs by the steps of `plan`, which was made of `ready`."""
    homes = {str(node.name): layer_of(node) for node in ready.graph}
    macs: Counter[str] = Counter()
    for step in plan.steps:
        first = step.node.split("+")[0]
        macs[homes.get(first, first)] += step.macs
    layers: dict[str, Layer] = {}
    counted: set[ir.Value] = set()
    for node in model.graph:
        name = _home(node)
        row = layers.setdefault(name, Layer(name, macs=macs[name]))
        new = [v for v in node.inputs if v is not None and v not in counted and is_parameter(v)]
        row.parameters += sum(int(v.const_value.size) for v in new if v.const_value is not None)
        counted.update(new)
        if not is_coding(node) and node.op_type not in row.operators:
            row.operators.append(node.op_type)
        if node.inputs[:1] and (node.inputs[0] is None or not node.inputs[0].is_initializer()):
            coded = is_op(node, DEQUANTIZE_LINEAR) and node.inputs[0] is not None
            value = node.inputs[0] if coded else node.outputs[0]
            row.output = str(node.outputs[0].shape)
            row.dtype = "" if value is None or value.dtype is None else str(value.dtype.numpy())
    return list(layers.values())


def _home(node: ir.Node) -> str:
    """The layer to show a node under; what quantises goes to the layer that makes the numbers, or,
    for weights and the network's inputs, to the one that reads them."""
    if not is_coding(node):
        return layer_of(node)
    above: ir.Node | None = node
    while above is not None and is_coding(above):
        above = None if above.inputs[0] is None else above.inputs[0].producer()
    if above is not None:
        return layer_of(above)
    below = node
    while is_coding(below) and (uses := list(below.outputs[0].uses())):
        below = uses[0].node
    return layer_of(below)


def is_parameter(value: ir.Value) -> bool:
    """Whether a value is a weight: no shape, index, single number, or scale of codes."""
    if not value.is_initializer() or value.const_value is None or not value.shape:
        return False
    read_as = {use.idx for use in value.uses()
               if is_coding(use.node) or is_op(use.node, RESIZE)}
    return value.dtype in PARAMETER_TYPES and not any(read_as)


def _port(value: ir.Value) -> dict[str, object]:
    return {"name": value.name, "dtype": "" if value.dtype is None else str(value.dtype.numpy()),
            "shape": [d if isinstance(d, int) else str(d) for d in value.shape or ()]}


def _listed(values: Iterable[ir.Value]) -> str:
    return ", ".join(f"{v.name} {v.shape}" for v in values)
