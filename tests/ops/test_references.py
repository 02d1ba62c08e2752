"""Every row's definition against ONNX Runtime, and in float64 against itself in float32."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.op_examples import Example, all_examples

from ganglion.ops.evaluate import evaluate
from ganglion.ops.registry import find, rows

EXAMPLES = all_examples()
STANDARD = [e for e in EXAMPLES if e.domain == "" and e.peer]


def test_every_row_of_onnx_has_an_example() -> None:
    quantised = {"QuantizeLinear", "DequantizeLinear"}
    standard = {name for domain, name in rows() if domain == ""} - quantised
    assert {n for n in standard if not n.startswith("QLinear")} <= {e.op for e in EXAMPLES}


@pytest.mark.onnxruntime
@pytest.mark.parametrize("example", STANDARD, ids=str)
def test_reference_equals_onnx_runtime(example: Example) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = example.build()[0].model()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(ir.to_proto(model).SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
    expected = session.run(None, example.feeds())
    found = evaluate(model, example.feeds())
    for output, theirs in zip(session.get_outputs(), expected):
        ours = found[output.name]
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_inferred_types_are_those_of_the_result(example: Example) -> None:
    g, node = example.build()
    found = evaluate(g.model(), example.feeds())
    for value in node.outputs:
        array = found[value.name or ""]
        assert value.dtype == ir.DataType.from_numpy(array.dtype)
        assert value.shape is not None
        assert all(d == size or not isinstance(d, int)
                   for d, size in zip(value.shape, array.shape))
        assert len(value.shape) == array.ndim


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_reference_computes_in_the_dtype_of_its_inputs(example: Example) -> None:
    g = example.build()[0]
    single = evaluate(g.model(), example.feeds())
    feeds = {k: a.astype(np.float64) if a.dtype == np.float32 else a
             for k, a in example.feeds().items()}
    row = find(example.domain, example.op)
    assert row is not None
    if row.reference is not None and example.op != "Uniform":
        arrays = [None if a is None else a.astype(np.float64) if a.dtype == np.float32 else a
                  for a in example.inputs]
        attrs = {k: int(ir.DataType.DOUBLE) if k == "to" and v == 1 else
                 v.astype(np.float64) if isinstance(v, np.ndarray) else v
                 for k, v in example.attrs.items()}
        with np.errstate(all="ignore"):
            direct = row.reference(attrs, *arrays)
        for array in direct:
            assert array.dtype != np.float32
    for name, array in evaluate(g.model(), feeds, dtype=np.float64).items():
        assert array.dtype == (np.float64 if single[name].dtype == np.float32
                               else single[name].dtype)
        np.testing.assert_allclose(array, single[name], rtol=1e-4, atol=1e-5)
