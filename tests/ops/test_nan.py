"""NaN, infinities and zeros: generated code has them where ONNX's reference does."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from tests.support.op_examples import Example
from tests.support.side_by_side import WAYS, computed, expected

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.3, -7.5, 3.0, -3.0, 6e4, -6e4],
                   np.float32)
UNARY = ("Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish",
         "Tanh", "Softplus", "Softsign", "Mish", "Erf", "ThresholdedRelu", "Clip", "Neg", "Abs",
         "Sqrt", "Exp", "Log", "Sin", "Cos", "Reciprocal", "Floor", "Ceil", "Round", "Sign")
BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Greater", "GreaterOrEqual",
          "Less", "LessOrEqual", "Equal")
FIRST, SECOND = (a.reshape(-1).copy() for a in np.meshgrid(SPECIAL, SPECIAL))
C1, C2 = frozenset({1}), frozenset({2})


def _scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _pointwise() -> list[Example]:
    low, high = _scalar(-0.5), _scalar(2.0)
    return [
        *(Example(name, [SPECIAL]) for name in UNARY),
        *(Example(name, [FIRST, SECOND]) for name in BINARY),
        # at 0 ONNX's words give 0 and its reference 0 · slope
        Example("PRelu", [FIRST[FIRST != 0], SECOND[FIRST != 0]]),
        Example("Where", [FIRST > 0, FIRST, SECOND]),
        Example("Max", [FIRST, SECOND, SECOND[::-1].copy()]), Example("Min", [FIRST]),
        *(Example(name, [SPECIAL, high], constants=C1) for name in ("Max", "Min")),
        *(Example(name, [high, SPECIAL], constants=frozenset({0})) for name in ("Max", "Min")),
        Example("Clip", [SPECIAL, low, high]), Example("Clip", [SPECIAL, low, high], constants=C1),
        Example("Clip", [SPECIAL, None, high], constants=C2),
        Example("Clip", [SPECIAL, _scalar(np.nan), high]),
    ]


def _with_one(shape: Sequence[int], special: float, place: int) -> np.ndarray:
    x = np.random.default_rng(place).normal(size=shape).astype(np.float32)
    x.reshape(-1)[place % x.size] = special
    return x


def _along_axes() -> list[Example]:
    found = []
    axes = np.array([1])
    for special in (np.nan, np.inf, -np.inf):
        for place, shape in enumerate([(3, 37, 2), (2, 5, 1), (1, 67, 17), (2, 1, 3)]):
            x = _with_one(shape, special, 7 * place)
            found += [Example(f"Reduce{name}", [x, axes], constants=C1) for name in (
                "Sum", "Mean", "Max", "Min", "SumSquare", "L2")]
            found += [Example(name, [x], {"axis": 1, "select_last_index": last})
                      for name in ("ArgMax", "ArgMin") for last in (0, 1)]
            found += [Example(name, [x], {"axis": 1}) for name in ("Softmax", "LogSoftmax")]
        image = _with_one((1, 19, 5, 5), special, 31)
        found += [Example(name, [image]) for name in ("GlobalMaxPool", "GlobalAveragePool")]
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("examples", [_pointwise(), _along_axes()], ids=["pointwise", "axes"])
def test_special_numbers_come_out_as_in_onnx_reference(examples: list[Example], way: str) -> None:
    for example, found in zip(examples, computed(examples, way)):
        (wanted,) = expected(example)
        message = f"{example} {example.attrs} {example.inputs[0].shape}"
        np.testing.assert_allclose(found[0], wanted, rtol=2e-5, atol=2e-6, err_msg=message)


@pytest.mark.parametrize("way", WAYS)
def test_a_window_that_meets_nan_gives_nan(way: str) -> None:
    """As in PyTorch, Keras and NumPy's maximum. (ONNX's reference marks its padding by NaN, and so
    leaves the input's own out.)"""
    image = _with_one((1, 21, 6, 7), np.nan, 60)
    examples = [
        Example("MaxPool", [image], {"kernel_shape": [3, 2], "strides": [s, s], "pads": pads})
        for s in (1, 2) for pads in ([0, 0, 0, 0], [1, 1, 1, 0])]
    for example, found in zip(examples, computed(examples, way)):
        stride, pads = example.attrs["strides"][0], example.attrs["pads"]
        wide = np.pad(image, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])],
                      constant_values=-np.inf)
        rows, columns = ((n - k) // stride + 1 for n, k in zip(wide.shape[2:], (3, 2)))
        windows = sliding_window_view(wide, (3, 2), (2, 3))[:, :, ::stride, ::stride]
        wanted = windows[:, :, :rows, :columns].max(axis=(4, 5))
        np.testing.assert_array_equal(found[0], wanted)


@pytest.mark.parametrize("way", WAYS)
def test_recurrent_cells_keep_nan(way: str) -> None:
    names = ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus",
             "Affine")
    x = _with_one((2, 3, 4), np.nan, 0)  # row 0 of the batch, first step
    rng = np.random.default_rng(1)
    w, r = (rng.normal(size=(1, 9, n)).astype(np.float32) for n in (4, 9))
    examples = [Example("RNN", [x, w, r], {"hidden_size": 9, "activations": [name]},
                        constants=frozenset({1, 2})) for name in names]
    for example, found in zip(examples, computed(examples, way)):
        assert np.isnan(found[0][:, :, 0]).all(), example.attrs
        assert np.isfinite(found[0][:, :, 1:]).all(), example.attrs
