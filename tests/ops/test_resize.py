"""Resize: every attribute is computed as ONNX's own reference does, or refused."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.op_examples import Example
from tests.support.side_by_side import WAYS, computed, draws, expected

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.resize import COORDINATES, ROUNDINGS, coordinates, resized
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.training.step.differentiate import differentiate

CONSTANT = frozenset({1, 2, 3})
SCALES = st.sampled_from([0.3, 0.5, 0.6, 0.75, 1.0, 1.1, 1.5, 2.0, 2.6, 3.0])


def _pixels(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def resizes(draw: st.DrawFn) -> Example:
    """A Resize of an image [N, C, H, W] or [N, C, W] with whatever attributes ONNX allows."""
    spatial = draw(st.integers(1, 2))
    shape = (1, 2, *[draw(st.integers(1, 7)) for _ in range(spatial)])
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    attrs: dict[str, object] = {"mode": mode}
    where = draw(st.sampled_from(COORDINATES))
    attrs["coordinate_transformation_mode"] = where
    axes = list(range(len(shape)))
    if draw(st.booleans()):
        axes = draw(st.permutations(axes[2:]))
        attrs["axes"] = [a - len(shape) if draw(st.booleans()) else a for a in axes]
    if mode == "nearest":
        attrs["nearest_mode"] = draw(st.sampled_from(ROUNDINGS))
    else:
        attrs["antialias"] = draw(st.integers(0, 1))
        attrs["exclude_outside"] = draw(st.integers(0, 1))
    if mode == "cubic" and draw(st.booleans()):
        attrs["cubic_coeff_a"] = -0.5
    roi = None
    if where == "tf_crop_and_resize":
        low, high = (0.0, 0.4) if mode == "nearest" else (-0.3, 0.4)
        roi = np.array([draw(st.floats(low, high)) if a >= 2 else 0.0 for a in axes]
                       + [draw(st.floats(0.6, 1.0 if mode == "nearest" else 1.4)) if a >= 2 else 1.0
                          for a in axes], np.float32)
        attrs["extrapolation_value"] = 7.5
    scales = sizes = None
    if draw(st.booleans()):
        found = [1.0 if a < 2 else draw(SCALES) for a in axes]
        # where float32 and exact products differ, ONNX's inference and its reference disagree
        exact = [np.float32(s) * np.float64(shape[a]) for a, s in zip(axes, found)]
        single = [np.float32(s) * np.float32(shape[a]) for a, s in zip(axes, found)]
        assume(all(int(e) == int(f) >= 1 for e, f in zip(exact, single)))
        scales = np.array(found, np.float32)
    else:
        sizes = np.array([shape[a] if a < 2 else draw(st.integers(1, 15)) for a in axes], np.int64)
        if "axes" in attrs and draw(st.booleans()):
            attrs["keep_aspect_ratio_policy"] = draw(st.sampled_from(["not_larger", "not_smaller"]))
            factors = [n / shape[a] for n, a in zip(sizes, axes)]
            factor = (min if attrs["keep_aspect_ratio_policy"] == "not_larger" else max)(factors)
            assume(all(int(factor * shape[a] + 0.5) >= 1 for a in axes))
    x = _pixels(draw(st.integers(0, 9)), shape)
    plan = resized(attrs, shape, *(None if a is None else a.tolist() for a in (roi, scales, sizes)))
    assume(all(_clear(coordinates(attrs, axis)) for axis in plan))
    return Example("Resize", [x, roi, scales, sizes], attrs, constants=CONSTANT)


def _clear(x: np.ndarray) -> bool:
    """Whether no point misses a pixel by rounding alone: there ONNX's reference takes the
    neighbours of one point and the weights of another."""
    off = np.abs(x - np.round(x))
    return bool(((off == 0) | (off > 1e-9)).all())


def _reference(example: Example) -> list[np.ndarray]:
    """ONNX's reference knows no negative axes."""
    attrs = dict(example.attrs)
    if "axes" in attrs:
        rank = example.inputs[0].ndim
        attrs["axes"] = [a % rank for a in attrs["axes"]]
    return expected(Example("Resize", example.inputs, attrs, constants=CONSTANT))


@given(resizes())
@draws(150)
def test_the_rows_reference_is_onnx_own(example: Example) -> None:
    g, _ = example.build()
    found = evaluate(g.model(), example.feeds())["y0"]
    (wanted,) = _reference(example)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
def test_compiled_resizing_equals_onnx_reference(way: str) -> None:
    @given(st.lists(resizes(), min_size=24, max_size=24))
    @draws(1)
    def law(examples: list[Example]) -> None:
        for example, found in zip(examples, computed(examples, way)):
            (wanted,) = _reference(example)
            np.testing.assert_allclose(found[0], wanted, rtol=2e-5, atol=2e-5,
                                       err_msg=str((example.attrs, example.inputs[1:])))
    law()


IMAGE = _pixels(3, (1, 2, 5, 6))
SIZES = np.array([1, 2, 8, 9], np.int64)
OUTSIDE = np.array([0, 0, -0.5, 0, 1, 1, 1, 1], np.float32)
SCALE = np.array([1, 1, 1.6, 1.5], np.float32)


@pytest.mark.parametrize(("inputs", "attrs", "error"), [
    ([IMAGE, None, None, SIZES], {"mode": "nearest", "antialias": 1}, UnsupportedOp),
    ([IMAGE, None, None, SIZES], {"mode": "nearest", "exclude_outside": 1}, UnsupportedOp),
    ([IMAGE, OUTSIDE, SCALE, None],
     {"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize"}, UnsupportedOp),
    ([IMAGE.astype(np.int32), None, SCALE, None], {"mode": "linear"}, UnsupportedOp),
    ([IMAGE, None, SCALE, None], {"mode": "lanczos"}, ModelError),
    ([IMAGE, None, SCALE, None], {"mode": "linear", "coordinate_transformation_mode": "middle"},
     ModelError),
    ([IMAGE, None, SCALE, None], {"nearest_mode": "any"}, ModelError),
    ([IMAGE, None, None, SIZES], {"keep_aspect_ratio_policy": "stretched", "axes": [0, 1, 2, 3]},
     ModelError),
], ids=["antialias", "exclude", "outside", "integers", "mode", "coordinates", "rounding", "policy"])
def test_what_is_not_computed_is_refused_before_any_code(
        inputs: list[np.ndarray | None], attrs: dict[str, object], error: type[Exception]) -> None:
    def built() -> None:
        g, _ = Example("Resize", inputs, attrs, constants=CONSTANT).build()
        plan(ready_to_plan(g.model()))

    with pytest.raises(error, match="Resize"):
        built()


def test_sizes_that_come_with_a_call_are_refused() -> None:
    g = GraphBuilder("dynamic")
    x = g.input("x", ir.DataType.FLOAT, (1, 1, 4, 4))
    sizes = g.input("sizes", ir.DataType.INT64, (4,))
    y = g.op("Resize", x, None, None, sizes)
    y.shape = ir.Shape((1, 1, 6, 6))
    g.output("y", y)
    with pytest.raises((UnsupportedOp, ModelError)):
        plan(ready_to_plan(g.model()))


@pytest.mark.parametrize("attrs", [
    {"mode": "nearest"}, {"mode": "linear", "antialias": 1},
    {"mode": "cubic", "coordinate_transformation_mode": "align_corners"}], ids=lambda a: a["mode"])
def test_the_gradient_is_the_transpose_of_resizing(attrs: dict[str, object]) -> None:
    """<dy, resize(x)> = <gradient, x>, as resizing is linear."""
    g = GraphBuilder("resize")
    x = g.input("x", ir.DataType.FLOAT, IMAGE.shape)
    y = g.op("Resize", x, None, None, g.ints(*SIZES), attrs=attrs)
    dy = _pixels(4, tuple(int(n) for n in SIZES))
    g.output("loss", g.op("ReduceSum", g.mul(y, g.constant(dy)), keepdims=0))
    model = differentiate(g.model(), "loss", ["x"])
    found = evaluate(model, {"x": IMAGE})
    assert (found["grad.x"] * IMAGE).sum() == pytest.approx(found["loss"], rel=1e-4)


def test_a_large_image_is_prepared_from_small_matrices() -> None:
    """The matrix of an axis is built directly: the image itself is never resized at planning."""
    g = GraphBuilder("large")
    x = g.input("x", ir.DataType.FLOAT, (1, 64, 512, 512))
    g.output("y", g.op("Resize", x, None, None, g.ints(1, 64, 700, 300), mode="linear"))
    made = plan(ready_to_plan(g.model()))
    assert made.const_bytes < 8 * (512 * 700 + 512 * 300)
