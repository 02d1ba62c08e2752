"""Recurrent layers: every cell, direction, option and awkward size equals the reference."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, share

from ganglion.kernels.recurrent import RECURRENT, VALUES, Function, RecurrentSpec

SPECS = [
    RecurrentSpec("lstm", 5, 1, 3, 4),
    RecurrentSpec("lstm", 4, 7, 5, 19, "bidirectional", h0=True, c0=True, trace=True,
                  w_const=False),
    RecurrentSpec("lstm", 3, 2, 18, 32, "reverse", bias=False, c0=True),
    RecurrentSpec("gru", 4, 3, 5, 17, h0=True, trace=True, w_const=False),
    RecurrentSpec("gru", 4, 8, 2, 16, "bidirectional", linear_before_reset=True, trace=True),
    RecurrentSpec("gru", 2, 1, 3, 5, "reverse", linear_before_reset=True, w_const=False, h0=True,
                  trace=True),
    RecurrentSpec("gru", 3, 2, 4, 9, bias=False, linear_before_reset=True),
    RecurrentSpec("rnn", 6, 13, 1, 24, "bidirectional", activations=("Relu", "Tanh"), trace=True),
    RecurrentSpec("rnn", 3, 2, 4, 3, "reverse", h0=True, bias=False, w_const=False, trace=True),
    RecurrentSpec("lstm", 3, 2, 2, 6, activations=("HardSigmoid", "Affine", "LeakyRelu"),
                  alphas=(0.25, 0.5, 0.125), betas=(0.4, 0.1)),
    RecurrentSpec("lstm", 2, 2, 2, 6, activations=("HardSigmoid", "Softsign", "Softplus")),
    RecurrentSpec("gru", 2, 2, 2, 6, activations=("Sigmoid", "Elu")),
    # several blocks of steps, several panels of weights
    RecurrentSpec("lstm", 5, 25, 17, 48, "bidirectional", w_const=False),
    RecurrentSpec("gru", 5, 25, 3, 40, "bidirectional", linear_before_reset=True),
    RecurrentSpec("gru", 4, 1, 3, 80),
    RecurrentSpec("lstm", 50, 1, 3, 6, "reverse"),
    RecurrentSpec("lstm", 3, 2, 18, 19, "bidirectional", codes=True),
    RecurrentSpec("gru", 3, 1, 4, 80, linear_before_reset=True, codes=True, bias=False),
    RecurrentSpec("gru", 3, 9, 4, 17, codes=True),
]


def draw(family: object, spec: RecurrentSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(spec.hidden)
    arrays = {o.name: rng.normal(0, 0.4, o.size).astype(np.float32)
              for o in RECURRENT.operands(spec) if o.role != "output"}
    if spec.codes:
        arrays |= {n: np.clip(arrays[n] * 100, -128, 127).astype(np.int8) for n in ("w", "r")}
        arrays |= {n: np.abs(arrays[n]) / 40 for n in ("w_scale", "r_scale")}
    return arrays


@pytest.mark.parametrize("way", WAYS)
def test_recurrent_layers_equal_their_reference(way: str) -> None:
    assert_law(RECURRENT, share(SPECS, way), way, lambda spec: 3e-6, draw, relative=1e-5)


@pytest.mark.parametrize("name", VALUES)
def test_the_slope_follows_from_the_value(name: str) -> None:
    function = Function(name, 0.3, 0.4)
    x = np.array([-2.5, -0.7, -0.1, 0.2, 0.9, 3.1])
    step = 1e-6
    found = (function.value(x + step) - function.value(x - step)) / (2 * step)
    np.testing.assert_allclose(function.slope(function.value(x)), found, atol=1e-8)
