"""Gradients through time equal their reference, and the reference equals finite differences."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share

from ganglion.kernels import recurrent
from ganglion.kernels.recurrent import RecurrentSpec
from ganglion.kernels.recurrent_grad import RECURRENT_GRAD, RecurrentGradSpec, reference

SPECS = [
    RecurrentGradSpec(RecurrentSpec("lstm", 4, 3, 5, 18, trace=True, h0=True, c0=True),
                      dh=True, dc=True),
    RecurrentGradSpec(RecurrentSpec("lstm", 3, 8, 20, 16, "bidirectional", trace=True)),
    RecurrentGradSpec(RecurrentSpec("lstm", 1, 1, 2, 3, "reverse", trace=True), dy=False, dh=True),
    RecurrentGradSpec(RecurrentSpec("gru", 4, 3, 5, 17, "bidirectional", trace=True, h0=True),
                      dh=True),
    RecurrentGradSpec(RecurrentSpec("gru", 3, 7, 2, 9, "reverse", linear_before_reset=True,
                                    trace=True)),
    RecurrentGradSpec(RecurrentSpec("gru", 3, 2, 2, 4, linear_before_reset=True, trace=True,
                                    h0=True), dh=True),
    RecurrentGradSpec(RecurrentSpec("rnn", 5, 2, 3, 33, "bidirectional", trace=True,
                                    activations=("Tanh", "Softsign"))),
    RecurrentGradSpec(RecurrentSpec("rnn", 3, 2, 3, 4, "reverse", trace=True, h0=True), dh=True),
    # several blocks of steps
    RecurrentGradSpec(RecurrentSpec("lstm", 5, 60, 3, 16, "bidirectional", trace=True, h0=True)),
    RecurrentGradSpec(RecurrentSpec("gru", 5, 60, 3, 5, "bidirectional", trace=True)),
    RecurrentGradSpec(RecurrentSpec("gru", 4, 65, 3, 5, "bidirectional", linear_before_reset=True,
                                    trace=True), dx=False),
]


def draw(family: object, spec: RecurrentGradSpec, seed: int) -> dict[str, np.ndarray]:
    """Weights and slopes at random, the trace as the layer leaves it."""
    rng = np.random.default_rng(spec.layer.hidden)
    arrays = {o.name: rng.normal(0, 0.5, o.size).astype(np.float32)
              for o in recurrent.operands(spec.layer) if o.role != "output"}
    arrays |= {name: value.reshape(-1) for name, value
               in recurrent.reference(spec.layer, arrays).items()}
    wanted = {o.name: o.size for o in RECURRENT_GRAD.operands(spec) if o.role != "output"}
    arrays |= {n: rng.normal(size=wanted[n]).astype(np.float32) for n in ("dy", "dh", "dc")
               if n in wanted}
    return {n: arrays[n] for n in [*wanted, "b"]}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_through_time_equal_their_reference(way: str) -> None:
    assert_law(RECURRENT_GRAD, share(SPECS, way), way, lambda spec: 1e-5, draw, relative=2e-5)


@pytest.mark.parametrize(
    "spec", [s for s in SPECS if s.dx],
    ids=lambda spec: f"{spec.layer.cell}-{spec.layer.direction}")
def test_the_reference_equals_finite_differences(spec: RecurrentGradSpec) -> None:
    arrays = draw(RECURRENT_GRAD, spec, 0)
    grads = reference(spec, arrays)
    rng = np.random.default_rng(1)

    def loss(inputs: dict[str, np.ndarray]) -> float:
        out = recurrent.reference(spec.layer, inputs)
        pairs = (("y", "dy"), ("h", "dh"), ("c", "dc"))
        return sum(float(out[a].reshape(-1).astype(np.float64) @ arrays[b]) for a, b in pairs
                   if b in arrays)

    for name in ("x", "w", "r", "b", *["h0"] * spec.layer.h0, *["c0"] * spec.layer.c0):
        step = rng.normal(size=arrays[name].size).astype(np.float32) * np.float32(1e-3)
        rise = (loss({**arrays, name: arrays[name] + step})
                - loss({**arrays, name: arrays[name] - step})) / 2
        expected = float(grads[f"d{name}"].reshape(-1).astype(np.float64) @ step)
        assert rise == pytest.approx(expected, rel=5e-3, abs=2e-4), name
