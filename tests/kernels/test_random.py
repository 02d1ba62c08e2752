"""Random numbers are those of Philox4x32-10, and the counter says how many were drawn."""

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, assert_law, tried

from ganglion.kernels.random import RANDOM_UNIFORM, RandomUniformSpec

SPECS = [RandomUniformSpec(size) for size in (5, 64, 3)]
STATES = {5: (1, 2, 0, 0), 64: (0xFFFFFFFF, 7, 0xFFFFFFFE, 0), 3: (9, 9, 0xFFFFFFFF, 0xFFFFFFFF)}


def draw(family: object, spec: RandomUniformSpec, seed: int) -> dict[str, np.ndarray]:
    return {"state": np.array(STATES[spec.size], np.uint32)}


@pytest.mark.parametrize("way", WAYS)
def test_draws_equal_their_reference_bit_for_bit(way: str) -> None:
    assert_law(RANDOM_UNIFORM, SPECS, way, arrays=draw)


def test_the_first_words_are_those_of_the_authors_known_answers() -> None:
    """Random123's kat_vectors, philox4x32 10 with key 0 and counter 0."""
    known = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint32)
    zero = {"state": np.zeros(4, np.uint32)}
    ((_, found),) = tried(RANDOM_UNIFORM, [RandomUniformSpec(4)], "zig", lambda *_: zero)
    assert (found["y"] * 2**24).astype(np.uint32).tolist() == (known >> np.uint32(8)).tolist()


def test_two_short_draws_of_whole_blocks_equal_one_long_draw() -> None:
    def from_state(state: np.ndarray, size: int) -> dict[str, np.ndarray]:
        specs = [RandomUniformSpec(size)]
        return tried(RANDOM_UNIFORM, specs, "zig", lambda *_: {"state": state})[0][1]

    start = np.array([3, 4, 0xFFFFFFFD, 5], np.uint32)
    first = from_state(start, 8)
    second = from_state(first["new_state"], 8)
    whole = from_state(start, 16)
    assert np.concatenate([first["y"], second["y"]]).tolist() == whole["y"].tolist()
    assert second["new_state"].tolist() == whole["new_state"].tolist()
