"""Every row, forward and backward, as generated C: one network of all examples side by side."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.compiled_examples import (
    compiled_examples,
    gradient_compiles,
    network,
    prefix,
)
from tests.support.double import DoubleNetwork
from tests.support.op_examples import Example

from ganglion.artifact.check import Subject, check
from ganglion.artifact.compile import compile as build
from ganglion.artifact.running import native_run
from ganglion.ops.registry import rows
from ganglion.passes.pipeline import ready_to_plan

EXAMPLES = compiled_examples()
SMOOTH = [e for e in EXAMPLES if gradient_compiles(e) and not e.kink]
UNMOVED = {("ai.ganglion", "Uniform"), ("ai.ganglion", "FakeQuantize")}
"""Rows with a gradient that cannot be held against differences of C: the input of the
generator is its state, and a straight-through gradient is no slope."""
STEP = 1e-6
DIRECTIONS = 4


@pytest.mark.slow
@pytest.mark.parametrize("isas", [("scalar",), None], ids=["scalar", "host"])
def test_generated_c_equals_the_reference(isas: tuple[str, ...] | None) -> None:
    model, feeds = network(EXAMPLES)
    artifact = build(model, isas=isas, check=False)
    ready = ready_to_plan(model)
    found = check(Subject(native_run(artifact, ready), ready, model), [feeds])
    assert found["status"] == "passed"


def test_every_row_with_a_gradient_has_a_smooth_example_that_compiles() -> None:
    wanted = {key for key, row in rows().items() if row.vjp and row.lower}
    assert wanted - {(e.domain, e.op) for e in SMOOTH} == UNMOVED


@pytest.fixture(scope="module")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[float, float]]]:
    """For the inputs of every example, by name: central difference of generated C in float64
    along some directions, and what the generated gradient says. The examples share no value, so
    one call moves input k of all of them."""
    model, feeds = network(SMOOTH)
    compiled = DoubleNetwork(model, Path(tmp_path_factory.mktemp("double")))
    gradients = compiled.run(feeds)
    rng = np.random.default_rng(11)
    found: dict[str, list[tuple[float, float]]] = {}
    for k in range(max(len(e.inputs) for e in SMOOTH)):
        moved = [e for e in SMOOTH if k in _differentiable(e)]
        for _ in range(DIRECTIONS):
            way = {f"{prefix(e)}x{k}": rng.standard_normal(feeds[f"{prefix(e)}x{k}"].shape)
                   for e in moved}
            up, down = (compiled.run(feeds | {n: feeds[n].astype(np.float64) + sign * STEP * d
                                              for n, d in way.items()}) for sign in (1, -1))
            for e in moved:
                name = f"{prefix(e)}x{k}"
                rise = sum(float(((up[y] - down[y]) * feeds[dy]).sum())
                           for y, dy in _pairs(e, feeds))
                gradient = gradients.get(f"{prefix(e)}dx{k}", np.zeros(1))
                found.setdefault(name, []).append(
                    (rise / (2 * STEP), float((gradient * way[name]).sum())))
    return found


def _differentiable(example: Example) -> list[int]:
    return [k for k, a in enumerate(example.inputs) if a is not None and a.dtype == np.float32
            and k not in example.fixed and k not in example.constants]


def _pairs(example: Example, feeds: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Outputs that have a gradient, with the input that brings it."""
    names = [(f"{prefix(example)}y{k}", f"{prefix(example)}dy{k}") for k in range(example.outputs)]
    return [(y, dy) for y, dy in names if dy in feeds]


@pytest.mark.parametrize("example", [e for e in SMOOTH if _differentiable(e)], ids=str)
def test_the_gradient_in_scalar_c_equals_central_differences_of_scalar_c(
        example: Example, slopes: dict[str, list[tuple[float, float]]]) -> None:
    for k in _differentiable(example):
        for slope, gradient in slopes[f"{prefix(example)}x{k}"]:
            assert gradient == pytest.approx(slope, rel=2e-5, abs=2e-7), f"input {k}"
