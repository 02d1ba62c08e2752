"""Rules: what a few bad answers can do, and what all rules do with good ones."""

import numpy as np
import pytest

from ganglion import federated as fed
from ganglion.errors import DataError

RULES = [fed.Mean(), fed.Median(), fed.TrimmedMean(0.25), fed.Krum(bad=2, keep=4),
         fed.ClippedMean()]
ROBUST = RULES[1:]


def answers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return np.rint(1000 + draw.normal(size=(9, 40)) * 50).astype(np.int64), np.full(9, 10)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_order_of_answers_does_not_matter(rule: fed.Rule) -> None:
    given, counts = answers()
    counts = np.arange(1, 10)
    order = np.random.default_rng(1).permutation(9)
    assert np.array_equal(rule.combine(given, counts),
                          rule.combine(given[order], counts[order]))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_equal_answers_give_that_answer(rule: fed.Rule) -> None:
    given = np.tile(answers()[0][0], (9, 1))
    assert np.array_equal(rule.combine(given, np.arange(1, 10)), given[0])


def test_the_mean_is_weighted_exact_and_rounded_once() -> None:
    given = np.array([[3, -3, 1], [4, -4, 2]])
    assert fed.Mean().combine(given, np.array([1, 3])).tolist() == [4, -4, 2]
    large = np.array([[2**31 - 1], [-(2**31) + 2]])
    assert fed.Mean().combine(large, np.array([2**20, 2**20])).tolist() == [1]


@pytest.mark.parametrize("rule", ROBUST, ids=repr)
def test_two_bad_answers_of_nine_move_a_robust_rule_little(rule: fed.Rule) -> None:
    """Good answers lie within 1000 ± 250; so does what comes out. The mean leaves by far."""
    given, counts = answers()
    given[[1, 5]] *= -100
    assert np.abs(rule.combine(given, counts) - 1000).max() < 1000
    assert np.abs(fed.Mean().combine(given, counts) - 1000).max() > 5000


def test_krum_with_too_few_answers_says_how_many_it_needs() -> None:
    given, counts = answers()
    with pytest.raises(DataError, match="at least 10 answers, this round has 9"):
        fed.Krum(bad=7).combine(given, counts)


@pytest.mark.parametrize("wrong", [lambda: fed.TrimmedMean(0.5), lambda: fed.Krum(bad=-1),
                                   lambda: fed.ClippedMean(0)])
def test_settings_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(DataError, match="expected"):
        wrong()
