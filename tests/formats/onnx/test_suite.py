"""ONNX's own suite: no wrong answer, no error but the project's own, no case lost."""

import pytest
from tests.support.onnx_suite import (
    GOOD,
    NOT_IN_C,
    PASSING,
    Case,
    Outcome,
    answer,
    compiled,
    listed,
    suite,
)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return list(suite())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_case_is_lost_and_none_is_wrong(cases: list[Case]) -> None:
    found = {case.name: answer(case) for case in cases}
    bad = [n for n, o in found.items() if o in (Outcome.WRONG, Outcome.FOREIGN)]
    assert bad == []
    assert sorted(n for n in listed(PASSING) if found.get(n) not in GOOD) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sample_in_c_is_right_or_refused_by_name(cases: list[Case]) -> None:
    chosen = [c for c in cases if c.name in listed(PASSING)][::40]
    found = {case.name: answer(case, compiled) for case in chosen}
    assert [n for n, o in found.items() if o in (Outcome.WRONG, Outcome.FOREIGN)] == []
    assert {n for n, o in found.items() if o not in GOOD} <= listed(NOT_IN_C)
