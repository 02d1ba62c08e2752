"""The gradient of every row against central differences in float64."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.op_examples import Example, all_examples

from ganglion.ops.evaluate import evaluate
from ganglion.ops.registry import find, rows

EXAMPLES = [e for e in all_examples() if (row := find(e.domain, e.op)) is not None and row.vjp]
STEP = 1e-6


def test_every_row_with_a_gradient_has_an_example() -> None:
    without = {key for key, row in rows().items() if row.vjp} - {(e.domain, e.op)
                                                                for e in EXAMPLES}
    assert not without


def _with_gradients(example: Example) -> tuple[ir.Model, dict[str, np.ndarray], list[int]]:
    """The example's graph extended by its vjp; drawn dys; the inputs that got a gradient."""
    g, node = example.build()
    drawn, got = example.add_gradient(g, node)
    return g.model(), drawn, got


def _wanted(example: Example) -> list[int]:
    return [k for k, a in enumerate(example.inputs)
            if a is not None and a.dtype == np.float32 and k not in example.fixed]


def _loss(model: ir.Model, feeds: Mapping[str, np.ndarray], dys: Mapping[str, np.ndarray]) -> float:
    out = evaluate(model, {**feeds, **dys}, dtype=np.float64)
    return float(sum((out[f"y{k[2:]}"] * dy).sum() for k, dy in dys.items()))


@pytest.mark.parametrize("example", [e for e in EXAMPLES if not e.kink], ids=str)
def test_gradient_equals_central_differences(example: Example) -> None:
    model, dys, got = _with_gradients(example)
    forward = example.build()[0]
    for k in dys:
        forward.input(k, ir.DataType.FLOAT, dys[k].shape)
    feeds = {k: a.astype(np.float64) if a.dtype == np.float32 else a
             for k, a in example.feeds().items()}
    gradients = evaluate(model, {**feeds, **dys}, dtype=np.float64)
    flat = not dys or not any(g in got for g in _wanted(example))
    rng = np.random.default_rng(11)
    for k in _wanted(example):
        if k in example.constants:
            continue
        for _ in range(4):
            direction = rng.standard_normal(feeds[f"x{k}"].shape)
            up = {**feeds, f"x{k}": feeds[f"x{k}"] + STEP * direction}
            down = {**feeds, f"x{k}": feeds[f"x{k}"] - STEP * direction}
            slope = 0.0 if not dys else (
                _loss(forward.model(), up, dys) - _loss(forward.model(), down, dys)) / (2 * STEP)
            found = 0.0 if flat else float((gradients[f"dx{k}"] * direction).sum())
            assert found == pytest.approx(slope, rel=2e-5, abs=2e-7), f"input {k}"


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_gradient_has_the_shape_of_its_input(example: Example) -> None:
    model, dys, got = _with_gradients(example)
    out = evaluate(model, {**example.feeds(), **dys})
    shapes = {v.name: v.shape for v in model.graph.outputs}
    for k in got:
        array = example.inputs[k]
        assert array is not None
        assert out[f"dx{k}"].shape == array.shape
        assert out[f"dx{k}"].dtype == np.float32
        shape = shapes[f"dx{k}"]
        assert shape is not None
        assert list(shape) == list(array.shape), "inferred"
