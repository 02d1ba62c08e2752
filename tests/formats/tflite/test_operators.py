"""Each operator of a float .tflite file means what NumPy says."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tflite_examples import examples

from ganglion.formats import load
from ganglion.formats.tflite.file import read_network
from ganglion.formats.tflite.read.rows import ROWS
from ganglion.ops.evaluate import evaluate
from ganglion.passes.pipeline import prepare

EXAMPLES = {e.name: e for e in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_operator_gives_what_numpy_gives(name: str, tmp_path: Path) -> None:
    case = EXAMPLES[name]
    (tmp_path / "net.tflite").write_bytes(case.data)
    model = load(tmp_path / "net.tflite")
    feeds = dict(zip((str(v.name) for v in model.graph.inputs), case.inputs, strict=True))
    found = evaluate(model, feeds).values()
    prepared = evaluate(prepare(model), feeds).values()
    for y, again, expected in zip(found, prepared, case.expected, strict=True):
        assert y.dtype == expected.dtype
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(again, expected, rtol=2e-5, atol=2e-5)


def test_every_rule_has_an_example() -> None:
    """Those of quantised networks, shapes, state and sparse tensors are tested with these."""
    named = {o.name for e in EXAMPLES.values() for o in read_network(e.data).operators}
    state = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "DENSIFY", "SVDF"}
    assert set(ROWS) - named == {"QUANTIZE", "DEQUANTIZE", "SHAPE", "FILL"} | state

