"""What the benchmark's networks become: C without warnings, heap, or undefined behaviour."""

import shutil

import numpy as np
import pytest
from benchmarks.cases import HYBRID, Candidate, Skipped, candidates, draw, read

from ganglion.artifact.check import Subject, check
from ganglion.emit.c import describe, emit
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.toolchain.emulators import emulate
from ganglion.toolchain.targets import host


@pytest.mark.gcc
@pytest.mark.parametrize("candidate", list(candidates()), ids=lambda c: c.name)
def test_scalar_c_is_sound_and_calls_nothing(candidate: Candidate) -> None:
    """gcc with -Wall -Wextra -Werror and the address and undefined-behaviour sanitizers, on drawn
    inputs; the answer is the reference's."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    found = read(candidate)
    if isinstance(found, Skipped):
        pytest.skip(found.reason)
    model = ready_to_plan(found[0], hybrid=candidate.name in HYBRID)
    made = plan(model, ("scalar",), "net")
    sources = emit(made)
    for banned in ("malloc", "calloc", "free(", "printf", "math.h", "stdlib.h"):
        assert banned not in sources["net.c"]
    network = emulate(sources, host().with_isas(("scalar",)), describe(made), cc="gcc",
                      sanitize=True)
    names = [p.name for p in made.inputs]

    def run(sample: "dict[str, np.ndarray]") -> dict[str, np.ndarray]:
        outputs = network.run([sample[n] for n in names])
        return dict(zip((p.name for p in made.outputs), outputs))

    subject = Subject(run, model, found[0])
    assert check(subject, [dict(zip(names, draw(model)))])["status"] == "passed"
