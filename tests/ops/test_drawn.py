"""Window and movement operators with drawn shapes and attributes, against ONNX Runtime."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.op_examples import Example

from ganglion.errors import ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.values import dims

runtime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime
MODEST = settings(max_examples=40, deadline=None, derandomize=True)


def _agrees(op: str, arrays: Sequence[np.ndarray | None], attrs: Mapping[str, object],
            constants: frozenset[int] = frozenset()) -> None:
    """Both give the same, in the shape that inference promised."""
    example = Example(op, arrays, attrs, constants=constants)
    try:
        g, node = example.build()
    except ModelError:
        assume(False)
    found = evaluate(g.model(), example.feeds())["y0"]
    assert dims(node.outputs[0]) == list(found.shape)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(ir.to_proto(g.model()).SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found, session.run(None, example.feeds())[0], rtol=1e-4, atol=1e-5)


def _array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, pool: bool) -> tuple[tuple[int, ...], list[int], dict[str, object]]:
    """Spatial sizes, kernel and window attributes of one or two axes."""
    rank = draw(st.integers(1, 2))
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    spatial = tuple(draw(st.lists(st.integers(3, 9), min_size=rank, max_size=rank)))
    kernel = draw(each)
    strides = draw(each)
    attrs: dict[str, object] = {"kernel_shape": kernel, "strides": strides}
    autos = ["NOTSET", "VALID"]
    if all(step <= k for step, k in zip(strides, kernel)):  # the peer refuses SAME otherwise
        autos += ["SAME_UPPER", "SAME_LOWER"]
    auto = draw(st.sampled_from(autos))
    if auto != "NOTSET":
        attrs["auto_pad"] = auto
    else:
        dilations = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
        attrs["dilations"] = dilations
        below = [st.integers(0, k - 1) for k in kernel]
        attrs["pads"] = [draw(p) for p in below] + [draw(p) for p in below]
        assume(all(size >= (k - 1) * d + 1
                   for size, k, d in zip(spatial, kernel, dilations)))
    if pool and auto == "NOTSET":
        attrs["ceil_mode"] = draw(st.integers(0, 1))
    return spatial, kernel, attrs


@MODEST
@given(windows(pool=False), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_conv(drawn: tuple[tuple[int, ...], list[int], dict[str, object]], group: int,
              channels: int, outputs: int) -> None:
    spatial, kernel, attrs = drawn
    _agrees("Conv", [_array(2, group * channels, *spatial),
                     _array(group * outputs, channels, *kernel), _array(group * outputs)],
            {**attrs, "group": group})


@MODEST
@given(windows(pool=False), st.integers(1, 2), st.integers(1, 2), st.data())
def test_conv_transpose(drawn: tuple[tuple[int, ...], list[int], dict[str, object]], group: int,
                        outputs: int, data: st.DataObject) -> None:
    spatial, kernel, attrs = drawn
    assume("auto_pad" not in attrs)
    strides = attrs["strides"]
    assert isinstance(strides, list)
    extra = [data.draw(st.integers(0, s - 1)) for s in strides]
    _agrees("ConvTranspose", [_array(2, group * 2, *spatial), _array(group * 2, outputs, *kernel)],
            {**attrs, "group": group, "output_padding": extra})


@MODEST
@given(windows(pool=True))
def test_max_pool(drawn: tuple[tuple[int, ...], list[int], dict[str, object]]) -> None:
    _agrees("MaxPool", [_array(2, 3, *drawn[0])], drawn[2])


@MODEST
@given(windows(pool=True), st.integers(0, 1))
def test_average_pool(drawn: tuple[tuple[int, ...], list[int], dict[str, object]],
                      counted: int) -> None:
    _agrees("AveragePool", [_array(2, 3, *drawn[0])], {**drawn[2], "count_include_pad": counted})


@MODEST
@given(st.integers(-8, 8), st.integers(-8, 8), st.integers(-3, 3).filter(bool),
       st.integers(-2, 1))
def test_slice(start: int, end: int, step: int, axis: int) -> None:
    vector = [np.array([v], np.int64) for v in (start, end, axis, step)]
    x = _array(5, 6)
    g = GraphBuilder("length")
    y = g.op("Slice", g.input("x", ir.DataType.FLOAT, x.shape), *(g.constant(v) for v in vector))
    assume(0 not in dims(y))
    _agrees("Slice", [x, *vector], {}, constants=frozenset({1, 2, 3, 4}))


@MODEST
@given(st.lists(st.integers(0, 3), min_size=4, max_size=4),
       st.sampled_from(["constant", "edge", "reflect", "wrap"]))
def test_pad(pads: list[int], mode: str) -> None:
    _agrees("Pad", [_array(4, 5), np.array(pads, np.int64)], {"mode": mode},
            constants=frozenset({1}))


@MODEST
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["nearest", "linear"]),
       st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
       st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]))
def test_resize(height: int, width: int, mode: str, coordinates: str, rounding: str) -> None:
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attrs["nearest_mode"] = rounding
    _agrees("Resize", [_array(1, 2, 4, 3), None, None, np.array([1, 2, height, width])], attrs,
            constants=frozenset({3}))
