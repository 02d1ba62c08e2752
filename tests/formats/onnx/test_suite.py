"""ONNX's own suite: no wrong answer, no error but the project's own, no case lost."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.onnx_suite import Case, Outcome, answer, passing, suite

import ganglion as gg

GOOD = (Outcome.PASSES, Outcome.FIXED)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return list(suite())


def compiled(model: ir.Model, given: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
    """What the unchecked C gives."""
    session = gg.compile(model, check=False).session()
    made = session.run(*[v.astype(np.float32) if v.dtype.kind == "f" else v
                         for v in (given[port.name] for port in session.inputs)])
    return made if isinstance(made, tuple) else (made,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_case_is_lost_and_none_is_wrong(cases: list[Case]) -> None:
    found = {case.name: answer(case) for case in cases}
    bad = [n for n, o in found.items() if o in (Outcome.WRONG, Outcome.FOREIGN)]
    assert bad == []
    assert sorted(n for n in passing() if found.get(n) not in GOOD) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sample_in_c_is_right_or_refused_by_name(cases: list[Case]) -> None:
    chosen = [c for c in cases if c.name in passing()][::40]
    found = {case.name: answer(case, compiled) for case in chosen}
    assert [n for n, o in found.items() if o in (Outcome.WRONG, Outcome.FOREIGN)] == []
    assert sum(o in GOOD for o in found.values()) > 0.8 * len(found)
