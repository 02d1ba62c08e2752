"""Laws: a channel of nothing but zeros may have any scale in a file, and answers its offset."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tflite_files import TfliteFile

import ganglion as gg
from ganglion.errors import ModelError

CODES = np.int8([[3, -5], [0, 0], [-7, 2]])


def dense(scales: list[float], biases: list[float], codes: np.ndarray = CODES) -> bytes:
    file = TfliteFile()
    x = file.tensor((1, 2), "int8", scale=0.5, zero=1)
    y = file.tensor((1, 3), "int8", scale=0.25, zero=-4)
    w = file.constant(codes, scale=scales, zero=[0, 0, 0])
    b = file.constant(np.int32([8, 0, -4]), scale=biases, zero=[0, 0, 0])
    file.op("FULLY_CONNECTED", [x, w, b], [y], ("FullyConnectedOptions", {}))
    return file.build([x], [y])


@pytest.mark.parametrize("dead", [0.0, 1.8e-44, float("inf")])
def test_a_dead_channel_answers_zero(dead: float, tmp_path: Path) -> None:
    biases = [0.25, dead if np.isfinite(dead) else 0.0, 0.125]
    (tmp_path / "n.tflite").write_bytes(dense([0.5, dead, 0.25], biases))
    session = gg.compile(gg.load(tmp_path / "n.tflite"), isas=("scalar",)).session()
    x = np.int8([[5, -3]])
    real = (x.astype(float) - 1) * 0.5 @ (CODES * [[0.5], [0], [0.25]]).T + [2, 0, -0.5]
    wanted = np.clip(np.rint(real / 0.25) - 4, -128, 127)
    np.testing.assert_array_equal(session.run(x), wanted)


@pytest.mark.parametrize("scale", [float("inf"), float("nan"), -0.5])
def test_a_scale_that_is_used_must_be_a_number(scale: float, tmp_path: Path) -> None:
    (tmp_path / "n.tflite").write_bytes(dense([0.5, 0.5, scale], [0.25, 0.25, 0.25]))
    with pytest.raises(ModelError, match="scales must be positive"):
        gg.load(tmp_path / "n.tflite")
