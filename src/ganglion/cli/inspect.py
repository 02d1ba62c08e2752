"""`ganglion inspect`."""

from collections import Counter
from pathlib import Path

import onnx_ir as ir

from ganglion.build.compile import ready_to_plan
from ganglion.cli.show import console, print_json, print_table
from ganglion.frontends import load
from ganglion.plan.planner import plan as make_plan
from ganglion.plan.types import Plan


def run(path: Path, as_json: bool) -> None:
    """Prints a network's layers and what a call of it takes."""
    model = load(path)
    plan = make_plan(ready_to_plan(model), ("scalar",))
    report = describe(model, plan)
    if as_json:
        print_json(report)
        return
    rows = [[r["layer"], r["operators"], r["output"], r["parameters"], r["macs"]]
            for r in report["layers"]]  # type: ignore[attr-defined]
    print_table(f"{path.name}", ["layer", "operators", "output", "parameters", "MACs"], rows)
    console.print(f"parameters {report['parameters']:,}   MACs {report['macs']:,}   "
                  f"constants {report['const_bytes']:,} bytes   "
                  f"arena {report['arena_bytes']:,} bytes   state {report['state_bytes']:,} bytes")


def describe(model: ir.Model, plan: Plan) -> dict[str, object]:
    """Layers in order with operators, output shape, parameters and MACs; and the totals."""
    macs: Counter[str] = Counter()
    for step in plan.steps:
        macs[step.node.split("+")[0]] += step.macs
    layers: dict[str, dict[str, object]] = {}
    for node in model.graph:
        name = layer_of(node)
        row = layers.setdefault(name, {"layer": name, "operators": [], "output": "",
                                       "parameters": 0, "macs": 0})
        row["operators"].append(node.op_type)  # type: ignore[attr-defined]
        row["output"] = str(node.outputs[0].shape)
        row["macs"] += macs[str(node.name)]  # type: ignore[operator]
        for value in node.inputs:
            if value is not None and value.const_value is not None:
                row["parameters"] += int(value.const_value.size)  # type: ignore[operator]
    for row in layers.values():
        row["operators"] = " ".join(dict.fromkeys(row["operators"]))  # type: ignore[call-overload]
    parameters = sum(int(v.const_value.size) for v in model.graph.initializers.values()
                     if v.const_value is not None)
    return {"name": model.graph.name, "layers": list(layers.values()), "parameters": parameters,
            "macs": plan.macs, "const_bytes": plan.const_bytes, "arena_bytes": plan.arena_bytes,
            "state_bytes": plan.state_bytes}


def layer_of(node: ir.Node) -> str:
    """The layer that a node belongs to, or the node's own name."""
    return node.metadata_props.get("ganglion.layer") or str(node.name).split("/")[0]
