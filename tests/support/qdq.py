"""Networks quantised by hand: pairs of QuantizeLinear and DequantizeLinear with given scales."""

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder


class QdqNet:
    """A GraphBuilder whose activations are 8-bit codes behind DequantizeLinear.

    Zero points are given for int8; with the class's `dtype` uint8 they are shifted by 128.
    """

    dtype: type[np.integer] = np.int8

    def __init__(self, seed: int) -> None:
        self.g = GraphBuilder("net")
        self.rng = np.random.default_rng(seed)
        self.last: ir.Value | None = None

    def parameters(self, scale: float, zero: int) -> list[ir.Value]:
        shift = -128 - int(np.iinfo(self.dtype).min)
        return [self.g.constant(np.float32(scale)), self.g.constant(self.dtype(zero - shift))]

    def input(self, shape: tuple[int, ...], scale: float = 0.05, zero: int = 3,
              name: str = "x") -> ir.Value:
        """An input of codes; returns its numbers."""
        codes = self.g.input(name, ir.DataType.from_numpy(np.dtype(self.dtype)), shape)
        return self.g.op("DequantizeLinear", codes, *self.parameters(scale, zero))

    def quantized(self, value: ir.Value, scale: float, zero: int) -> ir.Value:
        """The value through QuantizeLinear and DequantizeLinear."""
        pair = self.parameters(scale, zero)
        self.last = self.g.op("QuantizeLinear", value, *pair)
        return self.g.op("DequantizeLinear", self.last, *pair)

    def weight(self, shape: tuple[int, ...], axis: int | None) -> tuple[ir.Value, np.ndarray]:
        """Random int8 weights behind DequantizeLinear, and their scales."""
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        count = () if axis is None else (shape[axis],)
        scale = self.rng.uniform(0.005, 0.02, count).astype(np.float32)
        attrs = {} if axis is None else {"axis": axis}
        return self.g.op("DequantizeLinear", self.g.constant(codes, "w"),
                         self.g.constant(scale), **attrs), scale

    def bias(self, count: int, scale: np.ndarray) -> ir.Value:
        codes = self.rng.integers(-900, 900, count).astype(np.int32)
        given = np.broadcast_to(scale, count).astype(np.float32)
        return self.g.op("DequantizeLinear", self.g.constant(codes, "b"), self.g.constant(given),
                         axis=0)

    def finish(self) -> ir.Model:
        """The codes of the last quantised value become the output "y"."""
        assert self.last is not None
        self.g.output("y", self.last)
        return self.g.model()
