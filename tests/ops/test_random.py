"""The generator against its authors' known answers, and the laws of its state."""

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.random import dropout, philox, uniform

KNOWN = [
    ("00000000 00000000 00000000 00000000 00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Counter, key, result of philox4x32-10: kat_vectors of the Random123 distribution."""


@pytest.mark.parametrize(("given", "expected"), KNOWN)
def test_philox_gives_the_published_answers(given: str, expected: str) -> None:
    words = [int(w, 16) for w in given.split()]
    found = philox(np.array([words[:4]], np.uint32), (words[4], words[5]))
    assert found.tolist() == [[int(w, 16) for w in expected.split()]]


def test_the_state_continues_where_the_last_block_ended() -> None:
    state = np.array([7, 9, 0xFFFFFFFE, 3], np.uint32)
    whole, end = uniform({"shape": [24]}, state)
    first, middle = uniform({"shape": [2, 6]}, state)
    second, last = uniform({"shape": [12]}, middle)
    np.testing.assert_array_equal(np.concatenate([first.ravel(), second]), whole)
    np.testing.assert_array_equal(end, last)
    assert end.tolist() == [7, 9, 4, 4], "the counter carries into its upper word"


def test_a_part_of_a_block_uses_it_up() -> None:
    state = np.array([1, 2, 3, 0], np.uint32)
    assert uniform({"shape": [5]}, state)[1].tolist() == [1, 2, 5, 0]


def test_values_are_uniform_in_the_unit_interval() -> None:
    values, _ = uniform({"shape": [20000]}, np.array([5, 0, 0, 0], np.uint32))
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8, "chi-square, 19 degrees, p = 0.001"


def test_dropout_zeroes_at_its_rate_and_keeps_the_mean() -> None:
    g = GraphBuilder("drop")
    x = g.input("x", ir.DataType.FLOAT, (100, 100))
    state = g.input("state", ir.DataType.UINT32, (4,))
    y, new = dropout(g, x, 0.3, state)
    g.output("y", y)
    g.output("new", new)
    out = evaluate(g.model(), {"x": np.ones((100, 100), np.float32),
                               "state": np.array([1, 0, 0, 0], np.uint32)})
    kept = out["y"] > 0
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.3 * 0.7 / 10000)
    np.testing.assert_allclose(out["y"][kept], 1 / 0.7, rtol=1e-6)
    assert out["new"].tolist() == [1, 0, 2500, 0]
