"""Random numbers from a counter: the state is an ordinary array, the same on every target."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Family, Operand, Variant
from ganglion.kernels.isa import SCALAR

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = (1 << 32) - 1


@dataclass(frozen=True)
class RandomUniformSpec:
    """`size` values in [0, 1), float32, by Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel
    random numbers: as easy as 1, 2, 3", SC 2011, section 3.3).

    state: uint32[4] = key 0, key 1, counter low, counter high. Four consecutive values come from
    block counter + j (upper counter words 0), each (word >> 8) · 2^-24; new_state has the counter
    of the first unused block. Operands: state, y, new_state (may share state's bytes).
    """

    size: int


def operands(spec: RandomUniformSpec) -> list[Operand]:
    """The arrays of a draw, in parameter order."""
    return [Operand("state", "uint32", 4), Operand("y", "float32", spec.size, "output"),
            Operand("new_state", "uint32", 4, "output", alias=("state",))]


def _philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ k0, p1 & LOW, p0 >> 32 ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return c0, c1, c2, c3


def reference(spec: RandomUniformSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Block by block in Python's integers."""
    k0, k1, low, high = (int(word) for word in arrays["state"].reshape(-1))
    start, blocks = low | high << 32, -(-spec.size // 4)
    counters = [(start + j) & (1 << 64) - 1 for j in range(blocks + 1)]
    words = [w for c in counters[:-1] for w in _philox((c & LOW, c >> 32, 0, 0), (k0, k1))]
    values = (np.array(words, np.uint32)[:spec.size] >> np.uint32(8)).astype(np.float32)
    new = np.array([k0, k1, counters[-1] & LOW, counters[-1] >> 32], np.uint32)
    return {"y": values * np.float32(2.0**-24), "new_state": new}


RANDOM_UNIFORM: Family[RandomUniformSpec] = Family(
    "random_uniform", operands, reference,
    variants=(Variant("random_uniform_f32__scalar", SCALAR, "random_uniform.c.j2",
                      cost=lambda spec: 12.0 * spec.size),))
FAMILIES = (RANDOM_UNIFORM,)
