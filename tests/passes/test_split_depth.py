"""Laws: what works on volumes gives the same over images, in C too, and learns."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

import ganglion as gg
from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.simplify.split_depth import SplitDepth

RNG = np.random.default_rng(0)
SIZE = (4, 5, 6, 7)
Case = tuple[str, Sequence[tuple[int, ...]], Mapping[str, object]]
CASES: list[Case] = [
    ("Conv", [(6, 4, 3, 3, 3), (6,)], {}),
    ("Conv", [(6, 4, 3, 2, 3)], {"strides": [2, 1, 3], "pads": [1, 0, 2, 2, 1, 0]}),
    ("Conv", [(6, 2, 2, 3, 3), (6,)], {"group": 2, "dilations": [2, 1, 2]}),
    ("Conv", [(8, 1, 3, 3, 3)], {"group": 4, "auto_pad": "SAME_LOWER", "strides": [2, 2, 1]}),
    ("Conv", [(6, 4, 1, 1, 1)], {}),
    ("ConvTranspose", [(4, 3, 3, 3, 3), (3,)], {}),
    ("ConvTranspose", [(4, 3, 2, 3, 3), (6,)],
     {"strides": [3, 2, 1], "group": 2, "dilations": [2, 1, 2], "pads": [1, 0, 1, 0, 2, 1],
      "output_padding": [1, 1, 0]}),
    ("ConvTranspose", [(4, 3, 3, 3, 3)], {"strides": [2, 2, 2], "auto_pad": "SAME_UPPER"}),
    ("ConvTranspose", [(4, 3, 3, 3, 3)], {"strides": [2, 2, 2], "output_shape": [14, 14, 16]}),
    ("MaxPool", [], {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1], "ceil_mode": 1,
                     "pads": [1, 0, 0, 0, 2, 1]}),
    ("MaxPool", [], {"kernel_shape": [2, 2, 2], "dilations": [2, 1, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", [], {"kernel_shape": [3, 3, 2], "strides": [2, 2, 2], "ceil_mode": 1,
                         "pads": [1, 1, 0, 1, 2, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3, 2], "strides": [2, 2, 2],
                         "pads": [1, 1, 0, 1, 2, 1], "count_include_pad": 1}),
    ("GlobalAveragePool", [], {}), ("GlobalMaxPool", [], {})]


def _drawn(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _all_in_one(batch: int | str, cases: Sequence[Case]) -> ir.Model:
    """All cases of one input, each an output."""
    g = GraphBuilder("volumes")
    x = g.input("x", ir.DataType.FLOAT, (batch, *SIZE))
    for k, (op, weights, attrs) in enumerate(cases):
        more = [g.constant(_drawn(*s), f"w{k}", share=False) for s in weights]
        g.output(f"y{k}", g.op(op, x, *more, attrs=attrs))
    return g.model()


def test_every_operator_means_the_same_and_compiles() -> None:
    model, x = _all_in_one("N", CASES), _drawn(2, *SIZE)
    wanted = evaluate(model, {"x": x}, dtype=np.float64)
    built = gg.compile(model, batch=2, isas=("scalar",), check=False).session()
    for name, found in zip(wanted, built.run(x)):
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert SplitDepth()(model).modified
    assert not SplitDepth()(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    for name, found in evaluate(model, {"x": x}, dtype=np.float64).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("case", [CASES[k] for k in (0, 1, 5, 9, 12)], ids=lambda c: c[0])
def test_volumes_mean_what_onnx_says(case: Case) -> None:
    model, x = _all_in_one(2, [case]), _drawn(2, *SIZE)
    [wanted] = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(evaluate(model, {"x": x})["y0"], wanted, rtol=1e-4, atol=1e-4)


def test_a_network_of_volumes_learns_as_the_same_over_images() -> None:
    """With one slice a volume is an image; weights of a network keep their shapes and names."""
    def network(*depth: int) -> ir.Model:
        g = GraphBuilder("net")
        x = g.input("x", ir.DataType.FLOAT, ("N", 2, *depth, 6, 6))
        rng, one = np.random.default_rng(1), [0] * len(depth)
        kernel = rng.normal(size=(4, 2, 3, 3)).astype(np.float32)
        y = g.op("Conv", x, g.constant(kernel.reshape(4, 2, *depth, 3, 3), "kernel"),
                 pads=[*one, 1, 1, *one, 1, 1])
        parts = [g.constant(np.full(4, v, np.float32), n, share=False)
                 for n, v in (("gain", 1.0), ("shift", 0.1), ("mean", 0.0), ("var", 1.0))]
        y = g.op("Relu", g.op("BatchNormalization", y, *parts))
        y = g.op("MaxPool", y, kernel_shape=[*depth, 2, 2], strides=[*depth, 2, 2])
        up = rng.normal(size=(4, 3, 2, 2)).astype(np.float32)
        y = g.op("ConvTranspose", y, g.constant(up.reshape(4, 3, *depth, 2, 2), "up"))
        y = g.op("AveragePool", y, kernel_shape=[*depth, 2, 2])
        g.output("y", g.op("Flatten", g.op("GlobalAveragePool", y)))
        return g.model()

    x, y = _drawn(8, 2, 6, 6), _drawn(8, 3)
    flat, flat_history = gg.fit(network(), x, y, loss="mse", epochs=3, batch_size=4)
    deep, deep_history = gg.fit(network(1), x[:, :, None], y, loss="mse", epochs=3, batch_size=4)
    np.testing.assert_allclose(deep_history.history["loss"], flat_history.history["loss"],
                               rtol=1e-5)
    assert set(deep_history.trained) == set(flat_history.trained)
    assert [n.op_type for n in deep.graph] == [n.op_type for n in flat.graph]


def test_four_spatial_dimensions_are_refused_by_name() -> None:
    g = GraphBuilder("net")
    x = g.input("x", ir.DataType.FLOAT, (1, 2, 3, 3, 3, 3))
    g.output("y", g.op("Conv", x, g.constant(_drawn(2, 2, 2, 2, 2, 2))))
    with pytest.raises(ModelError, match="one to three spatial dimensions"):
        gg.compile(g.model(), isas=("scalar",))
