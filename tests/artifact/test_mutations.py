"""The check notices planted faults: nearly every one that changes an answer."""

import os
from collections import Counter

import numpy as np
import pytest
from tests.support.mutations import CAUGHT, NETWORKS, SURVIVED, Fault, faults, outcome

FULL = bool(os.environ.get("GANGLION_FULL"))
STAGES = ("model", "plan", "code")


def drawn(each: int, seed: int, networks: list[str]) -> list[Fault]:
    """So many faults of each stage of each network, in a drawn order."""
    generator = np.random.default_rng(seed)
    found = []
    for name in networks:
        known = faults(name)
        for stage in STAGES:
            here = [f for f in known if f.stage == stage]
            found += [here[i] for i in generator.permutation(len(here))[:each]]
    return found


def judged(planted: list[Fault]) -> tuple[Counter[str], list[Fault]]:
    counts: Counter[str] = Counter()
    missed = []
    for fault in planted:
        found = outcome(fault)
        counts[found] += 1
        if found == SURVIVED:
            missed.append(fault)
    return counts, missed


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_drawn_sample_of_planted_faults_is_caught() -> None:
    counts, missed = judged(drawn(1, 3, ["dense_int8", "cnn", "cnn_int8", "decisions", "indices",
                                         "lstm", "moves"]))
    assert not missed
    assert counts[CAUGHT] >= 10, counts


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="GANGLION_FULL plants hundreds of faults, for minutes")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_of_hundreds_of_planted_faults_the_check_catches_99_in_100() -> None:
    counts, missed = judged(drawn(18, 1, list(NETWORKS)))
    assert counts[CAUGHT] + counts[SURVIVED] >= 300
    assert counts[CAUGHT] >= 0.99 * (counts[CAUGHT] + counts[SURVIVED]), (counts, missed)
