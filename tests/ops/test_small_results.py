"""Functions that subtract nearly equal numbers keep their digits all the same."""

import numpy as np
import onnx_ir as ir

import ganglion as gg
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder

X = np.concatenate([-np.geomspace(1e-30, 80, 300), np.geomspace(1e-30, 80, 300)])


def test_results_near_zero_are_right_to_a_few_units_in_the_last_place() -> None:
    g = GraphBuilder("small")
    x = g.input("x", ir.DataType.FLOAT, X.shape)
    for name in ("Elu", "Selu", "Celu", "Softplus"):
        g.output(f"y_{name}", g.op(name, x))
    model, given = g.model(), X.astype(np.float32)
    expected = evaluate(model, {"x": given}, dtype=np.float64)
    found = gg.compile(model, isas=("scalar",)).session().run(given)
    for y, exact in zip(found, expected.values()):
        np.testing.assert_allclose(y, exact, rtol=8 * 2.0 ** -24, atol=1e-37)
