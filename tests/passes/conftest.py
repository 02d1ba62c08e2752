"""The law that every pass must keep, as one fixture."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from ganglion.ops.infer import infer_model
from ganglion.passes.base import Pass, known_shape

Law = Callable[..., ir.Model]


def drawn(model: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """An array for each input: normal floats, integers of either sign."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for value in model.graph.inputs:
        shape = known_shape(value)
        assert shape is not None
        assert value.dtype is not None
        if value.dtype.is_floating_point():
            arrays[value.name] = rng.normal(size=shape).astype(value.dtype.numpy())
        else:
            arrays[value.name] = rng.integers(-100, 100, shape).astype(value.dtype.numpy())
    return arrays


def outputs(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    names = [v.name for v in model.graph.outputs]
    known = {v.name for v in model.graph.inputs}
    return ReferenceEvaluator(ir.to_proto(model)).run(
        names, {n: a for n, a in feeds.items() if n in known})


@pytest.fixture
def law() -> Law:
    """`law(model, pass_, exact=True)`: the pass keeps meaning, names and validity, and rests.

    Returns the rewritten Model; `changes=False` says that the pass has nothing to do.
    """
    def check(model: ir.Model, pass_: Pass, exact: bool = True, changes: bool = True) -> ir.Model:
        feeds = drawn(model)
        before = outputs(model, feeds)
        names = [[v.name for v in model.graph.inputs], [v.name for v in model.graph.outputs]]
        assert pass_(model).modified is changes
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        assert not pass_(model).modified
        assert ir.to_proto(model).SerializeToString() == proto.SerializeToString()
        assert names == [[v.name for v in model.graph.inputs],
                         [v.name for v in model.graph.outputs]]
        after = outputs(model, feeds)
        for a, b in zip(before, after, strict=True):
            assert a.dtype == b.dtype
            if exact:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-5)
        assert not infer_model(model)
        return model
    return check
