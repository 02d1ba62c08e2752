"""Every row, forward and backward, as generated C: one network of all examples side by side."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.op_examples import Example, all_examples

from ganglion.build.check import check
from ganglion.build.compile import compile as build
from ganglion.build.compile import ready_to_plan
from ganglion.build.running import native_run
from ganglion.errors import UnsupportedOp
from ganglion.kernels.registry import families
from ganglion.ops.base import GANGLION_DOMAIN, Kernel
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import find
from ganglion.plan.lowering import LOWERINGS
from ganglion.plan.planner import plan

NOT_COMPILED = {
    "CastLike", "ConvTranspose-groups", "ArgMax-last",
    "ArgMin-last", "Pad-wrap", "OneHot", "OneHot-axis", "ScatterND-set", "ScatterElements",
    "ScatterElements-set", "Resize-uneven",
    *(f"Reduce{name}-none" for name in ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L2")),
}
"""What evaluates but does not compile: unusual attributes, which the planner refuses."""
NO_COMPILED_GRADIENT = {"GatherElements-rows"}
EXAMPLES = [e for e in all_examples() if (row := find(e.domain, e.op)) is not None and row.lower]


def _lowered(example: Example) -> bool:
    depthwise = str(example) == "Conv-depthwise"
    return str(example) not in NOT_COMPILED and (not depthwise or "depthwise" in families())


def _gradient_lowered(example: Example) -> bool:
    row, own = find("", example.op), find(GANGLION_DOMAIN, f"{example.op}Grad")
    return (row is not None and row.vjp is not None and str(example) not in NO_COMPILED_GRADIENT
            and (own is None or not isinstance(own.lower, Kernel)
                 or own.lower.family in LOWERINGS))


def _everything() -> tuple[ir.Model, dict[str, np.ndarray]]:
    g = GraphBuilder("rows")
    feeds: dict[str, np.ndarray] = {}
    for example in filter(_lowered, EXAMPLES):
        prefix = f"{str(example).lower().replace('-', '_')}_"
        node = example.add_to(g, prefix)
        feeds |= example.feeds(prefix)
        if _gradient_lowered(example):
            drawn, _ = example.add_gradient(g, node, prefix)
            feeds |= {k: a.astype(np.float32) for k, a in drawn.items()}
    return g.model(), feeds


@pytest.mark.slow
@pytest.mark.parametrize("isas", [("scalar",), None], ids=["scalar", "host"])
def test_generated_c_equals_the_reference(isas: tuple[str, ...] | None) -> None:
    model, feeds = _everything()
    artifact = build(model, isas=isas, check=False)
    ready = ready_to_plan(model)
    found = check(ready, native_run(artifact, ready), [feeds])
    assert found["status"] == "passed"


@pytest.mark.parametrize("example", [e for e in all_examples() if str(e) in NOT_COMPILED], ids=str)
def test_what_does_not_compile_is_refused_by_name(example: Example) -> None:
    g, node = example.build()
    with pytest.raises(UnsupportedOp, match=f"node '{node.name}'"):
        plan(ready_to_plan(g.model()))
