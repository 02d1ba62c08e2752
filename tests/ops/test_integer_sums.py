"""Products and reductions of integers: modulo their own width, over the whole range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.op_examples import Example
from tests.support.side_by_side import WAYS, computed, draws, expected

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan

WIDE = ("int32", "int64", "uint32", "uint64")
EVERY = (*WIDE, "int8", "uint8", "int16", "uint16")
C1 = frozenset({1})


def _whole(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of the range's edges and inside."""
    rng, info = np.random.default_rng(draw(st.integers(0, 2**32))), np.iinfo(dtype)
    inside = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    ends = np.array([info.min, info.min + 1, 0, 1, info.max - 1, info.max], dtype)
    edges = rng.choice(ends, shape)
    small = rng.integers(0, 3, shape).astype(dtype)
    return np.choose(rng.integers(0, 3, shape), [inside, edges, small])


@st.composite
def products(draw: st.DrawFn) -> Example:
    """A MatMul of matrices, vectors or stacks."""
    m, k, n, stack = (draw(st.integers(1, 9)) for _ in range(4))
    left, right = draw(st.sampled_from([
        ((m, k), (k, n)), ((k,), (k, n)), ((m, k), (k,)), ((stack, m, k), (k, n)),
        ((stack, m, k), (stack, k, n)), ((m, k), (stack, k, n)), ((2, 1, m, k), (stack, k, n))]))
    dtype = draw(st.sampled_from(WIDE))
    constants = frozenset({1}) if draw(st.booleans()) else frozenset()
    return Example("MatMul", [_whole(draw, dtype, s) for s in (left, right)], constants=constants)


@st.composite
def reductions(draw: st.DrawFn) -> Example:
    """A reduction over some axes, or none."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    name = draw(st.sampled_from(["Sum", "Mean", "Max", "Min", "Prod", "SumSquare"]))
    dtype = draw(st.sampled_from(EVERY if name in ("Max", "Min") else WIDE))
    attrs = {"keepdims": draw(st.integers(0, 1)),
             "noop_with_empty_axes": draw(st.integers(0, 1))}
    axes = draw(st.lists(st.integers(-len(shape), len(shape) - 1), max_size=3,
                         unique_by=lambda a: a % len(shape)))
    x = _whole(draw, dtype, shape)
    return Example(f"Reduce{name}", [x, np.array(axes, np.int64)], attrs, constants=C1)


@st.composite
def places(draw: st.DrawFn) -> Example:
    """ArgMax or ArgMin, with equal extremes."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    attrs = {"axis": draw(st.integers(-len(shape), len(shape) - 1)),
             "keepdims": draw(st.integers(0, 1)), "select_last_index": draw(st.integers(0, 1))}
    return Example(draw(st.sampled_from(["ArgMax", "ArgMin"])),
                   [_whole(draw, draw(st.sampled_from(EVERY)), shape)], attrs)


def _wanted(example: Example) -> np.ndarray:
    """ONNX's reference; in whole numbers where it goes through float64 (the mean of 64 bits)."""
    x = example.inputs[0]
    if example.op != "ReduceMean" or x.dtype.itemsize < 8:
        (wanted,) = expected(example)
        return wanted.astype(x.dtype) if example.op == "ReduceSumSquare" else wanted
    (sums,) = expected(Example("ReduceSum", example.inputs, example.attrs, constants=C1))
    count = x.size // max(sums.size, 1)
    exact = [int(abs(int(s))) // count * (1 if s >= 0 else -1) for s in sums.reshape(-1)]
    return np.array(exact, x.dtype).reshape(sums.shape)


def _same(example: Example, found: np.ndarray) -> None:
    wanted = _wanted(example)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted, err_msg=f"{example} {example.attrs} "
                                                         f"{example.inputs}")


@given(st.one_of(products(), reductions(), places()))
@draws(80)
def test_the_rows_reference_is_onnx_own(example: Example) -> None:
    g, _ = example.build()
    _same(example, evaluate(g.model(), example.feeds())["y0"])


@pytest.mark.parametrize("way", WAYS)
def test_generated_code_computes_integers_in_their_own_width(way: str) -> None:
    @given(st.lists(st.one_of(products(), reductions(), places()), min_size=40, max_size=40))
    @draws(1)
    def law(examples: list[Example]) -> None:
        for example, found in zip(examples, computed(examples, way)):
            _same(example, found[0])
    law()


@pytest.mark.parametrize("attrs", [{}, {"transA": 1}, {"transB": 1}, {"beta": 0.0}], ids=str)
def test_gemm_adds_its_row_modulo_the_width(attrs: dict[str, object]) -> None:
    """ONNX's reference goes through float64 there; NumPy's product of the type does not."""
    rng, examples = np.random.default_rng(4), []
    for dtype in WIDE:
        info = np.iinfo(dtype)
        a, b, c = (rng.integers(info.min, info.max, s, dtype, endpoint=True)
                   for s in ((4, 4), (4, 4), (4,)))
        examples.append(Example("Gemm", [a, b, c], attrs))
    for example, (found,) in zip(examples, computed(examples, "host")):
        a, b, c = example.inputs
        product = (a.T if "transA" in attrs else a) @ (b.T if "transB" in attrs else b)
        np.testing.assert_array_equal(found, product if "beta" in attrs else product + c)


NOTHING = np.zeros((2, 0, 3), np.float32)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_reduction_of_nothing_gives_what_changes_nothing() -> None:
    cases = [Example(f"Reduce{name}", [np.zeros((2, 0, 3), dtype), np.array([1])], constants=C1)
             for name in ("Sum", "Max", "Min", "Prod") for dtype in ("float32", *WIDE)]
    cases += [Example(f"Reduce{name}", [NOTHING, np.array([1])], constants=C1)
              for name in ("Mean", "SumSquare", "L2")]
    for example in cases:
        (wanted,) = expected(example)
        g, _ = example.build()
        np.testing.assert_array_equal(evaluate(g.model(), example.feeds())["y0"], wanted,
                                      err_msg=str(example))
    for example, (found,) in zip(cases, computed(cases, "host")):
        np.testing.assert_array_equal(found, expected(example)[0], err_msg=str(example))


@pytest.mark.parametrize(("example", "error"), [
    (Example("ReduceL2", [np.ones((2, 3), np.int32)]), UnsupportedOp),
    (Example("ReduceMean", [np.ones((2, 0), np.int32), np.array([1])], constants=C1),
     UnsupportedOp),
    (Example("ArgMax", [np.ones((2, 0), np.float32)], {"axis": 1}), UnsupportedOp),
    (Example("Gemm", [np.ones((2, 2), np.int32)] * 2, {"alpha": 0.5}), UnsupportedOp),
    (Example("Softmax", [np.ones((2, 3), np.float64)]), UnsupportedOp),
    (Example("MatMul", [np.ones((2, 2), np.float64)] * 2), UnsupportedOp),
    (Example("Conv", [np.ones((1, 1, 4, 4), np.int32), np.ones((1, 1, 2, 2), np.int32)]),
     UnsupportedOp),
    (Example("AveragePool", [np.ones((1, 1, 4, 4), np.int32)], {"kernel_shape": [2, 2]}),
     UnsupportedOp),
    (Example("LayerNormalization", [np.ones((2, 3), np.float64), np.ones(3, np.float64)]),
     UnsupportedOp),
], ids=lambda v: f"{v}-{v.inputs[0].dtype}" if isinstance(v, Example) else "")
def test_types_that_no_kernel_computes_are_refused_before_any_code(
        example: Example, error: type[Exception]) -> None:
    def built() -> None:
        g, _ = example.build()
        plan(ready_to_plan(g.model()))

    with pytest.raises((error, ModelError), match=f"{example.op.lower()}|pool"):
        built()
