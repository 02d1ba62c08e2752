"""Whole runs: what they learn, that they repeat, and what attackers can do."""

import os
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from tests.federated.small import data, net, parts, plan

import ganglion as gg
from ganglion import federated as fed
from ganglion.federated.device.messages import Answer

TEST = data(1000, seed=1)


def accuracy(chosen: fed.Plan, given: list[fed.Part],
             change: Callable[[int, bytes], bytes] | None = None) -> float:
    return fed.simulate(chosen, given, TEST, change=change).figures[-1]["accuracy"]


@pytest.mark.parametrize("method", [fed.FedAvg(), fed.FedProx(0.01), fed.Scaffold(),
                                    fed.FedNova()], ids=repr)
def test_every_method_learns_from_data_that_differ(method: fed.Method) -> None:
    chosen = plan(method=method, correction=method.corrects, rounds=12)
    history = fed.simulate(chosen, parts(), TEST)
    assert history.figures[-1]["accuracy"] > history.figures[0]["accuracy"]
    assert history.figures[-1]["accuracy"] > 0.8


@pytest.mark.parametrize("settings", [
    {}, {"up": fed.Stochastic(3), "down": fed.TopK(0.1)},
    {"up": fed.TopK(0.1), "method": fed.Scaffold(), "correction": True},
    {"clients_per_round": 3, "personal": ["head/*"]}], ids=str)
def test_a_run_repeats_with_the_same_bits(settings: dict[str, object]) -> None:
    """Threads answer in whatever order; sums on the lattice do not see it."""
    first, second = (fed.Simulation(plan(**settings), parts()) for _ in range(2))
    for _ in range(3):
        first.step()
        second.step()
    assert np.array_equal(first.server.model, second.server.model)
    other = fed.Simulation(plan(**settings, seed=8), parts())
    other.step()
    assert not np.array_equal(first.server.model, other.server.model)


def test_a_plan_is_not_used_up_by_a_run() -> None:
    chosen = plan()
    assert (fed.simulate(chosen, parts(), TEST).figures
            == fed.simulate(chosen, parts(), TEST).figures)


def test_the_model_is_measured_without_any_devices_own_weights() -> None:
    simulation = fed.Simulation(plan(personal=["head/*"]), parts())
    simulation.step()
    before = simulation.evaluate(*TEST)
    assert simulation.evaluate_device(2, *parts()[2]) != before
    assert simulation.evaluate(*TEST) == before


def test_few_bytes_learn_nearly_as_well() -> None:
    given = parts()
    full = fed.simulate(plan(rounds=15), given, TEST)
    few = fed.simulate(plan(rounds=15, up=fed.Stochastic(4), down=fed.TopK(0.2)), given, TEST)
    assert few.figures[-1]["accuracy"] > full.figures[-1]["accuracy"] - 0.03
    assert few.bytes_up < full.bytes_up / 5
    assert few.bytes_down < full.bytes_down / 5


def test_bytes_are_those_of_the_messages() -> None:
    seen: list[int] = []

    def listening(client: int, answer: bytes) -> bytes:
        seen.append(len(answer))
        return answer

    history = fed.simulate(plan(rounds=2), parts(), change=listening)
    assert history.bytes_up == sum(seen)
    assert history.bytes_down > 2 * 6 * 4 * 276


def test_the_weights_go_into_a_network() -> None:
    history = fed.simulate(plan(rounds=10), parts(), TEST)
    deployed = gg.write_back(net(), history.weights)
    found = gg.evaluate(deployed, *TEST, loss="sparse_categorical_crossentropy",
                        metrics=["accuracy"])
    assert found["accuracy"] == pytest.approx(history.figures[-1]["accuracy"])


def test_shares_of_classes_differ_more_for_a_smaller_alpha() -> None:
    _, y = data()

    def spread(alpha: float) -> float:
        return float(np.mean([np.bincount(y[rows], minlength=4).max() / len(rows)
                              for rows in fed.dirichlet(y, 6, alpha)]))

    together = np.sort(np.concatenate(fed.dirichlet(y, 6, 0.5)))
    assert np.array_equal(together, np.arange(len(y)))
    assert spread(0.1) > spread(1.0) > spread(100.0)
    assert all(len(rows) for rows in fed.dirichlet(y, 200, 0.05))


def test_a_device_that_fails_is_counted_and_the_others_go_on() -> None:
    given = parts()
    x, y = given[2]
    given[2] = (np.full_like(x, np.nan), y)
    history = fed.simulate(plan(rounds=8), given, TEST)
    assert history.refused == 8
    assert "NaN" in history.rounds[0].refused[2]
    assert history.figures[-1]["accuracy"] > 0.7


@cache
def clean() -> float:
    """What ten devices learn of whom none is bad."""
    return accuracy(plan(rounds=60), parts(10, alpha=100.0))


def dense(answer: Answer, points: np.ndarray) -> bytes:
    return Answer(answer.run, answer.number, answer.rows, answer.steps, answer.loss, answer.held,
                  points.astype("<i4").tobytes()).to_bytes()


def turned(client: int, message: bytes) -> bytes:
    answer = Answer.from_bytes(message)
    return dense(answer, -5 * np.frombuffer(answer.difference, "<i4").astype(np.int64))


def scaled(client: int, message: bytes) -> bytes:
    answer = Answer.from_bytes(message)
    return dense(answer, 1000 * np.frombuffer(answer.difference, "<i4").astype(np.int64))


def rider(client: int, message: bytes) -> bytes:
    return dense(Answer.from_bytes(message), np.zeros(276, np.int64))


RULES = [fed.Median(), fed.TrimmedMean(0.2), fed.Krum(bad=2, keep=6)]
TRIED = [(turned, rule) for rule in RULES] + [(scaled, RULES[1])]
if os.environ.get("GANGLION_FULL"):
    TRIED = [(attack, rule) for attack in (turned, scaled, rider) for rule in RULES]


@pytest.mark.parametrize(("attack", "rule"), TRIED, ids=lambda v: getattr(v, "__name__", repr(v)))
def test_a_fifth_of_bad_devices_does_little_under_a_robust_rule(
        attack: Callable[[int, bytes], bytes], rule: fed.Rule) -> None:
    bad = lambda client, message: (  # noqa: E731
        attack(client, message) if client < 2 else message)
    assert accuracy(plan(rounds=60, rule=rule), parts(10, alpha=100.0), bad) >= clean() - 0.01


def test_without_a_robust_rule_turned_answers_spoil_the_run() -> None:
    given = parts(10, alpha=100.0)
    bad = lambda client, message: (  # noqa: E731
        turned(client, message) if client < 2 else message)
    assert accuracy(plan(rounds=12), given, bad) < accuracy(plan(rounds=12), given) - 0.1


def test_an_answer_far_beyond_the_others_is_refused_even_by_the_mean() -> None:
    bad = lambda client, message: (  # noqa: E731
        scaled(client, message) if client == 1 else message)
    history = fed.simulate(plan(rounds=2), parts(), change=bad)
    assert "times the round's median" in history.rounds[0].refused[1]


def test_a_device_that_sends_the_model_back_does_not_count() -> None:
    free = lambda client, message: (  # noqa: E731
        rider(client, message) if client == 1 else message)
    history = fed.simulate(plan(rounds=2), parts(), change=free)
    assert [sorted(r.refused) for r in history.rounds] == [[1], [1]]
    assert "did not learn" in history.rounds[0].refused[1]


def test_a_replayed_answer_is_refused() -> None:
    kept: dict[int, bytes] = {}

    def replay(client: int, message: bytes) -> bytes:
        return kept.setdefault(client, message) if client == 0 else message

    history = fed.simulate(plan(rounds=3), parts(), change=replay)
    assert [sorted(r.refused) for r in history.rounds] == [[], [0], [0]]
    assert "replayed" in history.rounds[1].refused[0]
