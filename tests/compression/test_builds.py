"""A quantised network as C answers with the reference's bits."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.small_networks import NETWORKS, rows

from ganglion.artifact.compile import compile
from ganglion.compression import quantize
from ganglion.ops.graph import GraphBuilder


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_integer_networks_agree_with_the_reference_to_the_bit(name: str) -> None:
    model = NETWORKS[name]()
    built = compile(quantize(model, rows(model, 32)), "host", calibration=rows(model, 6, seed=1))
    figures = built.manifest["check"]
    assert isinstance(figures, dict)
    assert figures["status"] == "passed"
    assert figures["exact"] is True


@pytest.mark.parametrize("axes", [(1,), (1, 2), (1, 2, 3), (2, 3, 4), (1, 2, 3, 4)])
def test_a_quantised_mean_over_any_axes_compiles(axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    g = GraphBuilder("mean")
    x = g.op("Relu", g.input("x", ir.DataType.FLOAT, (1, 6, 5, 4, 3)))
    mean = g.op("ReduceMean", x, g.ints(*axes))
    g.output("y", g.op("MatMul", mean, g.constant(
        rng.normal(size=(1 if 4 in axes else 3, 2)).astype(np.float32))))
    model = g.model()
    calibration = rng.normal(size=(16, 6, 5, 4, 3)).astype(np.float32)
    built = compile(quantize(model, calibration), calibration=calibration)
    figures = built.manifest["check"]
    assert isinstance(figures, dict)
    assert figures["status"] == "passed"
