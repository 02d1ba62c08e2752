"""Drawn nodes held against ONNX's own reference: many in one library, on every kind of machine."""

import os
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import settings
from onnx.reference import ReferenceEvaluator
from tests.support.op_examples import Example

from ganglion import cpu
from ganglion.artifact.compile import compile as build
from ganglion.artifact.running import emulated_run, native_run
from ganglion.emit.c import emit
from ganglion.ops.base import OPSET
from ganglion.ops.dialect import IR_VERSION
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.toolchain.emulators import available
from ganglion.toolchain.targets import target

WAYS = ["scalar", "avx2", "host", pytest.param("raspberrypi4", marks=pytest.mark.emulator),
        pytest.param("wasm32", marks=pytest.mark.emulator)]
"""For `pytest.mark.parametrize("way", WAYS)`: instruction sets of this machine, or a target."""


def draws(count: int) -> settings:
    """Hypothesis's settings for `count` cases, times what GANGLION_DRAWS says."""
    return settings(max_examples=count * int(os.environ.get("GANGLION_DRAWS", "1")),
                    deadline=None, derandomize=True)


def expected(example: Example) -> list[np.ndarray]:
    """What ONNX's own reference gives for the node, never the project's."""
    _, node = example.build()
    proto = ir.to_proto(node)
    names = [v.name if v is not None else "" for v in node.inputs]
    graph = onnx.GraphProto(name="one", node=[proto])
    graph.input.extend(onnx.ValueInfoProto(name=n) for n in dict.fromkeys(names) if n)
    graph.output.extend(onnx.ValueInfoProto(name=n) for n in proto.output)
    model = onnx.helper.make_model(graph, ir_version=IR_VERSION,
                                   opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    feeds = {n: a for n, a in zip(names, example.inputs) if n and a is not None}
    with np.errstate(all="ignore"):
        return [np.asarray(a) for a in ReferenceEvaluator(model).run(None, feeds)]


def together(examples: Sequence[Example]) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """The nodes side by side, example k with names that begin with e{k}_, and their inputs."""
    g = GraphBuilder("side_by_side")
    feeds: dict[str, np.ndarray] = {}
    for k, example in enumerate(examples):
        example.add_to(g, f"e{k}_")
        feeds |= example.feeds(f"e{k}_")
    return g.model(), feeds


def computed(examples: Sequence[Example], way: str) -> list[list[np.ndarray]]:
    """What one library of all the nodes gives, example by example."""
    model, feeds = together(examples)
    if way in ("scalar", "avx2", "host"):
        if way == "avx2" and "avx2" not in cpu.isas():
            pytest.skip("this machine has no AVX2")
        isas = {"scalar": ("scalar",), "avx2": ("avx2", "scalar"), "host": None}[way]
        artifact = build(model, isas=isas, check=False)
        answers = native_run(artifact, ready_to_plan(model))(feeds)
    else:
        goal = target(way)
        if not available(goal):
            pytest.skip(f"no emulator for {way}")
        ready = ready_to_plan(model)
        made = plan(ready, goal.isas)
        answers = emulated_run(made, goal, emit(made), ready)(feeds)
    return [[answers[f"e{k}_y{i}"] for i in range(e.outputs)] for k, e in enumerate(examples)]
