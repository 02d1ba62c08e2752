"""The law of the call's cost. Run it alone: other work on the machine is not the call's fault."""

import time
import timeit

import numpy as np
import pytest
from tests.support.hand_made import built

from ganglion.runtime import Session
from ganglion.runtime.binding import EXTENSION

LIMIT_US = 0.4
CALLS = 2000


def best_us(call, names, enough):
    """The best of many short runs, tried again for a while on a busy machine."""
    best = np.inf
    for attempt in range(8):
        times = timeit.repeat(call, globals=names, number=CALLS, repeat=30)
        best = min(best, min(times) / CALLS * 1e6)
        if best < enough:
            return best
        time.sleep(0.2 * attempt)
    return best


@pytest.mark.slow
@pytest.mark.skipif(not EXTENSION, reason="the extension is not built")
@pytest.mark.parametrize("call", ["session.run_into(x, y)", "stream.run_into(x, y)"])
def test_a_call_without_allocation_costs_less_than_point_four_microseconds(call):
    session = Session.from_files(built("LINEAR"), binding="cython")
    names = {"session": session, "stream": session.stream(),
             "x": np.ones((1, 2), np.float32), "y": np.empty((1, 1), np.float32)}
    assert best_us(call, names, LIMIT_US) < LIMIT_US
