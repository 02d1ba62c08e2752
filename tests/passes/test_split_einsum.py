"""Law: an Einsum means what NumPy's einsum means, as products and moves alone."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ganglion as gg
from ganglion.errors import UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import prepare

SIZES = {"a": 2, "b": 3, "c": 4, "d": 1, "e": 5}


def network(equation: str, *shapes: tuple[int | str, ...]) -> ir.Model:
    g = GraphBuilder("sums")
    xs = [g.input(f"x{k}", ir.DataType.FLOAT, shape) for k, shape in enumerate(shapes)]
    g.output("y", g.op("Einsum", *xs, equation=equation))
    return g.model()


@st.composite
def equations(draw: st.DrawFn) -> tuple[list[str], str]:
    letters = st.lists(st.sampled_from(sorted(SIZES)), max_size=4, unique=True)
    terms = ["".join(draw(letters)) for _ in range(draw(st.integers(1, 3)))]
    every = sorted(set("".join(terms)))
    result = draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    return terms, "".join(result)


@settings(max_examples=80, deadline=None, database=None)
@given(equations(), st.integers(0, 99))
def test_any_equation_gives_what_numpy_gives(drawn: tuple[list[str], str], seed: int) -> None:
    terms, result = drawn
    equation = f"{','.join(terms)}->{result}"
    shapes = [tuple(SIZES[c] for c in term) for term in terms]
    rng = np.random.default_rng(seed)
    xs = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    model = network(equation, *shapes)
    prepared = prepare(model)
    assert all(n.op_type != "Einsum" for n in prepared.graph)
    feeds = {f"x{k}": x for k, x in enumerate(xs)}
    expected = np.einsum(equation, *(x.astype(np.float64) for x in xs))
    for each in (model, prepared):
        np.testing.assert_allclose(evaluate(each, feeds)["y"], expected, rtol=1e-4, atol=1e-5)


def test_attention_compiles_with_an_open_batch() -> None:
    g = GraphBuilder("heads")
    q, k = (g.input(n, ir.DataType.FLOAT, ("N", 6, 2, 4)) for n in "qk")
    g.output("y", g.op("Einsum", q, k, equation="bqhd,bkhd->bhqk"))
    built = gg.compile(g.model(), isas=("scalar",), batch=2)
    a, b = np.random.default_rng(0).normal(size=(2, 2, 6, 2, 4)).astype(np.float32)
    np.testing.assert_allclose(built.session().run(a, b), np.einsum("bqhd,bkhd->bhqk", a, b),
                               rtol=1e-5, atol=1e-5)


def dense(size: int | str = "N") -> ir.Model:
    """A dense layer in Einsum's words, as Keras's EinsumDense writes it."""
    g, rng = GraphBuilder("dense"), np.random.default_rng(0)
    x = g.input("x", ir.DataType.FLOAT, (size, 6, 8))
    w = g.constant(rng.normal(size=(8, 2, 5)).astype(np.float32), "kernel")
    h = g.op("Relu", g.op("Einsum", x, w, equation="bsi,iho->bsho"))
    v = g.constant(rng.normal(size=(2, 5, 3)).astype(np.float32), "second")
    g.output("y", g.op("Einsum", h, v, equation="bsho,hoe->bse"))
    return g.model()


def test_its_weights_are_quantised_pruned_and_trained() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, 6, 8)).astype(np.float32)
    y = rng.normal(size=(64, 6, 3)).astype(np.float32)
    model = dense()
    quantised = gg.quantize(model, x)
    assert sum(v.dtype == ir.DataType.INT8 for v in quantised.graph.initializers.values()
               if v.const_value.numpy().ndim == 2) == 2
    assert gg.compile(quantised, calibration=x).manifest["check"]["status"] == "passed"
    _, history = gg.fit(model, x, y, loss="mse", epochs=3)
    assert set(history.trained) == {"kernel", "second"}
    assert history.history["loss"][-1] < history.history["loss"][0]
    pruned = gg.prune(model, x, y, loss="mse", sparsity=0.5, epochs=1)
    assert all((v.const_value.numpy() == 0).mean() >= 0.5
               for n, v in pruned.graph.initializers.items() if n in ("kernel", "second"))


@pytest.mark.parametrize("equation", ["ii->i", "ij,jk", "ij->ik", "ij->ii", "ijk->i", "...i...->i",
                                      "i1->i", ""])
def test_what_does_not_fit_or_is_a_diagonal_is_refused(equation: str) -> None:
    with pytest.raises((UnsupportedOp, gg.errors.ModelError)):
        gg.compile(network(equation, (3, 3)), isas=("scalar",))


def test_a_file_with_an_equation_that_onnx_never_ends_on_is_refused_at_once(tmp_path: Path) -> None:
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Einsum", ["x"], ["y"], equation="...i...->i")
    graph = onnx.helper.make_graph([node], "g", [info("x", 1, [3, 3])], [info("y", 1, [3])])
    (tmp_path / "n.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(gg.errors.ModelError):
        gg.load(tmp_path / "n.onnx")


@pytest.mark.parametrize("dtype", ["int8", "uint16"])
def test_narrow_integers_wrap_as_numpy_does(dtype: str) -> None:
    g = GraphBuilder("sums")
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    x, y = g.input("x", kind, (2, 3, 4)), g.input("y", kind, (2, 4, 5))
    g.output("z", g.op("Einsum", x, y, equation="abc,acd->ad"))
    rng = np.random.default_rng(0)
    drawn = [rng.integers(np.iinfo(dtype).max, size=size).astype(dtype)
             for size in ((2, 3, 4), (2, 4, 5))]
    found = gg.compile(g.model(), isas=("scalar",)).session().run(*drawn)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.einsum("abc,acd->ad", *drawn))
