"""Timing the steps of a Plan one by one."""

import numpy as np
import pytest
from benchmarks.breakdown import Part, dominant, instrumented, steps

import ganglion as gg
from ganglion import layers as L


def test_every_step_of_a_plan_gets_its_time() -> None:
    model = gg.Sequential([L.Input((12, 12, 3)), L.Conv2D(8, 3, activation="relu"),
                           L.MaxPooling2D(), L.Flatten(), L.Dense(5, activation="softmax")])
    built = gg.compile(model, name="profiled", samples=1)
    parts = steps(built, [np.ones((1, 12, 12, 3), np.float32)])
    assert [p.variant for p in parts] == [s.variant for s in built.plan.steps]
    assert sum(p.macs for p in parts) == built.plan.macs
    assert all(0 <= p.us < 1e4 for p in parts)
    assert sum(p.us for p in parts) > 0


def test_source_whose_calls_are_not_found_is_refused() -> None:
    source = "int net_run(void)\n{\n    k0_dense(a);\n    return 0;\n}\n"
    with pytest.raises(ValueError, match="1 calls in the run function for 2 steps"):
        instrumented(source, "net", 2)


def test_dominant_steps_are_named_largest_first_and_small_ones_left_out() -> None:
    parts = [Part("a", "pool__x", 1.0, 0), Part("b", "conv__x", 6.0, 0),
             Part("c", "conv__y", 2.7, 0), Part("d", "move__x", 0.3, 0)]
    assert dominant(parts) == "conv 87%, pool 10%"
