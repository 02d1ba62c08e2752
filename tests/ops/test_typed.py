"""Element-wise operators in every type equal ONNX's own reference, in NumPy and in C."""

import os
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from tests.support.typed_network import (
    FLOATS,
    INTEGERS,
    edges,
    feeds,
    network,
    onnx_type,
)

import ganglion as gg
from ganglion import cpu
from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.toolchain import available, run_emulated, target

DRAWS = int(os.environ.get("GANGLION_DRAWS", "1"))
Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return network()


@pytest.fixture(scope="module")
def definition(model: ir.Model) -> Run:
    """ONNX's own reference of the whole network."""
    reference = ReferenceEvaluator(ir.to_proto(model))
    names = [str(v.name) for v in model.graph.outputs]

    def run(given: Arrays) -> Arrays:
        with np.errstate(all="ignore"):
            return dict(zip(names, reference.run(None, dict(given))))
    return run


@pytest.fixture(scope="module", params=["scalar", "avx2", "avx512"])
def build(request: pytest.FixtureRequest, model: ir.Model) -> Run:
    """The network's C, with one instruction set and what it implies."""
    if request.param not in cpu.isas():
        pytest.skip(f"this processor has no {request.param}")
    order = ("avx512", "avx2", "scalar")
    session = gg.compile(model, isas=order[order.index(request.param):], check=False).session()
    names = [p.name for p in session.outputs]
    return lambda given: dict(zip(names, session.run(dict(given))))


def assert_same(found: Arrays, wanted: Arrays) -> None:
    """Equal elements and types; a NaN is a NaN. The sign of a zero counts but for max and min."""
    for name, want in wanted.items():
        got = found[name]
        assert got.dtype == want.dtype, name
        if want.dtype.kind in "iub":
            np.testing.assert_array_equal(got, want, err_msg=name)
            continue
        got, want = got.astype(np.float64), want.astype(np.float64)
        if name.split("_")[0] in ("Max", "Min"):
            keep = ~np.isnan(want)  # whether NaN is kept is another law
            got, want = got[keep], want[keep]
        np.testing.assert_array_equal(got, want, err_msg=name)
        if name.startswith("cast"):
            np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(want[want == 0]))


@settings(max_examples=3 * DRAWS, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_rows_mean_what_onnx_defines_in_every_type(model: ir.Model, definition: Run,
                                                   seed: int) -> None:
    given = feeds(seed)
    assert_same(evaluate(model, given), definition(given))


@settings(max_examples=5 * DRAWS, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_generated_c_computes_what_onnx_defines_in_every_type(definition: Run, build: Run,
                                                              seed: int) -> None:
    given = feeds(seed)
    assert_same(build(given), definition(given))


@pytest.mark.emulator
@pytest.mark.parametrize("goal", ["raspberrypi4", "wasm32"])
def test_other_processors_compute_what_onnx_defines_in_every_type(
        model: ir.Model, definition: Run, goal: str) -> None:
    machine = target(goal)
    if not available(machine):
        pytest.skip(f"no emulator for {goal}")
    artifact, given = gg.compile(model, goal, check=False), feeds(5)
    from ganglion.emit.c import describe

    sources = {n: artifact.files[n].decode() for n in artifact.manifest["sources"]}
    description = describe(artifact.plan)
    found = run_emulated(sources, machine, description, [given[p.name]
                                                         for p in artifact.plan.inputs])
    assert_same(dict(zip((p.name for p in artifact.plan.outputs), found)), definition(given))


def one(op: str, dtype: str, *more: np.ndarray, **attrs: object) -> ir.Model:
    """y = op(x, constants)."""
    g = GraphBuilder("one")
    x = g.input("x", onnx_type(dtype), (7,))
    g.output("y", g.op(op, x, *(g.constant(a) for a in more), **attrs))
    return g.model()


def test_floats_beyond_an_integer_type_saturate_and_nan_is_its_least() -> None:
    wanted = {n: [np.iinfo(n).min, np.iinfo(n).max, np.iinfo(n).min, np.iinfo(n).max,
                  np.iinfo(n).min, 0, 2] for n in INTEGERS}
    for source in ("float32", "float64"):
        x = np.array([-np.inf, np.inf, -1e30, 1e30, np.nan, -0.9, 2.9], source)
        g = GraphBuilder("saturate")
        value = g.input("x", onnx_type(source), x.shape)
        for name in INTEGERS:
            g.output(name, g.op("Cast", value, to=onnx_type(name)))
        expected = evaluate(g.model(), {"x": x})
        for isas in (("scalar",), None):
            found = gg.compile(g.model(), isas=isas, check=False).session().run(x)
            for name, got in zip(INTEGERS, found):
                assert got.tolist() == wanted[name], name
                assert expected[name].tolist() == wanted[name], name


def test_negative_exponents_cut_the_power_towards_zero() -> None:
    """ONNX leaves them open, and NumPy refuses them: held against fractions. 0 gives 0."""
    g = GraphBuilder("powers")
    bases, exponents = edges("int64"), np.array([-1, -2, -3, -2**31, -2**63], np.int64)
    a = np.repeat(bases, len(exponents))
    b = np.tile(exponents, len(bases))
    x, e = (g.input(n, ir.DataType.INT64, a.shape) for n in "xe")
    g.output("y", g.op("Pow", x, e))
    wanted = [0 if p == 0 else int(Fraction(p)**int(max(n, -2 - n % 2)))
              for p, n in zip(a.tolist(), b.tolist())]
    assert evaluate(g.model(), {"x": a, "e": b})["y"].tolist() == wanted
    assert gg.compile(g.model(), check=False).session().run(a, b).tolist() == wanted


def test_powers_of_mixed_types() -> None:
    """A float base takes its sign from an exponent that no float32 holds; an integer base takes a
    whole constant."""
    g = GraphBuilder("powers")
    x, e = g.input("x", ir.DataType.FLOAT, (6,)), g.input("e", ir.DataType.INT64, (6,))
    whole = g.input("whole", ir.DataType.INT64, (6,))
    g.output("y", g.op("Pow", x, e))
    g.output("cube", g.op("Pow", whole, g.constant(np.array(3.0, np.float32))))
    bases = np.array([-1, -1, -2, 1.5, -0.0, -3], np.float32)
    powers = np.array([2**24 + 1, 2**24 + 2, 2**40 + 1, -3, 2**53 + 1, 3], np.int64)
    counts = np.array([2**20, -3, 0, 1700000123, -1, 7], np.int64)
    y, cube = gg.compile(g.model(), check=False).session().run(bases, powers, counts)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(y, np.power(bases, powers).astype(np.float32), rtol=1e-6)
        np.testing.assert_array_equal(cube, counts * counts * counts)


@pytest.mark.parametrize(("model", "words"), [
    (one("Pow", "int64", np.array(0.5, np.float32)), r"'pow' \(Pow\).*cast the base"),
    (one("Exp", "float64"), r"'exp' \(Exp\).*float64"),
    (one("Sqrt", "float64"), r"'sqrt' \(Sqrt\).*float64"),
    (one("MatMul", "float64", np.ones((7, 2))), r"'matmul' \(MatMul\).*float64.*Cast"),
    (one("Softmax", "float16"), r"'softmax' \(Softmax\).*float16.*Cast"),
    (one("Cast", "float32", to=ir.DataType.FLOAT8E4M3FN), r"'cast' \(Cast\).*float8"),
    (one("Cast", "float32", to=ir.DataType.INT4), r"'cast' \(Cast\).*int4"),
], ids=["pow", "exp", "sqrt", "matmul", "softmax", "float8", "int4"])
def test_what_a_type_cannot_do_is_refused_by_name(model: ir.Model, words: str) -> None:
    with pytest.raises(UnsupportedOp, match=words):
        gg.compile(model, check=False)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float64", "float16", "bfloat16", "bool"])
def test_moves_keep_every_element_of_every_type(dtype: str) -> None:
    g = GraphBuilder("moves")
    array = np.zeros(12, bool) if dtype == "bool" else np.resize(edges(dtype), 12)
    array[-1] = 1
    array = array.reshape(3, 4)
    constant = np.resize(array[::-1], (2, 4))
    x = g.input("x", onnx_type(dtype), array.shape)
    tall = g.op("Concat", x, g.constant(constant), axis=0)
    g.output("gathered", g.op("Gather", tall, g.ints(4, 0, -1), axis=0))
    g.output("turned", g.op("Transpose", tall, perm=[1, 0]))
    g.output("sliced", g.op("Slice", tall, g.ints(1), g.ints(5), g.ints(0), g.ints(2)))
    g.output("tiled", g.op("Tile", x, g.ints(2, 1)))
    if dtype not in FLOATS and dtype != "bool":
        last = g.constant(np.array(np.iinfo(dtype).max - 2, dtype))
        g.output("padded", g.op("Pad", x, g.ints(0, 1, 1, 0), last))
    model = g.model()
    found = gg.compile(model, check=False).session().run(array)
    for got, want in zip(found, evaluate(model, {"x": array}).values()):
        assert got.dtype == want.dtype
        assert got.tobytes() == want.tobytes()


def test_scatters_combine_elements_of_every_type_as_onnx_does() -> None:
    """Integers wrap; indices count from the end, and repeat."""
    rng = np.random.default_rng(0)
    g, feeds = GraphBuilder("scatters"), {}
    pairs, places = np.array([[0, -1], [2, 1], [0, 2]]), np.array([[0, -1], [2, 2], [0, 0]])
    for dtype in (*INTEGERS, "float32", "float64"):
        low, high = (-50, 50) if dtype.startswith("f") else (
            max(np.iinfo(dtype).min, -2**40), min(np.iinfo(dtype).max, 2**40))
        drawn = {f"{dtype}_{k}": rng.integers(low, high, shape).astype(dtype)
                 for k, shape in (("x", (3, 3, 2)), ("rows", (3, 2)), ("cells", (3, 2)))}
        feeds |= drawn
        x, rows, cells = (g.input(n, onnx_type(dtype), a.shape) for n, a in drawn.items())
        flat = g.op("Slice", x, g.ints(0), g.ints(1), g.ints(2))
        flat = g.op("Squeeze", flat, g.ints(2))
        for mode in ("none", "add", "mul", "max", "min"):
            g.output(f"{dtype}_{mode}_nd",
                     g.op("ScatterND", x, g.constant(pairs), rows, reduction=mode))
            if mode != "none":  # of two updates of one place either may win
                g.output(f"{dtype}_{mode}_elements", g.op(
                    "ScatterElements", flat, g.constant(places), cells, axis=1, reduction=mode))
    model = g.model()
    names = [str(v.name) for v in model.graph.outputs]
    with np.errstate(all="ignore"):
        wanted = dict(zip(names, ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)))
    assert_same(evaluate(model, feeds), wanted)
    session = gg.compile(model, isas=("scalar",), check=False).session()
    assert_same(dict(zip(names, session.run(feeds))), wanted)


def test_sums_and_means_of_integers_are_no_onnx() -> None:
    for op in ("Sum", "Mean"):
        with pytest.raises(ModelError, match="unsupported type"):
            one(op, "int64")


def test_a_cast_like_another_value_is_a_cast_to_its_type() -> None:
    g = GraphBuilder("like")
    x = g.input("x", ir.DataType.FLOAT, (4,))
    g.output("y", g.op("CastLike", x, g.constant(np.ones((2, 3), np.int16))))
    g.output("z", g.op("CastLike", x, g.input("like", ir.DataType.FLOAT16, (1,))))
    given = np.array([1.7, -2.7, 300.2, 0], np.float32)
    y, z = gg.compile(g.model()).session().run(given, np.ones(1, np.float16))
    np.testing.assert_array_equal(y, given.astype(np.int16))
    np.testing.assert_array_equal(z, given.astype(np.float16))


def test_large_numbers_keep_their_last_digit() -> None:
    """The examples that were wrong in silence: 128 for 123, equal for unequal, another id."""
    g = GraphBuilder("large")
    x, mask = g.input("x", ir.DataType.INT64, (2,)), g.input("mask", ir.DataType.BOOL, (2,))
    g.output("less", g.op("Sub", x, g.constant(np.array(1700000000, np.int64))))
    g.output("same", g.op("Equal", x, g.constant(np.array(2**24, np.int64))))
    g.output("id", g.op("Where", mask, x, g.constant(np.array(2**53 + 1, np.int64))))
    less, same, ids = gg.compile(g.model()).session().run(
        np.array([1700000123, 2**24 + 1]), np.array([True, False]))
    assert (less.tolist(), same.tolist()) == ([123, 2**24 + 1 - 1700000000], [False, False])
    assert ids.tolist() == [1700000123, 2**53 + 1]
