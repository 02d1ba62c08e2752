"""A quantised network as C answers with the reference's bits."""

import pytest
from tests.support.small_networks import NETWORKS, rows

from ganglion.build.compile import compile
from ganglion.compression import quantize


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_integer_networks_agree_with_the_reference_to_the_bit(name: str) -> None:
    model = NETWORKS[name]()
    built = compile(quantize(model, rows(model, 32)), "host", calibration=rows(model, 6, seed=1))
    figures = built.manifest["check"]
    assert isinstance(figures, dict)
    assert figures["status"] == "passed"
    assert figures["exact"] is True
