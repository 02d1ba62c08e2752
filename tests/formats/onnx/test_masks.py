"""Law: a mask of -infinity, as PyTorch writes it, loads, compiles and lets the rest learn."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

import ganglion as gg
from ganglion.ops.graph import GraphBuilder


def attention() -> ir.Model:
    rng, g = np.random.default_rng(0), GraphBuilder("causal")
    x = g.input("x", ir.DataType.FLOAT, ("N", 4, 8))
    q, k, v = (g.op("MatMul", x, g.constant(rng.normal(size=(8, 8)).astype(np.float32) / 3, name))
               for name in ("query", "key", "value"))
    mask = g.constant(np.triu(np.full((4, 4), -np.inf, np.float32), 1), "later")
    scores = g.op("Add", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1])), mask)
    g.output("y", g.op("MatMul", g.op("Softmax", scores), v))
    return g.model()


def test_a_causal_mask_hides_what_is_later(tmp_path: Path) -> None:
    gg.save(attention(), tmp_path / "net.onnx")
    model = gg.load(tmp_path / "net.onnx")
    x = np.random.default_rng(1).normal(size=(1, 4, 8)).astype(np.float32)
    other = x.copy()
    other[:, 2:] += 1
    for isas in (("scalar",), None):
        session = gg.compile(model, isas=isas).session()
        np.testing.assert_array_equal(session.run(x)[:, :2], session.run(other)[:, :2])
        assert np.isfinite(session.run(x)).all()


def test_the_mask_stays_and_the_weights_learn() -> None:
    x = np.random.default_rng(2).normal(size=(32, 4, 8)).astype(np.float32)
    trained, history = gg.fit(attention(), x, x, loss="mse", epochs=4)
    assert set(history.trained) == {"query", "key", "value"}
    assert "-infinity" in history.frozen["later"]
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert np.isneginf(trained.graph.initializers["later"].const_value.numpy()).sum() == 6
