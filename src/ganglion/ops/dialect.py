"""The ONNX that Models of this project are written in, and the plain values of attributes."""

from collections.abc import Mapping

import numpy as np

GANGLION_DOMAIN = "ai.ganglion"
OPSET = 21
"""The ONNX opset in which every Model of this project is written."""
IR_VERSION = 10

Array = np.ndarray
Attrs = Mapping[str, object]
"""An operator's attributes as plain Python values (int, float, str, list, ndarray)."""
