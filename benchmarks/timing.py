"""Timing several ways of doing the same thing so that the machine's moods hit all alike.

Every round gives each contestant a short slice of time in turn. A slice yields the median of its
calls, a contestant the minimum of its slices: the median leaves out interrupts, the minimum the
rounds in which something else had the machine.
"""

import time
from collections.abc import Callable, Mapping
from itertools import repeat

Call = Callable[[], object]
Turn = Callable[[float], float]
"""Seconds that a turn may last → the median of its calls, µs a call."""
Clock = Callable[[], int]
"""Nanoseconds from some start."""

LEAST_NS = 20_000
"""A sample of the clock lasts at least this long, so that reading it costs nothing."""

LEAST_SAMPLES = 3
FEWEST_ROUNDS = 3


def round_robin(calls: Mapping[str, Call], seconds: float, slice_seconds: float = 0.02,
                clock: Clock = time.perf_counter_ns) -> dict[str, float]:
    """Minimum of medians, in µs a call, by name; about `seconds` for each contestant.

    Every call is made at least `FEWEST_ROUNDS` · `LEAST_SAMPLES` times, after a warm-up.
    """
    turns = {name: turn_of(call, clock) for name, call in calls.items()}
    return take_turns(turns, seconds, slice_seconds)


def take_turns(turns: Mapping[str, Turn], seconds: float,
               slice_seconds: float = 0.02) -> dict[str, float]:
    """The least of every contestant's turns, in µs a call; about `seconds` for each."""
    rounds = max(FEWEST_ROUNDS, round(seconds / slice_seconds))
    best = dict.fromkeys(turns, float("inf"))
    for _ in range(rounds):
        for name, turn in turns.items():
            best[name] = min(best[name], turn(slice_seconds))
    return best


def turn_of(call: Call, clock: Clock = time.perf_counter_ns) -> Turn:
    """The turns of a call of this process, which is warm afterwards."""
    count = calls_a_sample(call, clock)
    return lambda seconds: median(samples(call, count, seconds, clock))


def calls_a_sample(call: Call, clock: Clock = time.perf_counter_ns) -> int:
    """How many calls together last `LEAST_NS`; the call is warm afterwards."""
    count = 1
    for _ in range(3):
        call()
    while count < 1 << 20:
        start = clock()
        for _ in repeat(None, count):
            call()
        if clock() - start >= LEAST_NS:
            return count
        count *= 2
    return count


def samples(call: Call, count: int, seconds: float, clock: Clock = time.perf_counter_ns
            ) -> list[float]:
    """µs a call of runs of `count` calls, for `seconds` and at least `LEAST_SAMPLES` runs."""
    found: list[float] = []
    end = clock() + int(seconds * 1e9)
    while len(found) < LEAST_SAMPLES or clock() < end:
        start = clock()
        for _ in repeat(None, count):
            call()
        found.append((clock() - start) / count / 1e3)
    return found


def median(values: list[float]) -> float:
    """The middle value, the lower one of two.

    >>> median([4.0, 1.0, 3.0])
    3.0
    """
    return sorted(values)[(len(values) - 1) // 2]
