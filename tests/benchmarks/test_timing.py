"""The harness's arithmetic, on a clock that the test itself moves."""

from benchmarks.timing import calls_a_sample, median, round_robin, samples


class Clock:
    """Nanoseconds that pass only when a call takes them."""

    def __init__(self) -> None:
        self.now = 0
        self.order: list[str] = []

    def __call__(self) -> int:
        return self.now

    def call(self, name: str, durations: "list[int]") -> "object":
        """A call that takes the next of `durations`, the last one for ever."""
        def run() -> None:
            self.order.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]
        return run


def test_median_is_the_middle_value_and_the_lower_of_two() -> None:
    assert median([5.0, 1.0, 9.0]) == 5.0
    assert median([4.0, 3.0, 2.0, 1.0]) == 2.0


def test_a_sample_lasts_long_enough_for_the_clock() -> None:
    clock = Clock()
    assert calls_a_sample(clock.call("a", [100]), clock) * 100 >= 20_000
    assert calls_a_sample(clock.call("b", [50_000]), clock) == 1


def test_samples_are_microseconds_a_call() -> None:
    clock = Clock()
    found = samples(clock.call("a", [2_000]), 10, 0.001, clock)
    assert set(found) == {2.0}


def test_disturbed_rounds_do_not_count() -> None:
    clock = Clock()
    calm, disturbed = 30_000, 300_000
    durations = [calm] * 4 + [disturbed] * 3 + [calm]
    assert round_robin({"a": clock.call("a", durations)}, 0.1, 0.02, clock) == {"a": 30.0}


def test_contestants_take_turns_in_every_round() -> None:
    clock = Clock()
    calls = {name: clock.call(name, [25_000_000]) for name in "ab"}
    round_robin(calls, 0.1, 0.02, clock)
    slices = [name for name, previous in zip(clock.order, ["", *clock.order])
              if name != previous]
    assert slices == ["a", "b"] * (len(slices) // 2)
    assert len(slices) >= 2 * (1 + 5)
