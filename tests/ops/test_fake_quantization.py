"""FakeQuantize: what QuantizeLinear and DequantizeLinear give, with a straight-through gradient."""

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from ganglion.ops.base import GANGLION_DOMAIN
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.training.step.differentiate import differentiate

FLOAT = ir.DataType.FLOAT
CODES = [(0, -128, 127), (-128, -128, 127), (17, -128, 127), (0, -127, 127), (0, -7, 7)]


def network(shape: tuple[int, ...], scale: tuple[int, ...], codes: tuple[int, int, int],
            gain: float = 1.0) -> ir.Model:
    """Inputs x, s, d; outputs y and the loss Σ y · d."""
    zero, low, high = codes
    g = GraphBuilder("fake")
    x, s, d = (g.input(n, FLOAT, dims) for n, dims in (("x", shape), ("s", scale), ("d", shape)))
    y = g.op("FakeQuantize", x, s, domain=GANGLION_DOMAIN, zero_point=zero, low=low, high=high,
             gain=gain)
    g.output("loss", g.op("ReduceSum", g.mul(y, d), keepdims=0))
    g.output("y", y)
    return g.model()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), step=st.floats(1e-3, 3.0), zero=st.integers(-128, 127))
def test_the_value_is_that_of_quantising_and_dequantising(seed: int, step: float,
                                                          zero: int) -> None:
    x = np.random.default_rng(seed).normal(0, 60, (5, 7)).astype(np.float32)
    g = GraphBuilder("pair")
    s, z = g.constant(np.float32(step)), g.constant(np.int8(zero))
    codes = g.op("QuantizeLinear", g.input("x", FLOAT, (5, 7)), s, z)
    g.output("y", g.op("DequantizeLinear", codes, s, z))
    expected = evaluate(g.model(), {"x": x})["y"]
    found = evaluate(network((5, 7), (), (zero, -128, 127)),
                     {"x": x, "s": np.float32(step), "d": x})["y"]
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), codes=st.sampled_from(CODES), by_channel=st.booleans(),
       gain=st.sampled_from([1.0, 0.25]))
def test_the_gradient_is_that_of_clipping_with_the_rounding_error_held(
        seed: int, codes: tuple[int, int, int], by_channel: bool, gain: float) -> None:
    """y = s · (clip(x / s) + e), e = rint(x / s) - x / s inside and 0 outside, differentiated
    with e as a constant: the straight-through estimator, and Esser et al.'s for the scale."""
    rng = np.random.default_rng(seed)
    zero, low, high = codes
    shape, broadcast = ((3, 40), (3, 1)) if by_channel else ((3, 40), (1,))
    s = rng.uniform(0.01, 0.5, broadcast)
    x = rng.uniform(1.5 * (low - zero) - 3, 1.5 * (high - zero) + 3, shape) * s
    d = rng.normal(size=shape)
    model = differentiate(network(shape, broadcast, codes, gain), "loss", ["x", "s"])
    found = evaluate(model, {"x": x, "s": s, "d": d}, dtype=np.float64)
    v = x / s
    inside = (v >= low - zero - 0.5) & (v <= high - zero + 0.5)
    e = np.where(inside, np.rint(v) - v, 0.0)

    def loss(x: np.ndarray, s: np.ndarray) -> float:
        held = np.where(inside, x / s, np.clip(v, low - zero, high - zero))
        return float((s * (held + e) * d).sum())

    for name, at in (("x", x), ("s", s)):
        for index in list(np.ndindex(at.shape))[::17]:
            ends = []
            for move in (1e-6, -1e-6):
                moved = {"x": x.copy(), "s": s.copy()}
                moved[name][index] += move
                ends.append(loss(moved["x"], moved["s"]))
            slope = (ends[0] - ends[1]) / 2e-6 * (gain if name == "s" else 1.0)
            np.testing.assert_allclose(found[f"grad.{name}"][index], slope, rtol=1e-4, atol=1e-5)


def test_no_gradient_passes_beyond_half_a_step_outside_the_range() -> None:
    x = np.float32([[-9.0, -0.7, 0.0, 0.74, 0.76, 9.0]])
    model = differentiate(network((1, 6), (), (0, -7, 7)), "loss", ["x"])
    found = evaluate(model, {"x": x, "s": np.float32(0.1), "d": np.ones((1, 6), np.float32)})
    np.testing.assert_array_equal(found["grad.x"], [[0, 1, 1, 1, 0, 0]])


def test_nan_stays_nan() -> None:
    x = np.float32([[np.nan, 1.0]])
    found = evaluate(network((1, 2), (), (0, -128, 127)),
                     {"x": x, "s": np.float32(0.1), "d": x})["y"]
    assert np.isnan(found[0, 0])
    assert not np.isnan(found[0, 1])
