"""Laws: operators made of others learn and shrink as what they are made of, with an open batch."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.compiled_examples import network as side_by_side
from tests.support.op_examples import all_examples

import ganglion as gg
from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import find, rows
from ganglion.passes.simplify.lay_open import LayOpen

RNG = np.random.default_rng(0)


def network(norm: str) -> ir.Model:
    """A convolution, a normalisation, and pixels dealt out from the channels."""
    g = GraphBuilder("net")
    x = g.input("x", ir.DataType.FLOAT, ("N", 3, 6, 6))
    w = g.constant(RNG.normal(size=(8, 3, 3, 3)).astype(np.float32) / 5, "kernel")
    y = g.op("Conv", x, w, pads=[1, 1, 1, 1])
    more = {"num_groups": 4} if norm == "GroupNormalization" else {}
    gain, shift = (g.constant(np.full(8, v, np.float32), n, share=False)
                   for n, v in (("gain", 1.0), ("shift", 0.1)))
    y = g.op("Relu", g.op(norm, y, gain, shift, attrs=more))
    g.output("y", g.op("DepthToSpace", y, blocksize=2))
    return g.model()


@pytest.mark.parametrize("norm", ["InstanceNormalization", "GroupNormalization"])
def test_a_network_with_them_compiles_learns_and_is_quantised(norm: str) -> None:
    model = network(norm)
    x = RNG.normal(size=(16, 3, 6, 6)).astype(np.float32)
    built = gg.compile(model, isas=("scalar",), batch=2)
    np.testing.assert_allclose(built.session().run(x[:2]), evaluate(model, {"x": x[:2]})["y"],
                               rtol=1e-4, atol=1e-4)
    trained, history = gg.fit(model, x, RNG.random((16, 2, 12, 12), np.float32), loss="mse",
                              epochs=5, optimizer=gg.optimizers.Adam(0.02))
    assert set(history.trained) == {"kernel", "gain", "shift"}
    assert history.history["loss"][-1] < history.history["loss"][0]
    small = gg.quantize(trained, x)
    assert gg.compile(small, calibration=x).manifest["check"]["status"] == "passed"


def test_the_pass_leaves_none_and_changes_nothing_again() -> None:
    model = network("InstanceNormalization")
    assert LayOpen()(model).modified
    assert not LayOpen()(model).modified
    made = {key for key, row in rows().items() if row.made_of is not None}
    assert not any((n.domain, n.op_type) in made for n in model.graph)


def test_each_gives_in_c_what_it_means() -> None:
    made = [e for e in all_examples() if (row := find(e.domain, e.op)) is not None
            and row.made_of is not None and row.lower is None]
    assert {e.op for e in made} == {name for (_, name), row in rows().items()
                                    if row.made_of is not None and row.lower is None}
    model, feeds = side_by_side(made)
    session = gg.compile(model, isas=("scalar",), check=False).session()
    found = dict(zip((p.name for p in session.outputs), session.run(feeds)))
    for name, wanted in evaluate(model, feeds).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_running_sum_keeps_infinity_to_what_follows() -> None:
    g = GraphBuilder("sums")
    x = g.input("x", ir.DataType.FLOAT, (1, 5))
    g.output("y", g.op("CumSum", x, g.constant(np.asarray(1, np.int64))))
    built = gg.compile(g.model(), isas=("scalar",)).session()
    found = built.run(np.float32([[1, 2, np.inf, 4, 5]]))
    assert found.tolist() == [[1, 3, np.inf, np.inf, np.inf]]


def test_an_operator_that_waits_for_sizes_is_made_when_they_are_known() -> None:
    g = GraphBuilder("open")
    x = g.input("x", ir.DataType.FLOAT, ("N", 4, "H", "W"))
    g.output("y", g.op("DepthToSpace", x, blocksize=2))
    built = gg.compile(g.model(), isas=("scalar",), shapes={"x": [1, 4, 3, 2]})
    assert built.session().outputs[0].shape == (1, 1, 6, 4)


@pytest.mark.parametrize("k", [2**62, -2**63, 3, -4])
@pytest.mark.parametrize("upper", [0, 1])
def test_a_diagonal_may_lie_anywhere(k: int, upper: int) -> None:
    g = GraphBuilder("half")
    x = g.input("x", ir.DataType.FLOAT, (1, 3, 4))
    g.output("y", g.op("Trilu", x, g.constant(np.asarray(k, np.int64)), upper=upper))
    found = gg.compile(g.model(), isas=("scalar",)).session().run(np.ones((1, 3, 4), np.float32))
    place = np.arange(4)[None] - np.arange(3)[:, None]
    assert (found[0] == ((place >= k) if upper else (place <= k))).all()


@pytest.mark.parametrize(("op", "shapes", "attrs"), [
    ("LRN", [(1, 4, 2, 2)], {"size": 0}), ("GroupNormalization", [(1, 4, 3), (4,), (4,)],
                                           {"num_groups": 0}),
    ("GroupNormalization", [(1, 4, 3), (4,), (4,)], {"num_groups": 3}),
    ("DepthToSpace", [(1, 6, 2, 2)], {"blocksize": 2}),
    ("DepthToSpace", [(1, 4, 2, 2)], {"blocksize": 0}),
    ("SpaceToDepth", [(1, 4, 3, 2)], {"blocksize": 2}),
    ("LpNormalization", [(2, 3)], {"axis": 7}), ("LpNormalization", [(2, 3)], {"p": 3}),
    ("MeanVarianceNormalization", [(2, 3)], {"axes": [9]})])
def test_settings_that_make_no_sense_are_refused(op: str, shapes: list[tuple[int, ...]],
                                                 attrs: dict[str, object]) -> None:
    g = GraphBuilder("odd")
    xs = [g.input(f"x{k}", ir.DataType.FLOAT, shape) for k, shape in enumerate(shapes)]

    def build() -> None:
        g.output("y", g.op(op, *xs, attrs=attrs))
        gg.compile(g.model(), isas=("scalar",), check=False)

    with pytest.raises(ModelError):
        build()
