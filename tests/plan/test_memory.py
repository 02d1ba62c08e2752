from hypothesis import given
from hypothesis import strategies as st

from ganglion.plan.memory import Interval, assign_offsets
from ganglion.plan.types import ALIGNMENT, aligned

interval = st.tuples(st.integers(0, 20), st.integers(0, 10), st.integers(1, 5000)).map(
    lambda t: Interval(t[0], t[0] + t[1], t[2]))


@given(st.lists(interval, max_size=25))
def test_no_two_live_buffers_overlap(intervals: list[Interval]) -> None:
    offsets, total = assign_offsets(intervals)
    for i, a in enumerate(intervals):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + a.nbytes <= total
        for j, b in enumerate(intervals[:i]):
            if a.meets(b):
                assert (offsets[i] + a.nbytes <= offsets[j]
                        or offsets[j] + b.nbytes <= offsets[i])


@given(st.lists(interval, min_size=1, max_size=25))
def test_arena_is_at_least_what_is_alive_at_once(intervals: list[Interval]) -> None:
    _, total = assign_offsets(intervals)
    for step in range(31):
        alive = sum(b.nbytes for b in intervals if b.first <= step <= b.last)
        assert alive <= total
    assert total <= sum(aligned(b.nbytes) for b in intervals)
