from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.networks import INTEGER, NETWORKS, drawn_inputs

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact.check import Run, Subject, is_exact
from ganglion.artifact.check import check as check_build
from ganglion.artifact.samples import drawn, given
from ganglion.compression import quantize
from ganglion.errors import CheckError, DataError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import ready_to_plan


def check(model: ir.Model, run: Run, samples: Sequence[Mapping[str, np.ndarray]],
          given: ir.Model | None = None) -> dict[str, object]:
    """The check of a build that answers as `run` does."""
    return check_build(Subject(run, model, given or model), samples)


@pytest.mark.parametrize("name", ["dense", "cnn", "lstm", "attention"])
def test_float32_itself_passes_and_a_thousandth_does_not(name: str) -> None:
    model = ready_to_plan(NETWORKS[name]())
    samples = drawn(model.graph.inputs)
    figures = check(model, lambda sample: evaluate(model, sample), samples)
    assert figures["status"] == "passed"
    with pytest.raises(CheckError, match="differs from the reference"):
        check(model, lambda s: {k: v + np.float32(1e-3) * np.abs(v).max()
                                for k, v in evaluate(model, s).items()}, samples)


def test_where_rounding_decides_a_build_may_decide_otherwise() -> None:
    """x - y is zero but for the rounding of what gives the two: above zero or not?"""
    g = GraphBuilder("sides")
    x, y = (g.input(name, ir.DataType.FLOAT, (1,)) for name in "xy")
    g.output("out", g.where(g.greater(g.sub(x, y), 0.0), x, g.mul(x, -1.0)))
    model = ready_to_plan(g.model())
    drawn_x = np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32)

    def otherwise(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: -array for name, array in evaluate(model, sample).items()}

    check(model, otherwise, [{"x": a, "y": a} for a in drawn_x])
    with pytest.raises(CheckError):
        check(model, otherwise, [{"x": a, "y": a + np.float32(1e-3)} for a in drawn_x])


@pytest.mark.parametrize("how", ["mean", "statistics"])
def test_a_mean_of_terms_that_cancel_may_be_rounded_as_the_terms_are(how: str) -> None:
    """Half of 1,024 terms is 1, half -1: adding them in float32 rounds by their partial sums."""
    g = GraphBuilder("cancelling")
    x = g.input("x", ir.DataType.FLOAT, (1, 1, 1024))
    scaled = g.mul(x, 1.5)
    if how == "mean":
        found = g.op("ReduceMean", scaled, g.ints(2))
    else:
        ones, zeros = (g.constant(np.full(1, v, np.float32), f"v{v}") for v in (1, 0))
        found = g.ops("BatchNormalization", scaled, ones, zeros, zeros, ones, outputs=3,
                      training_mode=1, momentum=0.0)[1]
    g.output("out", found)
    model = ready_to_plan(g.model())
    sample = {"x": np.repeat(np.float32([1, -1]), 512).reshape(1, 1, 1024)}

    def off(by: float) -> dict[str, object]:
        return check(model, lambda s: {name: array + np.float32(by)
                                       for name, array in evaluate(model, s).items()}, [sample])

    off(2.0 ** -23)
    with pytest.raises(CheckError):
        off(1e-4)


def test_normalised_inputs_may_be_large() -> None:
    """Taking off a mean of 1e5 leaves the rounding of 1e5 in results of about 1."""
    net = L.Sequential([L.Input((20,)), L.LayerNormalization(), L.Dense(3)])
    x = (np.random.default_rng(0).standard_normal((4, 20)) + 1e5).astype(np.float32)
    assert gg.compile(net, calibration=x).manifest["check"]["status"] == "passed"


@pytest.mark.parametrize("name", INTEGER)
def test_one_wrong_code_fails_an_integer_network(name: str) -> None:
    net = NETWORKS[name]()
    model = ready_to_plan(quantize(net, calibration=drawn_inputs(net, 32)))
    assert is_exact(model)

    def wrong(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = evaluate(model, sample)
        first = next(iter(answers))
        answers[first] = answers[first].copy()
        answers[first].reshape(-1)[0] += np.float32(1e-6)
        return answers

    with pytest.raises(CheckError):
        check(model, wrong, drawn(model.graph.inputs))


def test_nan_where_the_reference_has_a_number_fails() -> None:
    model = ready_to_plan(NETWORKS["dense"]())
    with pytest.raises(CheckError):
        check(model, lambda s: {k: v * np.nan for k, v in evaluate(model, s).items()},
              drawn(model.graph.inputs))


def test_calibration_of_another_shape_is_refused_with_the_expected_one() -> None:
    model = ready_to_plan(NETWORKS["dense"]())
    with pytest.raises(DataError, match=r"expected \[8\]"):
        given(model.graph.inputs, np.zeros((4, 9), np.float32))
    with pytest.raises(DataError, match="2 calibration arrays"):
        given(model.graph.inputs, [np.zeros((4, 8), np.float32)] * 2)


def test_a_rounding_that_falls_the_other_way_is_within_the_tolerance() -> None:
    """x = 0.5 steps exactly: float32 and float64 may round it to either code, in any build."""
    g = GraphBuilder("tie")
    x, step = g.input("x", ir.DataType.FLOAT, (1, 64)), np.float32(0.1)
    rounded = g.op("FakeQuantize", x, g.constant(np.array([step])), domain="ai.ganglion")
    g.output("y", g.op("ReduceSum", rounded, keepdims=0))
    model = g.model()
    data = {"x": np.random.default_rng(0).normal(1, size=(1, 64)).astype(np.float32)}
    other = {name: a + step for name, a in evaluate(model, data).items()}
    assert check(model, lambda sample: other, [data])["status"] == "passed"
    wrong = {name: a + 64 * step for name, a in other.items()}
    with pytest.raises(CheckError):
        check(model, lambda sample: wrong, [data])
