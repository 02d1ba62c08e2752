"""Sums to codes in one step: every sum gives the code that the definition gives."""

from typing import Any

import numpy as np
import pytest
from tests.support.kernel_law import random_arrays, tried

from ganglion.kernels.base import Family
from ganglion.kernels.conv2d import CONV2D
from ganglion.kernels.conv2d_spec import Conv2dSpec
from ganglion.kernels.depthwise import DEPTHWISE
from ganglion.kernels.matmul import MATMUL, MatMulSpec, Requant
from ganglion.kernels.rescale import BITS, fit

SIGNED = Requant(-7, 5, -128, 127, below_one=True, fused=True)
UNSIGNED = Requant(0, 0, 0, 200, y_dtype="uint8", below_one=True, fused=True)
SAME3 = (1, 1, 1, 1)
SPECS: list[tuple[Family[Any], list[Any]]] = [
    (CONV2D, [Conv2dSpec("int8", 1, 7, 9, 20, 70, (3, 3), pads=SAME3, requant=SIGNED),
              Conv2dSpec("int8", 1, 5, 5, 8, 32, (3, 2), groups=2, bias=False, requant=UNSIGNED),
              Conv2dSpec("uint8", 1, 6, 6, 16, 64, (1, 1), requant=UNSIGNED)]),
    (DEPTHWISE, [Conv2dSpec("int8", 1, 7, 9, 70, 70, (3, 3), groups=70, pads=SAME3, requant=SIGNED),
                 Conv2dSpec("int8", 1, 5, 9, 16, 16, (3, 3), groups=16, requant=UNSIGNED)]),
    (MATMUL, [MatMulSpec("int8", 1, 1, 140, 50, bias=True, requant=SIGNED),
              MatMulSpec("uint8", 1, 9, 70, 33, trans_b=True, requant=UNSIGNED)]),
]


def middling(family: Family[Any], spec: Any, seed: int) -> dict[str, np.ndarray]:
    """Weights so small that sums stay within reach, and multipliers that use all codes."""
    found = random_arrays(family, spec, seed)
    name = "b" if family is MATMUL else "w"
    found[name] = (found[name] // 8).astype(np.int8)
    terms = found[name].size // found["multiplier"].size
    given = found["multiplier"] * np.float32(40 / terms ** 0.5)
    by_term = family is MATMUL and not spec.trans_b
    w = found[name].reshape((terms, -1) if by_term else (-1, terms))
    weights = w.T if by_term else w
    while spec.requant.rescale(spec.dtype, weights, found.get("bias"), given) is None:
        given = given * np.float32(1.0001)
    return found | {"multiplier": given}


@pytest.mark.parametrize("way", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
def test_kernels_that_rescale_in_one_step_give_the_same_codes(way: str) -> None:
    for family, specs in SPECS:
        for case, got in tried(family, specs, way, middling):
            want = family.reference(case.spec, case.arrays)["y"]
            np.testing.assert_array_equal(got["y"], want, f"{case.variant.name} {case.spec}")


@pytest.mark.parametrize(("lo", "hi"), [(0, 255), (-128, 127), (-5, 40)])
def test_every_sum_is_rescaled_as_by_definition(lo: int, hi: int) -> None:
    rng = np.random.default_rng(hi)
    multiplier = np.exp(rng.uniform(np.log(2e-4), np.log(0.5), 40)).astype(np.float32)
    least, most = rng.integers(-300_000, 0, 40), rng.integers(0, 300_000, 40)
    found = fit(multiplier, least, most, lo, hi)
    assert found is not None
    part = fit(multiplier[5:9], least[5:9], most[5:9], lo, hi)
    assert part is not None
    np.testing.assert_array_equal(part.shifts, found.shifts[5:9])
    for o in range(40):
        sums = np.arange(least[o], most[o] + 1)
        want = np.clip(np.rint(sums.astype(np.float32) * multiplier[o]), lo, hi)
        begun = (BITS + int(found.shifts[o]) + sums).astype(np.int32).view(np.float32)
        product = begun.astype(np.float64) * np.float64(found.factors[o])
        got = np.rint((product + np.float64(found.offsets[o])).astype(np.float32))
        np.testing.assert_array_equal(np.clip(got, lo, hi), want)


def test_sums_that_reach_too_far_are_not_rescaled() -> None:
    one = np.ones(1, np.int64)
    assert fit(np.float32([0.001]), -3_000_000 * one, 6_000_000 * one, -128, 127) is None
