import time

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L


@pytest.mark.slow
@pytest.mark.parametrize("cc", [None, pytest.param("gcc", marks=pytest.mark.gcc)])
def test_ten_megabytes_of_weights_compile_in_seconds(cc: str | None) -> None:
    net = L.Sequential([L.Input((1600,)), L.Dense(1600)])
    start = time.process_time()
    artifact = gg.compile(net, cc=cc, check=False)
    began = time.perf_counter()
    artifact.session()
    assert artifact.const_bytes > 10_000_000
    assert time.perf_counter() - began < 5
    assert time.process_time() - start < 20


def test_equal_weights_are_stored_once() -> None:
    x = L.Input((64,))
    shared = L.Dense(64)
    twice = gg.compile(L.Functional(x, shared(shared(x))))
    once = gg.compile(L.Functional(x, L.Dense(64)(x)))
    assert twice.const_bytes == once.const_bytes
    row = np.ones((1, 64), np.float32)
    assert np.isfinite(twice.session().run(row)).all()
